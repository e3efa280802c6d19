"""The rights that a descriptor reports (``$rights`` in ``typenames.witx``).

They are reported because a guest's C library opens a file with the rights that the file's directory
can pass on. They protect nothing. A read-only directory also reports the right to write: without
it, such a library would not request this right, get a file that cannot be written, and fail only at
the first write, instead of with ``EROFS`` when the file is opened.
"""

from __future__ import annotations

from enum import IntFlag

__all__ = ["DIRECTORY", "INHERITING", "INPUT", "OUTPUT", "Right", "file_rights"]


class Right(IntFlag):
    """The rights, one bit each, in the contract's order."""

    FD_DATASYNC = 1 << 0
    FD_READ = 1 << 1
    FD_SEEK = 1 << 2
    FD_FDSTAT_SET_FLAGS = 1 << 3
    FD_SYNC = 1 << 4
    FD_TELL = 1 << 5
    FD_WRITE = 1 << 6
    FD_ADVISE = 1 << 7
    FD_ALLOCATE = 1 << 8
    PATH_CREATE_DIRECTORY = 1 << 9
    PATH_CREATE_FILE = 1 << 10
    PATH_LINK_SOURCE = 1 << 11
    PATH_LINK_TARGET = 1 << 12
    PATH_OPEN = 1 << 13
    FD_READDIR = 1 << 14
    PATH_READLINK = 1 << 15
    PATH_RENAME_SOURCE = 1 << 16
    PATH_RENAME_TARGET = 1 << 17
    PATH_FILESTAT_GET = 1 << 18
    PATH_FILESTAT_SET_SIZE = 1 << 19
    PATH_FILESTAT_SET_TIMES = 1 << 20
    FD_FILESTAT_GET = 1 << 21
    FD_FILESTAT_SET_SIZE = 1 << 22
    FD_FILESTAT_SET_TIMES = 1 << 23
    PATH_SYMLINK = 1 << 24
    PATH_REMOVE_DIRECTORY = 1 << 25
    PATH_UNLINK_FILE = 1 << 26
    POLL_FD_READWRITE = 1 << 27
    SOCK_SHUTDOWN = 1 << 28
    SOCK_ACCEPT = 1 << 29


# No seek and no tell: by this, and by the type of a character device, guests recognize a terminal.
INPUT = Right.FD_READ | Right.FD_FILESTAT_GET | Right.POLL_FD_READWRITE
OUTPUT = Right.FD_WRITE | Right.FD_FILESTAT_GET | Right.POLL_FD_READWRITE

FILE = (
    Right.FD_DATASYNC
    | Right.FD_READ
    | Right.FD_SEEK
    | Right.FD_FDSTAT_SET_FLAGS
    | Right.FD_SYNC
    | Right.FD_TELL
    | Right.FD_WRITE
    | Right.FD_ADVISE
    | Right.FD_ALLOCATE
    | Right.FD_FILESTAT_GET
    | Right.FD_FILESTAT_SET_SIZE
    | Right.FD_FILESTAT_SET_TIMES
    | Right.POLL_FD_READWRITE
)

DIRECTORY = (
    Right.FD_FDSTAT_SET_FLAGS
    | Right.FD_SYNC
    | Right.PATH_CREATE_DIRECTORY
    | Right.PATH_CREATE_FILE
    | Right.PATH_LINK_SOURCE
    | Right.PATH_LINK_TARGET
    | Right.PATH_OPEN
    | Right.FD_READDIR
    | Right.PATH_READLINK
    | Right.PATH_RENAME_SOURCE
    | Right.PATH_RENAME_TARGET
    | Right.PATH_FILESTAT_GET
    | Right.PATH_FILESTAT_SET_TIMES
    | Right.FD_FILESTAT_GET
    | Right.FD_FILESTAT_SET_TIMES
    | Right.PATH_SYMLINK
    | Right.PATH_REMOVE_DIRECTORY
    | Right.PATH_UNLINK_FILE
)

INHERITING = FILE | DIRECTORY

_WRITING = Right.FD_WRITE | Right.FD_ALLOCATE | Right.FD_FILESTAT_SET_SIZE


def file_rights(*, readable: bool, writable: bool) -> Right:
    """The rights of a regular file, by what it was opened for."""
    rights = FILE
    if not readable:
        rights &= ~Right.FD_READ
    if not writable:
        rights &= ~_WRITING
    return rights
