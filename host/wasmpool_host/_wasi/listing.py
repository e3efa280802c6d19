"""One directory being listed for a guest, a buffer at a time.

``fd_readdir`` goes on from a *cookie*: here, how many entries came before. Entries are taken from
the system as they are asked for, so a directory of a million files costs no more per call than its
buffer holds. The last few thousand are kept, for the guest comes back for the one that did not fit
into its buffer, or for a ``seekdir``; further back there is only cookie 0, which begins anew.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import final

from .errno import Errno, WasiError
from .layout import DIRENT, FileType

__all__ = ["MAX_BUFFER", "Listing"]

# Some 10,000 entries, 20 ms (in a thread). Guests use 1 to 8 KiB. More is refused, not cut: less
# than a full buffer would tell the guest that the directory ends there.
MAX_BUFFER = 256 * 1024

_KEPT = 4096  # entries; half a megabyte at worst with names of usual length


@final
class Listing:
    """The entries of one directory, as ``$dirent`` records with their names."""

    __slots__ = ("_entries", "_given", "_kept")

    # Invariant: _kept holds the records number _given - len(_kept) up to, not including, _given.

    def __init__(self, fd: int) -> None:
        inode = os.fstat(fd).st_ino
        self._entries = os.scandir(fd)
        self._kept: deque[bytes] = deque(maxlen=_KEPT)
        self._given = 0
        self._keep(b".", inode, FileType.DIRECTORY)
        # Our own number, not the parent's: what is outside is none of the guest's business.
        self._keep(b"..", inode, FileType.DIRECTORY)

    def pack(self, cookie: int, size: int) -> bytes:
        """Entries from `cookie` on, up to `size` bytes, the last one possibly cut off.

        Less than `size` bytes means that there are no more. A cookie that was never given, or so
        long ago that it is forgotten, is ``INVAL``.
        """
        first = self._given - len(self._kept)
        if size > MAX_BUFFER or not first <= cookie <= self._given:
            raise WasiError(Errno.INVAL)
        packed = bytearray()
        for record in islice(self._kept, cookie - first, None):
            packed += record
            if len(packed) >= size:
                break
        while len(packed) < size and (entry := next(self._entries, None)) is not None:
            packed += self._keep(os.fsencode(entry.name), entry.inode(), _kind(entry))
        return bytes(packed[:size])

    def close(self) -> None:
        """Give the system's descriptor back, if the end was not reached."""
        self._entries.close()

    def _keep(self, name: bytes, inode: int, kind: FileType) -> bytes:
        self._given += 1
        record = DIRENT.pack(self._given, inode, len(name), kind) + name
        self._kept.append(record)
        return record


def _kind(entry: os.DirEntry[str]) -> FileType:
    if entry.is_symlink():
        return FileType.SYMBOLIC_LINK
    if entry.is_dir(follow_symlinks=False):
        return FileType.DIRECTORY
    if entry.is_file(follow_symlinks=False):
        return FileType.REGULAR_FILE
    return FileType.UNKNOWN
