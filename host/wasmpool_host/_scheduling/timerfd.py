"""A kernel timer (``timerfd``, Linux) that expires once, some time after it was armed.

Python has it from 3.13 on (`os.timerfd_create`); the C library has it on every supported Linux. To
arm it again, before it has expired or after, is one system call, and wakes no thread.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final, final

__all__ = ["Timer"]

_CLOCK_MONOTONIC: Final = 1
_CLOSE_ON_EXEC: Final = os.O_CLOEXEC  # TFD_CLOEXEC is the same
_NO_FLAGS: Final = ctypes.c_int(0)

_libc: Final = ctypes.CDLL(None, use_errno=True)
_create: Final[Any] = _libc.timerfd_create
# It does not block, so it keeps the interpreter's lock. `Timer` prepares its arguments.
_settime: Final[Any] = ctypes.PYFUNCTYPE(ctypes.c_int)(("timerfd_settime", _libc))


@final
class Timer:
    """One timer. Only one thread at a time may arm it."""

    __slots__ = ("_at", "_fd", "_fd_at", "_spec")

    def __init__(self) -> None:
        """Open it.

        Raises:
            OSError: the process has too many open files.
        """
        self._fd: int = _create(_CLOCK_MONOTONIC, _CLOSE_ON_EXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"no timer for the ticker: {os.strerror(number)}")
        self._fd_at = ctypes.c_int(self._fd)
        self._spec = (ctypes.c_long * 4)()  # struct itimerspec: no interval, seconds, nanoseconds
        self._at = ctypes.byref(self._spec)

    def arm(self, seconds: float) -> None:
        """Let it expire after ``seconds`` (less than one) from now; this replaces any earlier time.

        It expires at once if ``seconds`` is 0 or negative.
        """
        self._spec[3] = max(1, int(seconds * 1e9))
        _settime(self._fd_at, _NO_FLAGS, self._at, None)

    def wait(self) -> None:
        """Block this thread until it expires."""
        os.read(self._fd, 8)

    def close(self) -> None:
        """Close it; no thread may be waiting for it."""
        os.close(self._fd)
