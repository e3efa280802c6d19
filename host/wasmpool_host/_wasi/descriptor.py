"""A guest's descriptor: the base class of files, directories and streams."""

# ruff: noqa: ARG002  # the base class refuses operations, whatever the arguments

from __future__ import annotations

from typing import TYPE_CHECKING

from . import rights as rights_module
from .errno import Errno, WasiError
from .guest_memory import MAX_TRANSFER
from .layout import FdFlag, FileType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .layout import Status

__all__ = ["Descriptor"]


class Descriptor:
    """The base class: a stream that refuses every operation."""

    __slots__ = ("flags",)

    filetype = FileType.UNKNOWN
    rights = rights_module.Right(0)
    inheriting = rights_module.Right(0)
    settable = FdFlag.NONBLOCK  # nothing here ever blocks: the flag is only stored

    def __init__(self, flags: FdFlag = FdFlag.NONE) -> None:
        self.flags = flags

    @property
    def may_wait(self) -> bool:
        """True if its operations may wait for a server."""
        return False

    @property
    def device(self) -> int | None:
        """The device of its file, if it has one."""
        return None

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; empty at the end."""
        raise WasiError(Errno.BADF)

    def write(self, data: bytes) -> int:
        """Write `data` or its first part; return the number of bytes written."""
        raise WasiError(Errno.BADF)

    def pread(self, size: int, offset: int) -> bytes:
        """Read without moving the offset."""
        raise WasiError(Errno.SPIPE)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write without moving the offset."""
        raise WasiError(Errno.SPIPE)

    def append(self, data: bytes) -> int:
        """Write at the end, wherever that is, without moving the offset."""
        raise WasiError(Errno.SPIPE)

    def seek(self, offset: int, whence: int) -> int:
        """Move the offset; return the new one."""
        raise WasiError(Errno.SPIPE)

    def ready(self) -> int:
        """The number of bytes that can be read or written at once."""
        return MAX_TRANSFER

    @property
    def wait_readable(self) -> Callable[[], Awaitable[None]] | None:
        """What waits until a read would find something, or the end; None if it would at once."""
        return None

    def status(self) -> Status | None:
        """The result of ``fstat``; None for a stream, which is no file."""
        return None

    def set_flags(self, flags: FdFlag) -> None:
        """Set the flags of reads and writes."""
        if flags | self.settable != self.settable:  # `& ~settable` would accept unknown bits
            raise WasiError(Errno.NOTSUP)
        self.flags = flags

    def set_size(self, size: int) -> None:
        """Truncate the file, or extend it with zeros."""
        raise WasiError(Errno.INVAL)

    def set_times(self, atim: int, mtim: int, flags: int) -> None:
        """Set its times; see ``$fstflags``."""
        raise WasiError(Errno.NOTSUP)

    def advise(self) -> None:
        """Accept advice on how it will be read, and ignore it."""
        raise WasiError(Errno.SPIPE)

    def allocate(self) -> None:
        """Reserve disk space."""
        raise WasiError(Errno.SPIPE)

    def sync(self, synchronize: Callable[[int], None]) -> None:
        """Wait until data is on the disk; `synchronize` is the system's function for this."""
        raise WasiError(Errno.INVAL)

    def shrinks_much(self, size: int) -> bool:
        """Return True if `set_size` to this size frees many blocks."""
        return False

    def close_frees_large_file(self) -> bool:
        """Return True if closing it frees a large file that has no name any more."""
        return False

    def close(self) -> None:
        """Release what it holds."""
