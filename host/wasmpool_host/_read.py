"""Reading a file that somebody named: it may turn out to be a pipe, or a disk that is silent.

It is opened without blocking, and what was opened is looked at. A regular file is read in a thread
of this kind's own, for its disk may be slow, or a server that is gone. A pipe has data whenever its
writer likes, so its task waits for it as for a socket, without a thread. A device is refused: some
never end.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

import trio

from ._blocking import BlockingCalls

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST", "read", "read_regular"]

MOST: Final = 2**30
"""Bytes of a file; compiling that many would take minutes and all memory."""

_CHUNK: Final = 2**20
_PIPE_CHUNK: Final = 2**16  # what a pipe holds as a rule

_FILES: Final = BlockingCalls("reads of modules from files")


async def read(path: Path) -> bytes:
    """All of a regular file or a pipe, off the loop.

    Raises:
        OSError: it cannot be read, is a device or a directory, or too large.
        TooManyAbandoned: (an `OSError`) too many reads were cancelled and still wait for a disk.

    A cancel returns at once. It is a checkpoint.
    """
    found = await _FILES.run(_read_unless_pipe, path, dropped=_drop)
    return found if isinstance(found, bytes) else await _read_pipe(path, found)


def read_regular(path: Path) -> bytes:
    """All of a regular file; in a thread.

    Raises:
        OSError: it cannot be read, is no regular file, or too large.
    """
    found = _read_unless_pipe(path)
    if isinstance(found, bytes):
        return found
    os.close(found)
    raise OSError(errno.EINVAL, "is a pipe where a file is needed", str(path))


def _drop(found: bytes | int) -> None:
    if isinstance(found, int):
        os.close(found)


def _read_unless_pipe(path: Path) -> bytes | int:
    """What is in the file; of a pipe the descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode):
            return descriptor
        _check_kind(mode, path)
        content = _read_regular(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return content


def _check_kind(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a device, neither a file nor a pipe", str(path))


def _read_regular(descriptor: int, path: Path) -> bytes:
    content = bytearray()
    while chunk := os.read(descriptor, _CHUNK):
        _add(content, chunk, path)
    return bytes(content)


async def _read_pipe(path: Path, descriptor: int) -> bytes:
    content = bytearray()
    try:
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                chunk = os.read(descriptor, _PIPE_CHUNK)
            except BlockingIOError:  # another reader was faster
                continue
            if not chunk:
                return bytes(content)
            _add(content, chunk, path)
    finally:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)


def _add(content: bytearray, chunk: bytes, path: Path) -> None:
    content += chunk
    if len(content) > MOST:
        raise OSError(errno.EFBIG, f"is larger than {MOST:,} bytes, too large a module", str(path))
