"""What a component has a handle of: the base class of files, streams, pollables and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmpool_host._wasi.process import Process

__all__ = ["Resource"]


class Resource:
    """A thing of the host's that lives until the component drops its handle."""

    __slots__ = ()

    @property
    def waits_on(self) -> int | None:
        """The device on which its operations may block; None if they do not."""
        return None

    def enter(self, process: Process) -> None:
        """Use the process that the instance has now: a run gives it another one."""

    def close(self) -> None:
        """Release what it holds: the handle was dropped, or the instance has ended."""
