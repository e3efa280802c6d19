"""Make the kernel run a thread as soon as it wakes up (Linux 6.12 and later).

A thread that wakes up while others compute on all CPUs preempts one of them only if the scheduler
owes it more time. Otherwise the other thread runs to the end of its slice, which the kernel checks
only with its own tick: a thread that should run every millisecond may be four or eight milliseconds
late. Since Linux 6.12, a thread may request the length of its slices (``sched_setattr``), and one
with short slices preempts one with longer slices at once. This gives it no larger share of the CPU,
and needs no privileges. Older kernels ignore it.
"""

from __future__ import annotations

import ctypes
import platform
from typing import Final

__all__ = ["request_short_slice"]

SHORTEST_SLICE: Final = 100_000
"""Nanoseconds, the minimum that the kernel accepts; its default is some milliseconds."""

_FAIR: Final = 0  # SCHED_OTHER
_SET_ATTR: Final = {"x86_64": 314, "aarch64": 274}  # system call numbers
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


def request_short_slice() -> bool:
    """Request the shortest slices for this thread; return True if the kernel accepts.

    A thread with a real-time or background policy is left unchanged.
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
    attributes.runtime = SHORTEST_SLICE
    return not _call(ctypes.c_long(number), _THIS_THREAD, at, _NO_FLAGS)
