"""A guest's descriptors: their table, their base class, and the standard streams."""

# ruff: noqa: ARG002  # the base class refuses operations, whatever the arguments

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, final

from . import rights as rights_module
from .errno import Errno, WasiError
from .guest_memory import MAX_TRANSFER
from .layout import FdFlag, FileType, stream_filestat
from .line_log import LineLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from .entry import Entry

__all__ = ["Descriptor", "Descriptors", "Directory", "Input", "Output"]

# Each is also a descriptor of this process (two for a directory that is being listed), and 1,024 is
# the usual limit of the whole process: one guest must not use them all.
MAX_OPEN = 256

_FIRST_FREE = 3  # a file never becomes a standard stream that the guest has closed


class Descriptor:
    """The base class: a stream that refuses every operation."""

    __slots__ = ("flags",)

    filetype = FileType.UNKNOWN
    rights = rights_module.Right(0)
    inheriting = rights_module.Right(0)
    settable = FdFlag.NONBLOCK  # nothing here ever blocks: the flag is only stored

    may_wait = False
    """True if its operations may wait for a server."""
    device: int | None = None
    """The device of its file, if it has one."""

    def __init__(self, flags: FdFlag = FdFlag.NONE) -> None:
        self.flags = flags

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

    def seek(self, offset: int, whence: int) -> int:
        """Move the offset; return the new one."""
        raise WasiError(Errno.SPIPE)

    def ready(self) -> int:
        """The number of bytes that can be read or written at once."""
        return MAX_TRANSFER

    def filestat(self) -> bytes:
        """A ``$filestat`` record."""
        return stream_filestat(self.filetype)

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

    def close_frees_large_file(self) -> bool:
        """Return True if closing it frees a large file that has no name any more."""
        return False

    def close(self) -> None:
        """Release what it holds."""


class Directory(Descriptor):
    """The base class of directories: on the host's disk, or in memory."""

    __slots__ = ()

    filetype = FileType.DIRECTORY
    rights = rights_module.DIRECTORY
    inheriting = rights_module.INHERITING
    guest_path: bytes | None
    """The guest's path for it, if it was preopened."""

    def check_writable(self) -> None:
        """Raise ``ROFS`` if the directory is read-only."""

    def resolve(self, path: bytes, *, follow: bool) -> AbstractContextManager[Entry]:
        """Walk a path from here. The entry is usable inside the ``with`` block.

        Args:
            path: the guest's path; it cannot lead out of the directory.
            follow: also follow a link that is the last component.

        Raises:
            WasiError: as `resolve.resolve`.
            OSError: an error of the system.
        """
        raise NotImplementedError

    def list(self, cookie: int, size: int) -> bytes:
        """The entries from `cookie` on, in the format of ``fd_readdir``, truncated at `size`."""
        raise NotImplementedError

    def pread(self, size: int, offset: int) -> bytes:
        raise WasiError(Errno.BADF)

    def pwrite(self, data: bytes, offset: int) -> int:
        raise WasiError(Errno.BADF)

    def seek(self, offset: int, whence: int) -> int:
        raise WasiError(Errno.BADF)

    def set_size(self, size: int) -> None:
        raise WasiError(Errno.BADF)

    def advise(self) -> None:
        raise WasiError(Errno.BADF)

    def allocate(self) -> None:
        raise WasiError(Errno.BADF)


@final
class Input(Descriptor):
    """Standard input: the bytes of ``Wasi.stdin``, from the start."""

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
    """Standard output or error, written to the target of ``Wasi.stdout`` or ``Wasi.stderr``.

    It reports a character device without the right to seek, as a terminal does: C libraries then
    write each line when it ends. Otherwise they would wait until a buffer is full, or for an exit,
    which never comes in a plugin.
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

    # Invariant: a descriptor is either here under exactly one number, or closed. The tests' fixture
    # counts the system's descriptors; test_renumbering_* and test_closing_* try to break this.

    def __init__(self) -> None:
        self._open: dict[int, Descriptor] = {}

    def find(self, fd: int) -> Descriptor | None:
        """The descriptor, or None if it is not open."""
        return self._open.get(fd)

    def get(self, fd: int) -> Descriptor:
        """The descriptor; raises ``BADF`` if it is not open."""
        try:
            return self._open[fd]
        except KeyError:
            raise WasiError(Errno.BADF) from None

    def check_room(self) -> None:
        """Raise ``MFILE`` if no more are allowed. Call it before a file is opened or created."""
        if len(self._open) >= MAX_OPEN:
            raise WasiError(Errno.MFILE)

    def add(self, descriptor: Descriptor) -> int:
        """Add it under the lowest free number from 3 on, and return the number."""
        fd = _FIRST_FREE
        while fd in self._open:
            fd += 1
        self._open[fd] = descriptor
        return fd

    def put(self, fd: int, descriptor: Descriptor) -> None:
        """Add it under this number, which must be free: for the standard streams."""
        self._open[fd] = descriptor

    def close(self, fd: int) -> None:
        """Close it; its number is free afterwards."""
        descriptor = self.get(fd)
        del self._open[fd]
        descriptor.close()

    def renumber(self, fd: int, to: int) -> None:
        """Close `to`, and move `fd` there. Both must be open, so a guest cannot choose a number."""
        descriptor, replaced = self.get(fd), self.get(to)
        if fd == to:
            return
        del self._open[fd]
        self._open[to] = descriptor
        replaced.close()

    def close_frees_large_file(self) -> bool:
        """Return True if closing them frees a large file."""
        return any(each.close_frees_large_file() for each in self._open.values())

    def close_streams(self) -> None:
        """Close the descriptors without a file."""
        files = {fd: each for fd, each in self._open.items() if each.device is not None}
        streams = [each for each in self._open.values() if each.device is None]
        self._open = files
        self._close(streams)

    def close_all(self) -> None:
        """Close all descriptors."""
        descriptors, self._open = list(self._open.values()), {}
        self._close(descriptors)

    def _close(self, descriptors: list[Descriptor]) -> None:
        with ExitStack() as stack:
            # The stack reverses the order: stdout has to be closed before stderr.
            for descriptor in reversed(descriptors):
                stack.callback(descriptor.close)
