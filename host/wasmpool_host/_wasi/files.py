"""Regular files and directories of the host, as descriptors of a guest.

What they do is short and runs at once, on the trio thread: nothing but regular files and
directories is ever opened, and one call moves a megabyte at most. What may wait runs in a thread:
see `apart`.
"""

# ruff: noqa: ARG002  # a directory refuses, whatever the arguments

from __future__ import annotations

import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING, final

from . import rights as rights_module
from .descriptors import Descriptor
from .errno import Errno, WasiError
from .layout import FdFlag, FileType, FstFlag, OFlag, filestat
from .listing import Listing
from .rights import Right

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Preopen
    from .resolve import Place

__all__ = ["Directory", "File", "check_writable", "is_large", "open_place", "times"]

_MAX_OFFSET = 2**63 - 1  # off_t
_MAX_TIME = 2**63 - 1  # nanoseconds, the year 2262: file systems cut later times without a word

# In blocks of 512 bytes: 8 MiB. To free 512 MiB takes 25 ms on a disk, 90 ms on a tmpfs.
_LARGE = 8 * 2**20 // 512

# O_NONBLOCK: should the entry have become a pipe or a device since we looked, the open returns.
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_WRITING = Right.FD_WRITE | Right.FD_ALLOCATE | Right.FD_FILESTAT_SET_SIZE


def check_writable(preopen: Preopen) -> None:
    """Raise ``ROFS`` in a directory that was opened for reading only."""
    if not preopen.writable:
        raise WasiError(Errno.ROFS)


def times(status: os.stat_result, atim: int, mtim: int, flags: int) -> tuple[int, int]:
    """The two times, in nanoseconds, that ``$fstflags`` ask for; what they leave out stays."""
    if flags & ~0xF or flags & 3 == 3 or flags & 12 == 12:
        raise WasiError(Errno.INVAL)
    if (flags & FstFlag.ATIM and atim > _MAX_TIME) or (flags & FstFlag.MTIM and mtim > _MAX_TIME):
        raise WasiError(Errno.INVAL)
    now = time.time_ns()
    if flags & FstFlag.ATIM_NOW:
        atim = now
    elif not flags & FstFlag.ATIM:
        atim = status.st_atime_ns
    if flags & FstFlag.MTIM_NOW:
        mtim = now
    elif not flags & FstFlag.MTIM:
        mtim = status.st_mtime_ns
    return atim, mtim


class _OnDisk(Descriptor):
    """A descriptor with one of the system's behind it, which it owns."""

    __slots__ = ("fd", "preopen")

    def __init__(self, fd: int, preopen: Preopen, flags: FdFlag = FdFlag.NONE) -> None:
        super().__init__(flags)
        self.fd = fd
        self.preopen = preopen

    def filestat(self) -> bytes:
        return filestat(os.fstat(self.fd))

    def set_times(self, atim: int, mtim: int, flags: int) -> None:
        check_writable(self.preopen)
        os.utime(self.fd, ns=times(os.fstat(self.fd), atim, mtim, flags))

    @property
    def may_wait(self) -> bool:  # type: ignore[override]  # it depends on where the file is
        return self.preopen.may_wait

    @property
    def device(self) -> int | None:  # type: ignore[override]
        return self.preopen.fixed.device

    def sync(self, synchronize: Callable[[int], None]) -> None:
        # A guest that may not write has nothing to synchronize, and must not make the disk busy
        # with what others wrote.
        if self.preopen.writable:
            synchronize(self.fd)

    def close(self) -> None:
        os.close(self.fd)


def is_large(status: os.stat_result) -> bool:
    """Whether to free what a file has on disk, or in the system's memory, takes the loop's time."""
    return status.st_blocks > _LARGE and stat.S_ISREG(status.st_mode)


