"""Regular files and directories of the host, as descriptors of a guest.

Their operations are short and run on the trio thread: only regular files and directories are
opened, and one call moves at most 1 MiB. Operations that may block run in a thread: see `offload`.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

from .descriptor import Descriptor
from .directory import Directory
from .errno import Errno, WasiError
from .layout import FdFlag, FileType, FstFlag, OFlag
from .listing import Listing, kind_of
from .open_entries import OpenEntries
from .resolve import resolve
from .rights import Right, file_rights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .config import Preopen
    from .entry import Entry
    from .layout import Status
    from .resolve import ResolvedPath

__all__ = ["DiskDirectory", "DiskFile", "check_writable", "new_times"]

_MAX_OFFSET = 2**63 - 1  # off_t
_MAX_TIME = 2**63 - 1  # nanoseconds, year 2262: file systems truncate later times without an error

# In blocks of 512 bytes: 8 MiB. To free 512 MiB takes 25 ms on a disk, 90 ms on a tmpfs.
_LARGE = 8 * 2**20 // 512

# O_NONBLOCK: the open returns even if the entry became a pipe or a device after it was checked.
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def check_writable(preopen: Preopen) -> None:
    """Raise ``ROFS`` if the directory is read-only."""
    if not preopen.writable:
        raise WasiError(Errno.ROFS)


def new_times(status: Status, atim: int, mtim: int, flags: int) -> tuple[int, int]:
    """The two times to set, in nanoseconds, by ``$fstflags``; a time without a flag stays."""
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
    """A descriptor that owns a descriptor of the system."""

    __slots__ = ("fd", "preopen")

    def __init__(self, fd: int, preopen: Preopen, flags: FdFlag = FdFlag.NONE) -> None:
        super().__init__(flags)
        self.fd = fd
        self.preopen = preopen

    def status(self) -> os.stat_result:
        return os.fstat(self.fd)

    def set_times(self, atim: int, mtim: int, flags: int) -> None:
        check_writable(self.preopen)
        os.utime(self.fd, ns=new_times(os.fstat(self.fd), atim, mtim, flags))

    @property
    def may_wait(self) -> bool:
        return self.preopen.may_wait

    @property
    def device(self) -> int | None:
        return self.preopen.identity.device

    def sync(self, synchronize: Callable[[int], None]) -> None:
        # A guest that may not write has nothing to synchronize, and must not make the disk write
        # the data of other programs.
        if self.preopen.writable:
            synchronize(self.fd)

    def close(self) -> None:
        os.close(self.fd)


def _is_large(status: os.stat_result) -> bool:
    """Return True if freeing the file's blocks takes long enough to delay the loop."""
    return status.st_blocks > _LARGE and stat.S_ISREG(status.st_mode)


@final
class DiskFile(_OnDisk):
    """A regular file."""

    __slots__ = ("_readable", "_writable", "rights")

    filetype = FileType.REGULAR_FILE
    settable = FdFlag.APPEND | FdFlag.NONBLOCK

    def __init__(self, fd: int, preopen: Preopen, flags: FdFlag, access: Right) -> None:
        super().__init__(fd, preopen, flags)
        self._readable = bool(access & Right.FD_READ)
        self._writable = bool(access & Right.FD_WRITE)
        self.rights = file_rights(readable=self._readable, writable=self._writable)

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
            offset = os.fstat(self.fd).st_size  # where Linux writes it
        return os.pwrite(self.fd, self._within_limit(data, offset), offset)

    def append(self, data: bytes) -> int:
        self._check_writable()
        data = self._within_limit(data, os.fstat(self.fd).st_size)
        return os.pwritev(self.fd, [data], 0, os.RWF_APPEND)

    def seek(self, offset: int, whence: int) -> int:
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise WasiError(Errno.INVAL)
        return os.lseek(self.fd, offset, whence)

    def ready(self) -> int:
        if self.may_wait:  # this runs on the trio thread, so it must not touch the file
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
        status = os.fstat(self.fd)
        return size < status.st_size and _is_large(status)

    def close_frees_large_file(self) -> bool:
        if self.may_wait or not self.preopen.writable:  # this guest did not write it
            return False
        status = os.fstat(self.fd)
        return status.st_nlink == 0 and _is_large(status)

    def advise(self) -> None:
        pass

    def allocate(self) -> None:
        # One call could fill the disk; Wasmtime does not support it either.
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
class DiskDirectory(_OnDisk, Directory):
    """A directory, and everything beneath it."""

    __slots__ = ("_listing", "guest_path")

    def __init__(
        self,
        fd: int,
        preopen: Preopen,
        flags: FdFlag = FdFlag.NONE,
        guest_path: bytes | None = None,
    ) -> None:
        super().__init__(fd, preopen, flags)
        self.guest_path = guest_path
        self._listing: Listing | None = None

    def check_writable(self) -> None:
        check_writable(self.preopen)

    @contextmanager
    def resolve(self, path: bytes, *, follow: bool) -> Iterator[DiskEntry]:
        with resolve(self.fd, path, follow=follow) as resolved:
            yield DiskEntry(resolved, self.preopen)

    def list(self, cookie: int, size: int) -> bytes:
        if cookie == 0 or self._listing is None:
            self._close_listing()
            self._listing = Listing(self.fd)
        return self._listing.pack(cookie, size)

    def open_entries(self) -> _DiskEntries:
        return _DiskEntries(self.fd, self.preopen)

    def close(self) -> None:
        self._close_listing()
        super().close()

    def _close_listing(self) -> None:
        if self._listing is not None:
            self._listing.close()
            self._listing = None


