"""``fd_*`` and ``sock_*``: the functions on an open descriptor."""

# ruff: noqa: PLR0913, PLR0917  # the contract defines the parameters

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import file_operations
from .directory import Directory
from .errno import Errno, WasiError
from .guest_memory import check_region, gather, read_vectors, scatter, transfer_size
from .layout import FDSTAT, PRESTAT, U32, U64, FdFlag, filestat, stream_filestat
from .listing import MAX_BUFFER

if TYPE_CHECKING:
    from .guest_memory import GuestMemory
    from .process import Process

__all__ = [
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
]

_MAX_ADVICE = 5  # noreuse
_PREOPEN_DIRECTORY = 0

_SHORT_LISTING = 64 * 1024  # bytes; 2,500 entries at most, 3 ms


def fd_advise(
    process: Process, _memory: GuestMemory, fd: int, _offset: int, _size: int, advice: int
) -> None:
    """Accept advice on how a file will be read, and ignore it."""
    if advice > _MAX_ADVICE:
        raise WasiError(Errno.INVAL)
    process.descriptors.get(fd).advise()


def fd_allocate(process: Process, _memory: GuestMemory, fd: int, _offset: int, _size: int) -> None:
    """``NOTSUP``: see `DiskFile.allocate`."""
    process.descriptors.get(fd).allocate()


def fd_close(process: Process, _memory: GuestMemory, fd: int) -> None:
    """Close a descriptor, which may be a standard stream or a preopened directory."""
    file_operations.require_thread_to_close(process, process.descriptors.get(fd))
    process.descriptors.close(fd)


def fd_datasync(process: Process, _memory: GuestMemory, fd: int) -> None:
    """Wait until the written data is on the disk; always in a thread."""
    process.descriptors.get(fd).sync(os.fdatasync)


def fd_fdstat_get(process: Process, memory: GuestMemory, fd: int, out: int) -> None:
    """The descriptor's type, its flags and the rights that it reports."""
    descriptor = process.descriptors.get(fd)
    memory.write(
        out,
        FDSTAT.pack(
            descriptor.filetype, descriptor.flags, descriptor.rights, descriptor.inheriting
        ),
    )


def fd_fdstat_set_flags(process: Process, _memory: GuestMemory, fd: int, flags: int) -> None:
    """Set the append and non-blocking flags; synchronous writes are not supported."""
    process.descriptors.get(fd).set_flags(FdFlag(flags))


def fd_fdstat_set_rights(
    process: Process, _memory: GuestMemory, fd: int, _base: int, _inheriting: int
) -> None:
    """``NOTSUP``: rights are only reported and restrict nothing, so none can be dropped."""
    process.descriptors.get(fd)
    raise WasiError(Errno.NOTSUP)


def fd_filestat_get(process: Process, memory: GuestMemory, fd: int, out: int) -> None:
    """The result of ``fstat``."""
    descriptor = process.descriptors.get(fd)
    status = descriptor.status()
    record = stream_filestat(descriptor.filetype) if status is None else filestat(status)
    memory.write(out, record)


def fd_filestat_set_size(process: Process, _memory: GuestMemory, fd: int, size: int) -> None:
    """Truncate a file, or extend it with zeros."""
    file_operations.set_size(process, process.descriptors.get(fd), size)


def fd_filestat_set_times(
    process: Process, _memory: GuestMemory, fd: int, atim: int, mtim: int, flags: int
) -> None:
    """Set a file's or a directory's times."""
    process.descriptors.get(fd).set_times(atim, mtim, flags)


def fd_pread(
    process: Process, memory: GuestMemory, fd: int, iovs: int, count: int, offset: int, out: int
) -> None:
    """Read at an offset, at most 1 MiB."""
    descriptor = process.descriptors.get(fd)
    pairs = read_vectors(memory, iovs, count)
    check_region(memory, out, U32.size)
    data = descriptor.pread(transfer_size(pairs), offset)
    scatter(memory, pairs, data)
    memory.write(out, U32.pack(len(data)))


def fd_prestat_dir_name(
    process: Process, memory: GuestMemory, fd: int, path: int, size: int
) -> None:
    """The guest's path of a preopened directory."""
    name = _preopened_as(process, fd)
    if size < len(name):
        raise WasiError(Errno.NAMETOOLONG)
    memory.write(path, name)


