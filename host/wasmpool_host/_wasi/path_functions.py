"""``path_*``: what is done to what a path leads to, beneath a directory that is open."""

# ruff: noqa: PLR0913, PLR0917  # the contract says how many parameters there are

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .errno import Errno, WasiError
from .files import Directory, check_writable, is_large, open_place, times
from .layout import (
    ALL_LOOKUPFLAGS,
    ALL_OFLAGS,
    U32,
    FdFlag,
    LookupFlag,
    OFlag,
    filestat,
)
from .memory import check, read_path
from .resolve import Place, resolve
from .rights import Right

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .memory import Memory
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


def path_create_directory(process: Process, memory: Memory, fd: int, path: int, size: int) -> None:
    """Make a directory."""
    with _entry_to_change(process, memory, fd, path, size) as place:
        os.mkdir(place.entry, dir_fd=place.directory)


def path_filestat_get(
    process: Process, memory: Memory, fd: int, lookup: int, path: int, size: int, out: int
) -> None:
    """What ``stat`` or ``lstat`` says."""
    directory = _directory(process, fd)
    with _look_up(directory, read_path(memory, path, size), lookup) as place:
        memory.write(out, filestat(_status(place)))


def path_filestat_set_times(
    process: Process,
    memory: Memory,
    fd: int,
    lookup: int,
    path: int,
    size: int,
    atim: int,
    mtim: int,
    flags: int,
) -> None:
    """Set the times of a file, a directory or, not followed, a link."""
    directory = _directory(process, fd)
    check_writable(directory.preopen)
    with _look_up(directory, read_path(memory, path, size), lookup) as place:
        both = times(_status(place), atim, mtim, flags)
        os.utime(place.name, ns=both, dir_fd=place.directory, follow_symlinks=False)


def path_link(
    process: Process,
    memory: Memory,
    old_fd: int,
    lookup: int,
    old_path: int,
    old_size: int,
    new_fd: int,
    new_path: int,
    new_size: int,
) -> None:
    """Make a hard link.

    Both directories must be writable: by way of the new name a file is as writable as the directory
    it is in. Links are not followed (``INVAL``).
    """
    if lookup:
        raise WasiError(Errno.INVAL)
    with (
        _entry_to_change(process, memory, old_fd, old_path, old_size) as old,
        _entry_to_change(process, memory, new_fd, new_path, new_size) as new,
    ):
        if old.slash:
            # The system would follow the old name, were it a link with a slash behind it.
            raise WasiError(Errno.NOTDIR)
        os.link(
            old.name,
            new.entry,
            src_dir_fd=old.directory,
            dst_dir_fd=new.directory,
            follow_symlinks=False,
        )


def path_open(
    process: Process,
    memory: Memory,
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
    check(memory, out, U32.size)
    name = read_path(memory, path, size)
    if oflags & ~ALL_OFLAGS or lookup & ~ALL_LOOKUPFLAGS:
        raise WasiError(Errno.INVAL)
    if oflags & OFlag.EXCL:
        lookup = 0  # what is there, be it a link, is in the way
    how = (OFlag(oflags), Right(rights & (Right.FD_READ | Right.FD_WRITE)), FdFlag(flags))
    with _look_up(directory, name, lookup) as place:
        process.check()
        if oflags & OFlag.TRUNC:
            _check_end(process, directory, place)
        opened = open_place(place, directory.preopen, *how)
    memory.write(out, U32.pack(process.descriptors.add(opened)))


def path_readlink(
    process: Process, memory: Memory, fd: int, path: int, size: int, buf: int, room: int, out: int
) -> None:
    """What a link says, or as much as there is room for."""
    directory = _directory(process, fd)
    check(memory, buf, room)
    with _look_up(directory, read_path(memory, path, size), 0) as place:
        target = os.readlink(place.name, dir_fd=place.directory)[:room]
    memory.write(buf, target)
    memory.write(out, U32.pack(len(target)))


def path_remove_directory(process: Process, memory: Memory, fd: int, path: int, size: int) -> None:
    """Remove an empty directory."""
    with _entry_to_change(process, memory, fd, path, size) as place:
        os.rmdir(place.entry, dir_fd=place.directory)


def path_rename(
    process: Process,
    memory: Memory,
    fd: int,
    old_path: int,
    old_size: int,
    new_fd: int,
    new_path: int,
    new_size: int,
) -> None:
    """Rename; between two preopened directories too, if both are writable."""
    with (
        _entry_to_change(process, memory, fd, old_path, old_size) as old,
        _entry_to_change(process, memory, new_fd, new_path, new_size) as new,
    ):
        _check_end(process, _directory(process, new_fd), new)
        os.rename(old.entry, new.entry, src_dir_fd=old.directory, dst_dir_fd=new.directory)


def path_symlink(
    process: Process,
    memory: Memory,
    old_path: int,
    old_size: int,
    fd: int,
    new_path: int,
    new_size: int,
) -> None:
    """Make a symbolic link.

    An absolute one is refused (``NOTCAPABLE``): it would mean nothing to guests, and elsewhere
    something else to whoever reads the directory outside.
    """
    target = read_path(memory, old_path, old_size)
    if target.startswith(b"/"):
        raise WasiError(Errno.NOTCAPABLE)
    with _entry_to_change(process, memory, fd, new_path, new_size) as place:
        os.symlink(target, place.entry, dir_fd=place.directory)


def path_unlink_file(process: Process, memory: Memory, fd: int, path: int, size: int) -> None:
    """Remove a file or a link."""
    with _entry_to_change(process, memory, fd, path, size) as place:
        _check_end(process, _directory(process, fd), place)
        os.unlink(place.entry, dir_fd=place.directory)


def _directory(process: Process, fd: int) -> Directory:
    descriptor = process.descriptors.get(fd)
    if not isinstance(descriptor, Directory):
        raise WasiError(Errno.NOTDIR)
    return descriptor


@contextmanager
def _look_up(directory: Directory, path: bytes, lookup: int) -> Iterator[Place]:
    """What the path leads to; a slash at its end follows a link, as it does everywhere."""
    if lookup & ~ALL_LOOKUPFLAGS:
        raise WasiError(Errno.INVAL)
    follow = bool(lookup & LookupFlag.SYMLINK_FOLLOW) or path.endswith(b"/")
    with resolve(directory.fd, path, follow=follow) as place:
        yield place


@contextmanager
def _entry_to_change(
    process: Process, memory: Memory, fd: int, path: int, size: int
) -> Iterator[Place]:
    """The entry itself, in a directory that may be changed."""
    directory = _directory(process, fd)
    check_writable(directory.preopen)
    with resolve(directory.fd, read_path(memory, path, size), follow=False) as place:
        process.check()
        yield place


def _check_end(process: Process, directory: Directory, place: Place) -> None:
    """Leave the loop if there is a large file, which is to be removed or emptied."""
    with suppress(OSError):  # the deed itself will say it
        if is_large(os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)):
            process.leave_loop(directory)


def _status(place: Place) -> os.stat_result:
    status = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
    if place.slash and not stat.S_ISDIR(status.st_mode):
        raise WasiError(Errno.NOTDIR)
    return status