@final
class File(_OnDisk):
    """A regular file."""

    __slots__ = ("_readable", "_writable", "rights")

    filetype = FileType.REGULAR_FILE
    settable = FdFlag.APPEND | FdFlag.NONBLOCK

    def __init__(self, fd: int, preopen: Preopen, flags: FdFlag, access: Right) -> None:
        super().__init__(fd, preopen, flags)
        self._readable = bool(access & Right.FD_READ)
        self._writable = bool(access & Right.FD_WRITE)
        self.rights = rights_module.FILE
        if not self._readable:
            self.rights &= ~Right.FD_READ
        if not self._writable:
            self.rights &= ~_WRITING

    def read(self, size: int) -> bytes:
        self._check_readable()
        return os.read(self.fd, size)

    def write(self, data: bytes) -> int:
        self._check_writable()
        append = self.flags & FdFlag.APPEND
        position = os.fstat(self.fd).st_size if append else os.lseek(self.fd, 0, os.SEEK_CUR)
        return os.write(self.fd, self._within_limit(data, position))

    def pread(self, size: int, offset: int) -> bytes:
        self._check_readable()
        return os.pread(self.fd, size, _offset(offset))

    def pwrite(self, data: bytes, offset: int) -> int:
        self._check_writable()
        offset = _offset(offset)
        if self.flags & FdFlag.APPEND:
            offset = os.fstat(self.fd).st_size  # where Linux will write it
        return os.pwrite(self.fd, self._within_limit(data, offset), offset)

    def seek(self, offset: int, whence: int) -> int:
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise WasiError(Errno.INVAL)
        return os.lseek(self.fd, offset, whence)

    def ready(self) -> int:
        if self.may_wait:  # asked on the trio thread, so without a look at the file
            return super().ready()
        return max(os.fstat(self.fd).st_size - os.lseek(self.fd, 0, os.SEEK_CUR), 0)

    def set_flags(self, flags: FdFlag) -> None:
        super().set_flags(flags)
        append = os.O_APPEND if flags & FdFlag.APPEND else 0
        fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_NONBLOCK | append)

    def set_size(self, size: int) -> None:
        self._check_writable()
        if size > self.preopen.max_file_size:
            raise WasiError(Errno.FBIG)
        os.ftruncate(self.fd, size)

    def shrinks_much(self, size: int) -> bool:
        """Whether `set_size` to this frees much."""
        status = os.fstat(self.fd)
        return size < status.st_size and is_large(status)

    def ends_large_file(self) -> bool:
        if self.may_wait or not self.preopen.writable:  # then it was not this guest's
            return False
        status = os.fstat(self.fd)
        return status.st_nlink == 0 and is_large(status)

    def advise(self) -> None:
        pass

    def allocate(self) -> None:
        # It would take the disk away in one call; wasmtime does not offer it either.
        raise WasiError(Errno.NOTSUP)

    def _check_readable(self) -> None:
        if not self._readable:
            raise WasiError(Errno.BADF)

    def _check_writable(self) -> None:
        if not self._writable:
            raise WasiError(Errno.BADF)

    def _within_limit(self, data: bytes, position: int) -> bytes:
        left = self.preopen.max_file_size - position
        if data and left <= 0:
            raise WasiError(Errno.FBIG)
        return data[:left] if len(data) > left else data


@final
class Directory(_OnDisk):
    """A directory, and all that lies beneath it."""

    __slots__ = ("_listing", "guest_path")

    filetype = FileType.DIRECTORY
    rights = rights_module.DIRECTORY
    inheriting = rights_module.INHERITING

    def __init__(
        self,
        fd: int,
        preopen: Preopen,
        flags: FdFlag = FdFlag.NONE,
        guest_path: bytes | None = None,
    ) -> None:
        super().__init__(fd, preopen, flags)
        self.guest_path = guest_path
        """What the guest calls it, if it was preopened."""
        self._listing: Listing | None = None

    def list(self, cookie: int, size: int) -> bytes:
        """Directory entries from `cookie` on, as ``fd_readdir`` packs them, cut off at `size`."""
        if cookie == 0 or self._listing is None:
            self._close_listing()
            self._listing = Listing(self.fd)
        return self._listing.pack(cookie, size)

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

    def close(self) -> None:
        self._close_listing()
        super().close()

    def _close_listing(self) -> None:
        if self._listing is not None:
            self._listing.close()
            self._listing = None


def open_place(
    place: Place, preopen: Preopen, oflags: OFlag, access: Right, flags: FdFlag
) -> File | Directory:
    """Open the regular file or the directory at `place`, or make the file.

    Args:
        place: where; the entry is not followed.
        preopen: what may be done there.
        oflags: to make it, to cut it, to insist on a directory.
        access: of its bits only ``FD_READ`` and ``FD_WRITE`` count: they say what it is opened for.
        flags: how it behaves. Synchronous writes are refused: the loop would wait for the disk.

    Raises:
        WasiError: ``ROFS``, ``NOTSUP`` for what is neither file nor directory, ``INVAL``.
        OSError: what the system says.
    """
    if flags | File.settable != File.settable:
        raise WasiError(Errno.NOTSUP)
    if oflags & OFlag.CREAT and oflags & OFlag.DIRECTORY:
        raise WasiError(Errno.INVAL)
    if oflags & OFlag.CREAT and place.slash:
        # Not left to the system: kernels before 6.4 make a file, and then say that it is no
        # directory.
        raise WasiError(Errno.ISDIR)
    if access & Right.FD_WRITE or oflags & (OFlag.CREAT | OFlag.TRUNC):
        check_writable(preopen)
    _check_kind_before(place)
    how = _how(oflags, access, flags)
    if place.slash:
        how |= os.O_DIRECTORY
    fd = os.open(place.name, how, 0o666, dir_fd=place.directory)
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        return Directory(fd, preopen, flags)
    if stat.S_ISREG(mode):
        return File(fd, preopen, flags, access)
    os.close(fd)
    raise WasiError(Errno.NOTSUP)


def _how(oflags: OFlag, access: Right, flags: FdFlag) -> int:
    how = _OPEN
    if access & Right.FD_WRITE:
        how |= os.O_RDWR if access & Right.FD_READ else os.O_WRONLY
    for bit, system in (
        (OFlag.CREAT, os.O_CREAT),
        (OFlag.DIRECTORY, os.O_DIRECTORY),
        (OFlag.EXCL, os.O_EXCL),
        (OFlag.TRUNC, os.O_TRUNC),
    ):
        if oflags & bit:
            how |= system
    return how | os.O_APPEND if flags & FdFlag.APPEND else how


def _check_kind_before(place: Place) -> None:
    """Refuse pipes, devices and sockets unopened, for opening one may have effects of its own.

    A look, no guard: the guard is that what was opened is looked at again.
    """
    try:
        mode = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise WasiError(Errno.NOTSUP)


def _offset(offset: int) -> int:
    if offset > _MAX_OFFSET:
        raise WasiError(Errno.INVAL)
    return offset
