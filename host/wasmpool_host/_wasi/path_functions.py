"""``path_*``: the functions on a path beneath an open directory."""

# ruff: noqa: PLR0913, PLR0917  # the contract defines the parameters

from __future__ import annotations

import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .directory import Directory
from .errno import Errno, WasiError
from .guest_memory import check_region, read_path
from .layout import (
    ALL_LOOKUPFLAGS,
    ALL_OFLAGS,
    U32,
    FdFlag,
    LookupFlag,
    OFlag,
    filestat,
)
from .rights import Right

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .entry import Entry
    from .guest_memory import GuestMemory
    from .layout import Status
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
    with _entry_to_change(process, memory, fd, path, size) as entry:
        entry.make_directory()


def path_filestat_get(
    process: Process, memory: GuestMemory, fd: int, lookup: int, path: int, size: int, out: int
) -> None:
    """The result of ``stat`` or ``lstat``."""
    directory = _directory(process, fd)
    with _look_up(directory, read_path(memory, path, size), lookup) as entry:
        memory.write(out, filestat(_status(entry)))


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
    with _look_up(directory, read_path(memory, path, size), lookup) as entry:
        _status(entry)
        entry.set_times(atim, mtim, flags)


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
    with (
        _entry_to_change(process, memory, old_fd, old_path, old_size) as old,
        _entry_to_change(process, memory, new_fd, new_path, new_size) as new,
    ):
        old.link_to(new)


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
    if oflags & ~ALL_OFLAGS or lookup & ~ALL_LOOKUPFLAGS:
        raise WasiError(Errno.INVAL)
    if oflags & OFlag.EXCL:
        lookup = 0  # a link at this path exists already, whatever its target
    how = (OFlag(oflags), Right(rights & (Right.FD_READ | Right.FD_WRITE)), FdFlag(flags))
    with _look_up(directory, name, lookup) as entry:
        process.check_open()
        if oflags & OFlag.TRUNC:
            _require_thread_if_large(process, directory, entry)
        opened = entry.open(*how)
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
    with _look_up(directory, read_path(memory, path, size), 0) as entry:
        target = entry.read_link()[:room]
    memory.write(buf, target)
    memory.write(out, U32.pack(len(target)))


def path_remove_directory(
    process: Process, memory: GuestMemory, fd: int, path: int, size: int
) -> None:
    """Remove an empty directory."""
    with _entry_to_change(process, memory, fd, path, size) as entry:
        entry.remove_directory()


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
    with (
        _entry_to_change(process, memory, fd, old_path, old_size) as old,
        _entry_to_change(process, memory, new_fd, new_path, new_size) as new,
    ):
        _require_thread_if_large(process, _directory(process, new_fd), new)
        old.rename_to(new)


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
    if target.startswith(b"/"):
        raise WasiError(Errno.NOTCAPABLE)
    with _entry_to_change(process, memory, fd, new_path, new_size) as entry:
        entry.make_link(target)


def path_unlink_file(process: Process, memory: GuestMemory, fd: int, path: int, size: int) -> None:
    """Remove a file or a link."""
    with _entry_to_change(process, memory, fd, path, size) as entry:
        _require_thread_if_large(process, _directory(process, fd), entry)
        entry.remove_file()


def _directory(process: Process, fd: int) -> Directory:
    descriptor = process.descriptors.get(fd)
    if not isinstance(descriptor, Directory):
        raise WasiError(Errno.NOTDIR)
    return descriptor


@contextmanager
def _look_up(directory: Directory, path: bytes, lookup: int) -> Iterator[Entry]:
    """Resolve a path. With a slash at its end, a link is followed, as POSIX requires."""
    if lookup & ~ALL_LOOKUPFLAGS:
        raise WasiError(Errno.INVAL)
    follow = bool(lookup & LookupFlag.SYMLINK_FOLLOW) or path.endswith(b"/")
    with directory.resolve(path, follow=follow) as entry:
        yield entry


@contextmanager
def _entry_to_change(
    process: Process, memory: GuestMemory, fd: int, path: int, size: int
) -> Iterator[Entry]:
    """Resolve a path without following a link at its end; the directory must be writable."""
    directory = _directory(process, fd)
    directory.check_writable()
    with directory.resolve(read_path(memory, path, size), follow=False) as entry:
        process.check_open()
        yield entry


def _require_thread_if_large(process: Process, directory: Directory, entry: Entry) -> None:
    """Continue in a thread if the entry is a large file, whose blocks are about to be freed."""
    with suppress(OSError):  # the operation itself reports it
        if entry.is_large():
            process.require_thread(directory)


def _status(entry: Entry) -> Status:
    status = entry.status()
    if entry.trailing_slash and not stat.S_ISDIR(status.st_mode):
        raise WasiError(Errno.NOTDIR)
    return status
