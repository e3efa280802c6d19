"""``path_*``: the functions on a path beneath an open directory."""

# ruff: noqa: PLR0913, PLR0917  # the contract defines the parameters

from __future__ import annotations

from typing import TYPE_CHECKING

from . import path_operations as operations
from .directory import Directory
from .errno import Errno, WasiError
from .guest_memory import check_region, read_path
from .layout import ALL_LOOKUPFLAGS, ALL_OFLAGS, U32, FdFlag, LookupFlag, OFlag, filestat
from .rights import Right

if TYPE_CHECKING:
    from .guest_memory import GuestMemory
    from .process import Process

__all__ = [
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
]


def path_create_directory(
    process: Process, memory: GuestMemory, fd: int, path: int, size: int
) -> None:
    """Create a directory."""
    operations.create_directory(process, _directory(process, fd), read_path(memory, path, size))


def path_filestat_get(
    process: Process, memory: GuestMemory, fd: int, lookup: int, path: int, size: int, out: int
) -> None:
    """The result of ``stat`` or ``lstat``."""
    directory = _directory(process, fd)
    name = read_path(memory, path, size)
    status = operations.status_of(directory, name, follow=_follows(lookup))
    memory.write(out, filestat(status))


def path_filestat_set_times(
    process: Process,
    memory: GuestMemory,
    fd: int,
    lookup: int,
    path: int,
    size: int,
    atim: int,
    mtim: int,
    flags: int,
) -> None:
    """Set the times of a file or a directory, or of a link that is not followed."""
    directory = _directory(process, fd)
    directory.check_writable()
    name = read_path(memory, path, size)
    operations.set_times(directory, name, atim, mtim, flags, follow=_follows(lookup))


def path_link(
    process: Process,
    memory: GuestMemory,
    old_fd: int,
    lookup: int,
    old_path: int,
    old_size: int,
    new_fd: int,
    new_path: int,
    new_size: int,
) -> None:
    """Create a hard link.

    Both directories must be writable: through the new name, a file is as writable as the directory
    of this name. To follow links is refused (``INVAL``).
    """
    if lookup:
        raise WasiError(Errno.INVAL)
    old, new = _directory(process, old_fd), _directory(process, new_fd)
    old_name = read_path(memory, old_path, old_size)
    new_name = read_path(memory, new_path, new_size)
    operations.link(process, old, old_name, new, new_name)


def path_open(
    process: Process,
    memory: GuestMemory,
    fd: int,
    lookup: int,
    path: int,
    size: int,
    oflags: int,
    rights: int,
    _inheriting: int,
    flags: int,
    out: int,
) -> None:
    """Open a regular file or a directory."""
    directory = _directory(process, fd)
    process.descriptors.check_room()
    check_region(memory, out, U32.size)
    name = read_path(memory, path, size)
    if oflags & ~ALL_OFLAGS:
        raise WasiError(Errno.INVAL)
    how = (OFlag(oflags), Right(rights & (Right.FD_READ | Right.FD_WRITE)), FdFlag(flags))
    opened = operations.open_path(process, directory, name, how, follow=_follows(lookup))
    memory.write(out, U32.pack(process.descriptors.add(opened)))


def path_readlink(
    process: Process,
    memory: GuestMemory,
    fd: int,
    path: int,
    size: int,
    buf: int,
    room: int,
    out: int,
) -> None:
    """The target of a link, truncated to the size of the buffer."""
    directory = _directory(process, fd)
    check_region(memory, buf, room)
    target = operations.read_link(directory, read_path(memory, path, size))[:room]
    memory.write(buf, target)
    memory.write(out, U32.pack(len(target)))


def path_remove_directory(
    process: Process, memory: GuestMemory, fd: int, path: int, size: int
) -> None:
    """Remove an empty directory."""
    operations.remove_directory(process, _directory(process, fd), read_path(memory, path, size))


def path_rename(
    process: Process,
    memory: GuestMemory,
    fd: int,
    old_path: int,
    old_size: int,
    new_fd: int,
    new_path: int,
    new_size: int,
) -> None:
    """Rename an entry, also between two preopened directories, if both are writable."""
    old, new = _directory(process, fd), _directory(process, new_fd)
    old_name = read_path(memory, old_path, old_size)
    new_name = read_path(memory, new_path, new_size)
    operations.rename(process, old, old_name, new, new_name)


def path_symlink(
    process: Process,
    memory: GuestMemory,
    old_path: int,
    old_size: int,
    fd: int,
    new_path: int,
    new_size: int,
) -> None:
    """Create a symbolic link.

    An absolute target is refused (``NOTCAPABLE``): guests could not use it, and for programs
    outside it would lead out of the directory.
    """
    target = read_path(memory, old_path, old_size)
    directory = _directory(process, fd)
    operations.symlink(process, target, directory, read_path(memory, new_path, new_size))


def path_unlink_file(process: Process, memory: GuestMemory, fd: int, path: int, size: int) -> None:
    """Remove a file or a link."""
    operations.remove_file(process, _directory(process, fd), read_path(memory, path, size))


def _directory(process: Process, fd: int) -> Directory:
    descriptor = process.descriptors.get(fd)
    if not isinstance(descriptor, Directory):
        raise WasiError(Errno.NOTDIR)
    return descriptor


def _follows(lookup: int) -> bool:
    if lookup & ~ALL_LOOKUPFLAGS:
        raise WasiError(Errno.INVAL)
    return bool(lookup & LookupFlag.SYMLINK_FOLLOW)
