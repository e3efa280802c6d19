"""A file or directory that a component has open: by its descriptor, by streams, or by both."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from wasmpool_host._wasi.directory import Directory
from wasmpool_host._wasi.errno import Errno, WasiError

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

    __slots__ = ("_descriptor", "_holders", "_is_kept", "_number", "_process")

    # Invariant: the descriptor is in the table while it has holders, or the process is closed.

    def __init__(self, process: Process, number: int, *, is_kept: bool = False) -> None:
        self._process = process
        self._number = number
        self._is_kept = is_kept
        self._descriptor: Descriptor | None = process.descriptors.get(number)
        self._holders = int(is_kept)

    @classmethod
    def add(cls, process: Process, descriptor: Descriptor) -> OpenFile:
        """Put what was opened into the table; `Descriptors.check_room` was called before."""
        return cls(process, process.descriptors.add(descriptor))

    @property
    def descriptor(self) -> Descriptor:
        """What is open.

        Raises:
            WasiError: ``BADF`` if a run has put another process in the place of the one that it
                belongs to: the system's number of it may be another guest's file by now.
        """
        if self._descriptor is None or self._process.is_closed:
            raise WasiError(Errno.BADF)
        return self._descriptor

    @property
    def waits_on(self) -> int | None:
        """The device on which operations may block; None if they do not."""
        descriptor = self._descriptor
        return None if descriptor is None or not descriptor.may_wait else descriptor.device

    def enter(self, process: Process) -> None:
        """Use the process that the instance has now: a preopened directory is that of a number."""
        if self._is_kept and process is not self._process:
            self._process = process
            found = process.descriptors.find(self._number)
            is_preopened = isinstance(found, Directory) and found.guest_path is not None
            self._descriptor = found if is_preopened else None

    def hold(self) -> None:
        """One handle more."""
        self._holders += 1

    def release(self) -> None:
        """One handle less. The last one closes it, or leaves it to the process."""
        self._holders -= 1
        if not self._holders:
            self._process.drop(self._number)
