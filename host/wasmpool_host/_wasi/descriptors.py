"""A guest's descriptors: their table, what all have in common, and the standard streams."""

# ruff: noqa: ARG002  # what all have in common is how to refuse, whatever the arguments

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, final

from . import rights as rights_module
from .errno import Errno, WasiError
from .layout import FdFlag, FileType, stream_filestat
from .memory import MAX_TRANSFER
from .output import LineLog

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Descriptor", "Descriptors", "Input", "Output"]

# Each is a descriptor of this process too (a directory being listed even two), and 1,024 is the
# usual limit for the whole process: no single guest may take all of them.
MAX_OPEN = 256

_FIRST_FREE = 3  # no file becomes a standard stream because the guest closed that one


class Descriptor:
    """What a descriptor answers unless its kind knows better: a stream that can do nothing."""

    __slots__ = ("flags",)

    filetype = FileType.UNKNOWN
    rights = rights_module.Right(0)
    inheriting = rights_module.Right(0)
    settable = FdFlag.NONBLOCK  # nothing here ever blocks: it is only remembered

    may_wait = False
    """Whether what it does may wait for a server."""
    device: int | None = None
    """Where its file is, if it has one."""

    def __init__(self, flags: FdFlag = FdFlag.NONE) -> None:
        self.flags = flags

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        raise WasiError(Errno.BADF)

    def write(self, data: bytes) -> int:
        """Take `data` or its first part; return how many bytes."""
        raise WasiError(Errno.BADF)

    def pread(self, size: int, offset: int) -> bytes:
        """Read without moving the offset."""
        raise WasiError(Errno.SPIPE)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write without moving the offset."""
        raise WasiError(Errno.SPIPE)

    def seek(self, offset: int, whence: int) -> int:
        """Move the offset; return where it is now."""
        raise WasiError(Errno.SPIPE)

    def ready(self) -> int:
        """How many bytes a read would find, or a write could take."""
        return MAX_TRANSFER

    def filestat(self) -> bytes:
        """A ``$filestat`` record."""
        return stream_filestat(self.filetype)

    def set_flags(self, flags: FdFlag) -> None:
        """Change how reads and writes behave."""
        if flags | self.settable != self.settable:  # & ~settable would let unknown bits pass
            raise WasiError(Errno.NOTSUP)
        self.flags = flags

    def set_size(self, size: int) -> None:
        """Cut the file, or make it longer with zeros."""
        raise WasiError(Errno.INVAL)

    def set_times(self, atim: int, mtim: int, flags: int) -> None:
        """Set its times; see ``$fstflags``."""
        raise WasiError(Errno.NOTSUP)

    def advise(self) -> None:
        """Hear how it will be read. Nobody does anything about it."""
        raise WasiError(Errno.SPIPE)

    def allocate(self) -> None:
        """Set disk space aside."""
        raise WasiError(Errno.SPIPE)

    def sync(self, synchronize: Callable[[int], None]) -> None:
        """Wait for the disk; `synchronize` is the system's function for that."""
        raise WasiError(Errno.INVAL)

    def ends_large_file(self) -> bool:
        """Whether closing it removes a large file, whose name is gone already."""
        return False

    def close(self) -> None:
        """Give back what it holds."""


@final
class Input(Descriptor):
    """The bytes of ``Wasi.stdin``, from the start."""

    __slots__ = ("_data", "_position")

    rights = rights_module.INPUT

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self._data[self._position : self._position + size]
        self._position += len(data)
        return data

    def ready(self) -> int:
        return len(self._data) - self._position


@final
class Output(Descriptor):
    """A standard stream that goes where ``Wasi.stdout`` or ``Wasi.stderr`` says.

    It reports a character device without the right to seek, that is a terminal: C libraries then
    hand each line on as it ends, where they would otherwise wait for a buffer to fill, or for an
    exit that never comes in a plugin.
    """

    __slots__ = ("_target",)

    filetype = FileType.CHARACTER_DEVICE
    rights = rights_module.OUTPUT

    def __init__(self, target: LineLog | Callable[[bytes], object] | None) -> None:
        super().__init__()
        self._target = target

    def write(self, data: bytes) -> int:
        if isinstance(self._target, LineLog):
            return self._target.write(data)
        if self._target is not None:
            self._target(data)
        return len(data)

    def close(self) -> None:
        if isinstance(self._target, LineLog):
            self._target.close()


@final
class Descriptors:
    """The open descriptors of one guest, by number."""

    __slots__ = ("_open",)

    # Invariant: a descriptor is here under exactly one number, or it is closed. The tests' fixture
    # counts the system's descriptors; test_renumbering_* and test_closing_* try to break it.

    def __init__(self) -> None:
        self._open: dict[int, Descriptor] = {}

    def find(self, fd: int) -> Descriptor | None:
        """The descriptor, if it is open."""
        return self._open.get(fd)

    def get(self, fd: int) -> Descriptor:
        """The descriptor, or ``BADF``."""
        try:
            return self._open[fd]
        except KeyError:
            raise WasiError(Errno.BADF) from None

    def check_room(self) -> None:
        """Raise ``MFILE`` if there may be no more: ask before a file is opened, or even made."""
        if len(self._open) >= MAX_OPEN:
            raise WasiError(Errno.MFILE)

    def add(self, descriptor: Descriptor) -> int:
        """Give it the lowest free number from 3 on."""
        fd = _FIRST_FREE
        while fd in self._open:
            fd += 1
        self._open[fd] = descriptor
        return fd

    def put(self, fd: int, descriptor: Descriptor) -> None:
        """Give it this very number, which is free: for the standard streams."""
        self._open[fd] = descriptor

    def close(self, fd: int) -> None:
        """Close it; its number is free again."""
        descriptor = self.get(fd)
        del self._open[fd]
        descriptor.close()

    def renumber(self, fd: int, to: int) -> None:
        """Close `to`, and make `fd` be it. Both must be open, so a guest cannot pick a number."""
        descriptor, replaced = self.get(fd), self.get(to)
        if fd == to:
            return
        del self._open[fd]
        self._open[to] = descriptor
        replaced.close()

    def end_large_files(self) -> bool:
        """Whether closing them removes a large file."""
        return any(each.ends_large_file() for each in self._open.values())

    def close_streams(self) -> None:
        """Close those without a file."""
        files = {fd: each for fd, each in self._open.items() if each.device is not None}
        streams = [each for each in self._open.values() if each.device is None]
        self._open = files
        self._close(streams)

    def close_all(self) -> None:
        """Close every one of them."""
        descriptors, self._open = list(self._open.values()), {}
        self._close(descriptors)

    def _close(self, descriptors: list[Descriptor]) -> None:
        with ExitStack() as stack:
            # The stack turns the order round: stdout comes before stderr, as it has all along.
            for descriptor in reversed(descriptors):
                stack.callback(descriptor.close)
