"""Have the kernel run a thread as soon as it wakes up (Linux 6.12 and later).

A thread that wakes while others compute on all CPUs takes the place of one of them only if it is
entitled to more. The kernel otherwise lets that one go on to the end of its slice, and looks at
this only with its own tick: a thread that is to run each millisecond may be four milliseconds
late, or eight. Since 6.12 a thread may ask for slices of its own length (``sched_setattr``), and
one with short slices takes the place of one with longer ones at once. It gets no more of the CPU
by that, and needs no privileges. Older kernels take no notice.
"""

from __future__ import annotations

import ctypes
import platform
from typing import Final

__all__ = ["be_prompt"]

SHORTEST: Final = 100_000
"""Nanoseconds of a slice, the least that the kernel takes; its own are some milliseconds."""

_FAIR: Final = 0  # SCHED_OTHER
_SET_ATTR: Final = {"x86_64": 314, "aarch64": 274}  # the system call's number
_THIS_THREAD: Final = ctypes.c_int(0)
_NO_FLAGS: Final = ctypes.c_uint(0)

_call: Final = ctypes.CDLL(None).syscall


class _Attributes(ctypes.Structure):
    """``struct sched_attr``."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def be_prompt() -> bool:
    """Ask for the shortest slices for this thread; whether the kernel takes that.

    A thread of a real-time or background policy stays as it is.
    """
    number = _SET_ATTR.get(platform.machine())
    if number is None:
        return False
    attributes = _Attributes()
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    at = ctypes.byref(attributes)
    get_attr = ctypes.c_long(number + 1)
    if _call(get_attr, _THIS_THREAD, at, size, _NO_FLAGS) or attributes.policy != _FAIR:
        return False
    attributes.runtime = SHORTEST
    return not _call(ctypes.c_long(number), _THIS_THREAD, at, _NO_FLAGS)
