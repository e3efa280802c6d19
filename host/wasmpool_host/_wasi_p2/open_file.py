"""A file or directory that a component has open: by its descriptor, by streams, or by both."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from wasmpool_host._wasi.descriptor import Descriptor
    from wasmpool_host._wasi.process import Process

__all__ = ["OpenFile"]


@final
class OpenFile:
    """One entry of the process's table of descriptors, shared by the handles that use it.

    Args:
        process: has the table.
        number: the descriptor's number there.
        is_kept: it stays open without a handle: a preopened directory.
    """

    __slots__ = ("_holders", "_number", "_process", "descriptor")

    # Invariant: the descriptor is in the table while it has holders, or the process is closed.

    def __init__(self, process: Process, number: int, *, is_kept: bool = False) -> None:
        self.descriptor: Descriptor = process.descriptors.get(number)
        self._process = process
        self._number = number
        self._holders = int(is_kept)

    @classmethod
    def add(cls, process: Process, descriptor: Descriptor) -> OpenFile:
        """Put what was opened into the table; `Descriptors.check_room` was called before."""
        return cls(process, process.descriptors.add(descriptor))

    @property
    def waits_on(self) -> int | None:
        """The device on which operations may block; None if they do not."""
        return self.descriptor.device if self.descriptor.may_wait else None

    def hold(self) -> None:
        """One handle more."""
        self._holders += 1

    def release(self) -> None:
        """One handle less. The last one closes it, or leaves it to the process."""
        self._holders -= 1
        if not self._holders:
            self._process.drop(self._number)
