"""The contract's error numbers (``$errno`` in ``typenames.witx``), mapped from the system's."""

from __future__ import annotations

import errno as system
from enum import IntEnum, unique
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Errno", "MustWait", "NeedsThread", "WasiError", "errno_of"]


@unique
class Errno(IntEnum):
    """The result of a WASI function; the names are those of POSIX without the leading E."""

    SUCCESS = 0
    TOOBIG = 1  # E2BIG
    ACCES = 2
    ADDRINUSE = 3
    ADDRNOTAVAIL = 4
    AFNOSUPPORT = 5
    AGAIN = 6
    ALREADY = 7
    BADF = 8
    BADMSG = 9
    BUSY = 10
    CANCELED = 11
    CHILD = 12
    CONNABORTED = 13
    CONNREFUSED = 14
    CONNRESET = 15
    DEADLK = 16
    DESTADDRREQ = 17
    DOM = 18
    DQUOT = 19
    EXIST = 20
    FAULT = 21
    FBIG = 22
    HOSTUNREACH = 23
    IDRM = 24
    ILSEQ = 25
    INPROGRESS = 26
    INTR = 27
    INVAL = 28
    IO = 29
    ISCONN = 30
    ISDIR = 31
    LOOP = 32
    MFILE = 33
    MLINK = 34
    MSGSIZE = 35
    MULTIHOP = 36
    NAMETOOLONG = 37
    NETDOWN = 38
    NETRESET = 39
    NETUNREACH = 40
    NFILE = 41
    NOBUFS = 42
    NODEV = 43
    NOENT = 44
    NOEXEC = 45
    NOLCK = 46
    NOLINK = 47
    NOMEM = 48
    NOMSG = 49
    NOPROTOOPT = 50
    NOSPC = 51
    NOSYS = 52
    NOTCONN = 53
    NOTDIR = 54
    NOTEMPTY = 55
    NOTRECOVERABLE = 56
    NOTSOCK = 57
    NOTSUP = 58
    NOTTY = 59
    NXIO = 60
    OVERFLOW = 61
    OWNERDEAD = 62
    PERM = 63
    PIPE = 64
    PROTO = 65
    PROTONOSUPPORT = 66
    PROTOTYPE = 67
    RANGE = 68
    ROFS = 69
    SPIPE = 70
    SRCH = 71
    STALE = 72
    TIMEDOUT = 73
    TXTBSY = 74
    XDEV = 75
    NOTCAPABLE = 76


class WasiError(Exception):
    """A WASI function fails with ``errno``: a result for the guest, never raised to a caller."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno)
        self.errno = errno


class MustWait(Exception):
    """A WASI function has nothing to act on yet: it is called again after ``wait``.

    This is not a result for the guest.
    """

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        super().__init__(wait)
        self.wait = wait


class NeedsThread(Exception):
    """A WASI function would delay the loop, and has done nothing yet: it has to run in a thread.

    This is not a result for the guest: the function is called again, in a thread.
    """

    def __init__(self, device: int) -> None:
        super().__init__(device)
        self.device = device


_OF_SYSTEM = {
    getattr(system, "E2BIG" if errno is Errno.TOOBIG else f"E{errno.name}"): errno
    for errno in Errno
    if errno not in (Errno.SUCCESS, Errno.NOTCAPABLE)  # the system has no such errors
}


def errno_of(error: OSError) -> Errno:
    """The contract's number for an error of the system; ``IO`` if the contract has none."""
    return _OF_SYSTEM.get(error.errno or 0, Errno.IO)
