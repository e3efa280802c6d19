"""Operations on a path beneath an open directory, for guests of each preview.

A path is bytes: file names on Linux need not be UTF-8. Each operation raises `WasiError` or
`OSError`, as POSIX defines, or `NeedsThread` before it has done anything.
"""

from __future__ import annotations

import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .errno import Errno, WasiError
from .layout import OFlag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .descriptor import Descriptor
    from .directory import Directory
    from .entry import Entry
    from .layout import FdFlag, Status
    from .process import Process
    from .rights import Right

__all__ = [
    "create_directory",
    "link",
    "open_path",
    "read_link",
    "remove_directory",
    "remove_file",
    "rename",
    "set_times",
    "status_of",
    "symlink",
]


def create_directory(process: Process, directory: Directory, path: bytes) -> None:
    """Create a directory."""
    with _entry_to_change(process, directory, path) as entry:
        entry.make_directory()


def status_of(directory: Directory, path: bytes, *, follow: bool) -> Status:
    """The result of ``stat`` or ``lstat``."""
    with _look_up(directory, path, follow=follow) as entry:
        return _status(entry)


def set_times(  # noqa: PLR0913 - as the contracts have it
    directory: Directory, path: bytes, atim: int, mtim: int, flags: int, *, follow: bool
) -> None:
    """Set the times of a file or a directory, or of a link that is not followed."""
    directory.check_writable()
    with _look_up(directory, path, follow=follow) as entry:
        _status(entry)
        entry.set_times(atim, mtim, flags)


def link(
    process: Process, old: Directory, old_path: bytes, new: Directory, new_path: bytes
) -> None:
    """Create a hard link; a link at the old path is not followed.

    Both directories must be writable: through the new name, a file is as writable as the directory
    of this name.
    """
    with (
        _entry_to_change(process, old, old_path) as entry,
        _entry_to_change(process, new, new_path) as other,
    ):
        entry.link_to(other)


def open_path(
    process: Process,
    directory: Directory,
    path: bytes,
    how: tuple[OFlag, Right, FdFlag],
    *,
    follow: bool,
) -> Descriptor:
    """Open a regular file or a directory. There must be room for another descriptor."""
    oflags, access, flags = how
    # With EXCL, a link at this path exists already, whatever its target.
    with _look_up(directory, path, follow=follow and not oflags & OFlag.EXCL) as entry:
        process.check_open()
        if oflags & OFlag.TRUNC:
            _require_thread_if_large(process, directory, entry)
        return entry.open(oflags, access, flags)


def read_link(directory: Directory, path: bytes) -> bytes:
    """The target of a link."""
    with _look_up(directory, path, follow=False) as entry:
        return entry.read_link()


def remove_directory(process: Process, directory: Directory, path: bytes) -> None:
    """Remove an empty directory."""
    with _entry_to_change(process, directory, path) as entry:
        entry.remove_directory()


def rename(
    process: Process, old: Directory, old_path: bytes, new: Directory, new_path: bytes
) -> None:
    """Rename an entry, also between two preopened directories, if both are writable."""
    with (
        _entry_to_change(process, old, old_path) as entry,
        _entry_to_change(process, new, new_path) as other,
    ):
        _require_thread_if_large(process, new, other)
        entry.rename_to(other)


def symlink(process: Process, target: bytes, directory: Directory, path: bytes) -> None:
    """Create a symbolic link.

    An absolute target is refused (``NOTCAPABLE``): guests could not use it, and for programs
    outside it would lead out of the directory.
    """
    if target.startswith(b"/"):
        raise WasiError(Errno.NOTCAPABLE)
    with _entry_to_change(process, directory, path) as entry:
        entry.make_link(target)


def remove_file(process: Process, directory: Directory, path: bytes) -> None:
    """Remove a file or a link."""
    with _entry_to_change(process, directory, path) as entry:
        _require_thread_if_large(process, directory, entry)
        entry.remove_file()


@contextmanager
def _look_up(directory: Directory, path: bytes, *, follow: bool) -> Iterator[Entry]:
    """Resolve a path. With a slash at its end, a link is followed, as POSIX requires."""
    with directory.resolve(path, follow=follow or path.endswith(b"/")) as entry:
        yield entry


@contextmanager
def _entry_to_change(process: Process, directory: Directory, path: bytes) -> Iterator[Entry]:
    """Resolve a path without following a link at its end; the directory must be writable."""
    directory.check_writable()
    with directory.resolve(path, follow=False) as entry:
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
