"""Files that are read whole: regular ones, up to a bound.

A FIFO without a writer would hold its reader for ever, a device has no end, and a file may grow
while it is read. So what a path leads to is looked at before it is opened, since to open a FIFO or
a device has effects of its own; and again by its descriptor, since the path may lead elsewhere by
then.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["open_regular", "read_at_most"]

_PIECE: Final = 1 << 20

_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


@contextmanager
def open_regular(
    path: str, *, directory: int | None = None, follow: bool = True
) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file to be read; its descriptor and its status.

    Args:
        path: of the file.
        directory: the descriptor of the directory that a relative path starts from.
        follow: a symbolic link leads to what it names; False refuses one in the last place.

    Raises:
        OSError: it is not there, cannot be read, or is no regular file, which the message says.
    """
    _check_regular(os.stat(path, dir_fd=directory, follow_symlinks=follow), path)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(path, flags | (0 if follow else os.O_NOFOLLOW), dir_fd=directory)
    try:
        status = os.fstat(fd)
        _check_regular(status, path)
        yield fd, status
    finally:
        os.close(fd)


def read_at_most(fd: int, most: int) -> bytes | None:
    """Read to the end of the file; None if there are more bytes than that."""
    pieces: list[bytes] = []
    left = most
    while left >= 0:
        piece = os.read(fd, min(_PIECE, left + 1))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        left -= len(piece)
    return None


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", path)