def fd_prestat_get(process: Process, memory: GuestMemory, fd: int, out: int) -> None:
    """The length of this path; ``BADF`` if it is not preopened, which tells guests to stop."""
    name = _preopened_as(process, fd)
    memory.write(out, PRESTAT.pack(_PREOPEN_DIRECTORY, len(name)))


def fd_pwrite(
    process: Process, memory: GuestMemory, fd: int, iovs: int, count: int, offset: int, out: int
) -> None:
    """Write at an offset, at most 1 MiB."""
    descriptor = process.descriptors.get(fd)
    check_region(memory, out, U32.size)
    written = descriptor.pwrite(gather(memory, iovs, count), offset)
    memory.write(out, U32.pack(written))


def fd_read(
    process: Process, memory: GuestMemory, fd: int, iovs: int, count: int, out: int
) -> None:
    """Read, at most 1 MiB."""
    descriptor = process.descriptors.get(fd)
    pairs = read_vectors(memory, iovs, count)
    check_region(memory, out, U32.size)
    data = descriptor.read(transfer_size(pairs))
    scatter(memory, pairs, data)
    memory.write(out, U32.pack(len(data)))


def fd_readdir(
    process: Process, memory: GuestMemory, fd: int, buf: int, size: int, cookie: int, out: int
) -> None:
    """The directory entries from a cookie on; see `Listing`."""
    directory = process.descriptors.get(fd)
    if not isinstance(directory, Directory):
        raise WasiError(Errno.NOTDIR)
    check_region(memory, buf, size)
    check_region(memory, out, U32.size)
    if _SHORT_LISTING < size <= MAX_BUFFER:
        process.require_thread(directory)
    entries = directory.list(cookie, size)
    memory.write(buf, entries)
    memory.write(out, U32.pack(len(entries)))


def fd_renumber(process: Process, _memory: GuestMemory, fd: int, to: int) -> None:
    """Close `to`, and move `fd` to its number; both must be open."""
    file_operations.require_thread_to_close(process, process.descriptors.get(to))
    process.descriptors.renumber(fd, to)


def fd_seek(
    process: Process, memory: GuestMemory, fd: int, offset: int, whence: int, out: int
) -> None:
    """Move a file's offset."""
    descriptor = process.descriptors.get(fd)
    check_region(memory, out, U64.size)
    delta = offset - 2**64 if offset >= 2**63 else offset  # the contract's only signed number
    memory.write(out, U64.pack(descriptor.seek(delta, whence)))


def fd_sync(process: Process, _memory: GuestMemory, fd: int) -> None:
    """Wait until the written data and its metadata are on the disk; always in a thread."""
    process.descriptors.get(fd).sync(os.fsync)


def fd_tell(process: Process, memory: GuestMemory, fd: int, out: int) -> None:
    """The offset of a file."""
    memory.write(out, U64.pack(process.descriptors.get(fd).seek(0, os.SEEK_CUR)))


def fd_write(
    process: Process, memory: GuestMemory, fd: int, iovs: int, count: int, out: int
) -> None:
    """Write, at most 1 MiB."""
    descriptor = process.descriptors.get(fd)
    check_region(memory, out, U32.size)
    memory.write(out, U32.pack(descriptor.write(gather(memory, iovs, count))))


def sock_accept(process: Process, _memory: GuestMemory, fd: int, _flags: int, _out: int) -> None:
    """``NOTSOCK``: there are no sockets."""
    _no_socket(process, fd)


def sock_recv(
    process: Process,
    _memory: GuestMemory,
    fd: int,
    _iovs: int,
    _count: int,
    _flags: int,
    _size: int,
    _out_flags: int,
) -> None:
    """``NOTSOCK``: there are no sockets."""
    _no_socket(process, fd)


def sock_send(
    process: Process, _memory: GuestMemory, fd: int, _iovs: int, _count: int, _flags: int, _out: int
) -> None:
    """``NOTSOCK``: there are no sockets."""
    _no_socket(process, fd)


def sock_shutdown(process: Process, _memory: GuestMemory, fd: int, _how: int) -> None:
    """``NOTSOCK``: there are no sockets."""
    _no_socket(process, fd)


def _no_socket(process: Process, fd: int) -> None:
    process.descriptors.get(fd)
    raise WasiError(Errno.NOTSOCK)


def _preopened_as(process: Process, fd: int) -> bytes:
    directory = process.descriptors.get(fd)
    if not isinstance(directory, Directory) or directory.guest_path is None:
        raise WasiError(Errno.BADF)
    return directory.guest_path
