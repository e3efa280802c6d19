"""The contract's records in guest memory (little-endian, C's padding), and its flags."""

from __future__ import annotations

import stat
import struct
from enum import IntEnum, IntFlag
from typing import Protocol

__all__ = [
    "ALL_LOOKUPFLAGS",
    "ALL_OFLAGS",
    "DIRENT",
    "EVENT",
    "FDSTAT",
    "IOVEC",
    "PRESTAT",
    "SUBSCRIPTION",
    "SUBSCRIPTION_CLOCK",
    "SUBSCRIPTION_FD",
    "U32",
    "U64",
    "FdFlag",
    "FileType",
    "FstFlag",
    "LookupFlag",
    "OFlag",
    "Status",
    "filestat",
    "filetype_of",
    "stream_filestat",
    "timestamp",
]

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")
IOVEC = struct.Struct("<II")  # buf, buf_len
FDSTAT = struct.Struct("<BxHxxxxQQ")  # filetype, flags, rights base, rights inheriting
DIRENT = struct.Struct("<QQIBxxx")  # next, ino, namlen, type
PRESTAT = struct.Struct("<BxxxI")  # tag, pr_name_len
SUBSCRIPTION = struct.Struct("<QB7x32s")  # userdata, tag, one of the two below
SUBSCRIPTION_CLOCK = struct.Struct("<I4xQQH6x")  # id, timeout, precision, flags
SUBSCRIPTION_FD = struct.Struct("<I28x")  # file_descriptor
EVENT = struct.Struct("<QHB5xQH6x")  # userdata, error, type, nbytes, flags

# dev, ino, filetype, nlink, size, atim, mtim, ctim
_FILESTAT = struct.Struct("<QQB7xQQQQQ")


class FileType(IntEnum):
    """The type of a descriptor or a directory entry."""

    UNKNOWN = 0
    BLOCK_DEVICE = 1
    CHARACTER_DEVICE = 2
    DIRECTORY = 3
    REGULAR_FILE = 4
    SOCKET_DGRAM = 5
    SOCKET_STREAM = 6
    SYMBOLIC_LINK = 7


class FdFlag(IntFlag):
    """The flags of a descriptor's reads and writes."""

    NONE = 0
    APPEND = 1
    DSYNC = 2
    NONBLOCK = 4
    RSYNC = 8
    SYNC = 16


# Plain numbers, because the complement of a flag only has known bits.
ALL_LOOKUPFLAGS = 0x1
ALL_OFLAGS = 0xF


class LookupFlag(IntFlag):
    """How a path is resolved."""

    SYMLINK_FOLLOW = 1


class OFlag(IntFlag):
    """How ``path_open`` opens a path."""

    CREAT = 1
    DIRECTORY = 2
    EXCL = 4
    TRUNC = 8


class FstFlag(IntFlag):
    """Which times to set, and to which values."""

    ATIM = 1
    ATIM_NOW = 2
    MTIM = 4
    MTIM_NOW = 8


_FILETYPES = {
    stat.S_IFBLK: FileType.BLOCK_DEVICE,
    stat.S_IFCHR: FileType.CHARACTER_DEVICE,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFREG: FileType.REGULAR_FILE,
    stat.S_IFLNK: FileType.SYMBOLIC_LINK,
    stat.S_IFSOCK: FileType.SOCKET_STREAM,
}


def filetype_of(mode: int) -> FileType:
    """The contract's file type of an ``st_mode``; it has none for a pipe."""
    return _FILETYPES.get(stat.S_IFMT(mode), FileType.UNKNOWN)


def timestamp(nanoseconds: int) -> int:
    """A time as the contracts can say it, in nanoseconds since 1970."""
    # A time before 1970 or after 2554 cannot be represented and becomes the nearest that can: the
    # file can be used anyway.
    return min(max(nanoseconds, 0), 2**64 - 1)


class Status(Protocol):
    """What ``stat`` tells of a file; an `os.stat_result` is one."""

    @property
    def st_dev(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_mode(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_atime_ns(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


def filestat(status: Status) -> bytes:
    """A ``$filestat`` record."""
    return _FILESTAT.pack(
        status.st_dev,
        status.st_ino,
        filetype_of(status.st_mode),
        status.st_nlink,
        status.st_size,
        timestamp(status.st_atime_ns),
        timestamp(status.st_mtime_ns),
        timestamp(status.st_ctime_ns),
    )


def stream_filestat(filetype: FileType) -> bytes:
    """A ``$filestat`` record for a stream, which is no file."""
    return _FILESTAT.pack(0, 0, filetype, 1, 0, 0, 0, 0)
