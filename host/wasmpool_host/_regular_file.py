"""Reading whole files: only regular files, up to a limit.

A FIFO without a writer would block its reader forever, a device has no end, and a file may grow
while it is read. So the kind of file is checked twice: before it is opened, since opening a FIFO or
a device has side effects; and again by its descriptor, since the path may name another file by
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

_CHUNK: Final = 1 << 20

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
    """Open a regular file for reading; yield its descriptor and its status.

    Args:
        path: the file's path.
        directory: the descriptor of the directory where a relative path starts.
        follow: follow symbolic links; False refuses one as the last component.

    Raises:
        OSError: the file is missing, cannot be read, or is not a regular file; the message says
            which.
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


def read_at_most(fd: int, limit: int) -> bytes | None:
    """Read to the end of the file; None if there are more bytes than ``limit``.

    A file that does not change is read in one piece. Many small ones would be taken from a heap of
    the thread's, which gives hardly any of that memory back to the system.
    """
    chunks: list[bytes] = []
    left = limit
    piece = max(_CHUNK, os.fstat(fd).st_size + 1)
    while left >= 0:
        chunk = os.read(fd, min(piece, left + 1))
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        left -= len(chunk)
    return None


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", path)
