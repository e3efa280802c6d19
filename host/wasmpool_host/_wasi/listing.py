"""The listing of one directory for a guest, one buffer at a time.

``fd_readdir`` continues at a *cookie*: here, the number of entries before. Entries are read from
the system only as they are requested, so the cost of a call depends on the size of its buffer, not
of the directory. The last few thousand are kept, because the guest asks again for the one that did
not fit into its buffer, or calls ``seekdir``. Of the earlier cookies only 0 is valid, which starts
again.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import final

from .errno import Errno, WasiError
from .layout import DIRENT, FileType

__all__ = ["MAX_BUFFER", "Listing", "kind_of"]

# About 10,000 entries, 20 ms (in a thread). Guests use 1 to 8 KiB. A larger buffer is refused, not
# filled in part: that would tell the guest that the directory ends there.
MAX_BUFFER = 256 * 1024

_KEPT = 4096  # entries; at most half a megabyte with names of usual length


@final
class Listing:
    """The entries of one directory, as ``$dirent`` records with their names."""

    __slots__ = ("_entries", "_given", "_kept")

    # Invariant: _kept holds the records from number _given - len(_kept) to _given - 1.

    def __init__(self, fd: int) -> None:
        inode = os.fstat(fd).st_ino
        self._entries = os.scandir(fd)
        self._kept: deque[bytes] = deque(maxlen=_KEPT)
        self._given = 0
        self._keep(b".", inode, FileType.DIRECTORY)
        # The directory's own inode, not its parent's: the guest must not learn what is outside.
        self._keep(b"..", inode, FileType.DIRECTORY)

    def pack(self, cookie: int, size: int) -> bytes:
        """The entries from `cookie` on, up to `size` bytes; the last one may be truncated.

        Less than `size` bytes means that there are no more entries. A cookie that was never given,
        or whose entry is not kept any more, is ``INVAL``.
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
            packed += self._keep(os.fsencode(entry.name), entry.inode(), kind_of(entry))
        return bytes(packed[:size])

    def close(self) -> None:
        """Close the system's descriptor, if the end was not reached."""
        self._entries.close()

    def _keep(self, name: bytes, inode: int, kind: FileType) -> bytes:
        self._given += 1
        record = DIRENT.pack(self._given, inode, len(name), kind) + name
        self._kept.append(record)
        return record


def kind_of(entry: os.DirEntry[str]) -> FileType:
    """The type of an entry, as far as the system tells it without a look at the file."""
    if entry.is_symlink():
        return FileType.SYMBOLIC_LINK
    if entry.is_dir(follow_symlinks=False):
        return FileType.DIRECTORY
    if entry.is_file(follow_symlinks=False):
        return FileType.REGULAR_FILE
    return FileType.UNKNOWN