@final
class _DiskEntries(OpenEntries):
    """A listing that reads from the system as it goes on."""

    __slots__ = ("_entries", "_preopen")

    def __init__(self, fd: int, preopen: Preopen) -> None:
        super().__init__()
        self._entries = os.scandir(fd)
        self._preopen = preopen

    @property
    def may_wait(self) -> bool:
        return self._preopen.may_wait

    @property
    def device(self) -> int | None:
        return self._preopen.identity.device

    def next(self) -> tuple[bytes, FileType] | None:
        entry = next(self._entries, None)
        return None if entry is None else (os.fsencode(entry.name), kind_of(entry))

    def close(self) -> None:
        self._entries.close()


@final
class DiskEntry:
    """An entry of an open directory of the system."""

    __slots__ = ("_at", "_preopen")

    def __init__(self, at: ResolvedPath, preopen: Preopen) -> None:
        self._at = at
        self._preopen = preopen

    @property
    def trailing_slash(self) -> bool:
        return self._at.trailing_slash

    def status(self) -> os.stat_result:
        return os.stat(self._at.name, dir_fd=self._at.directory, follow_symlinks=False)

    def is_large(self) -> bool:
        return _is_large(self.status())

    def open(self, oflags: OFlag, access: Right, flags: FdFlag) -> DiskFile | DiskDirectory:
        """As `Entry.open`. Synchronous writes are refused: the loop would wait for the disk.

        Raises:
            WasiError: ``ROFS``, ``INVAL``, or ``NOTSUP`` if it is neither a file nor a directory.
            OSError: an error of the system.
        """
        at = self._at
        if flags | DiskFile.settable != DiskFile.settable:
            raise WasiError(Errno.NOTSUP)
        if oflags & OFlag.CREAT and oflags & OFlag.DIRECTORY:
            raise WasiError(Errno.INVAL)
        if oflags & OFlag.CREAT and at.trailing_slash:
            # Not left to the system: kernels before 6.4 create a file, and then report that it is
            # no directory.
            raise WasiError(Errno.ISDIR)
        if access & Right.FD_WRITE or oflags & (OFlag.CREAT | OFlag.TRUNC):
            check_writable(self._preopen)
        self._check_kind_before()
        how = _how(oflags, access, flags)
        if at.trailing_slash:
            how |= os.O_DIRECTORY
        fd = os.open(at.name, how, 0o666, dir_fd=at.directory)
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            return DiskDirectory(fd, self._preopen, flags)
        if stat.S_ISREG(mode):
            return DiskFile(fd, self._preopen, flags, access)
        os.close(fd)
        raise WasiError(Errno.NOTSUP)

    def _check_kind_before(self) -> None:
        """Refuse pipes, devices and sockets without opening them: that could have side effects.

        The entry may change after this check, so the opened file is checked again.
        """
        try:
            mode = self.status().st_mode
        except FileNotFoundError:
            return
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise WasiError(Errno.NOTSUP)

    def set_times(self, atim: int, mtim: int, flags: int) -> None:
        both = new_times(self.status(), atim, mtim, flags)
        os.utime(self._at.name, ns=both, dir_fd=self._at.directory, follow_symlinks=False)

    def read_link(self) -> bytes:
        return os.readlink(self._at.name, dir_fd=self._at.directory)

    def make_directory(self) -> None:
        os.mkdir(self._at.name_with_slash, dir_fd=self._at.directory)

    def make_link(self, target: bytes) -> None:
        os.symlink(target, self._at.name_with_slash, dir_fd=self._at.directory)

    def link_to(self, new: Entry) -> None:
        to = _on_disk(new)
        if self._at.trailing_slash:
            # The system would follow the old name if it were a link with a slash at the end.
            raise WasiError(Errno.NOTDIR)
        os.link(
            self._at.name,
            to.name_with_slash,
            src_dir_fd=self._at.directory,
            dst_dir_fd=to.directory,
            follow_symlinks=False,
        )

    def rename_to(self, new: Entry) -> None:
        to = _on_disk(new)
        os.rename(
            self._at.name_with_slash,
            to.name_with_slash,
            src_dir_fd=self._at.directory,
            dst_dir_fd=to.directory,
        )

    def remove_directory(self) -> None:
        os.rmdir(self._at.name_with_slash, dir_fd=self._at.directory)

    def remove_file(self) -> None:
        os.unlink(self._at.name_with_slash, dir_fd=self._at.directory)


def _on_disk(entry: Entry) -> ResolvedPath:
    """Where an entry is; ``XDEV`` for one in memory."""
    if not isinstance(entry, DiskEntry):
        raise WasiError(Errno.XDEV)
    return entry._at  # noqa: SLF001 - of the same class


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


def _offset(offset: int) -> int:
    if offset > _MAX_OFFSET:
        raise WasiError(Errno.INVAL)
    return offset
