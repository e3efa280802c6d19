"""What a component has a handle of: the base class of files, streams, pollables and the rest."""

from __future__ import annotations

__all__ = ["Resource"]


class Resource:
    """A thing of the host's that lives until the component drops its handle."""

    __slots__ = ()

    @property
    def waits_on(self) -> int | None:
        """The device on which its operations may block; None if they do not."""
        return None

    def close(self) -> None:
        """Release what it holds: the handle was dropped, or the instance has ended."""
