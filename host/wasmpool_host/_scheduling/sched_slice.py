"""How long a thread may run before the kernel gives the CPU to another one (Linux 6.12 and later).

A thread that wakes up while others compute on all CPUs preempts one of them only if the scheduler
owes it more time. Otherwise the other thread runs to the end of its slice, which the kernel checks
only with its own tick: a thread that should run every millisecond may be four or eight milliseconds
late. Since Linux 6.12, a thread may request the length of its slices (``sched_setattr``), and one
with short slices preempts one with longer slices at once. This gives it no larger share of the CPU,
and needs no privileges. Older kernels ignore it.

So the ticker's thread requests the shortest slices. A worker requests long ones while guests
compute on it: then the event loop's thread, whose slices are as usual, preempts a guest.
"""

from __future__ import annotations

import ctypes
import platform
from functools import partial
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONG_SLICE", "SHORTEST_SLICE", "LongSlices", "request_slice"]

SHORTEST_SLICE: Final = 100_000
"""Nanoseconds, the minimum that the kernel accepts; its default is some milliseconds."""

LONG_SLICE: Final = 20_000_000
"""Nanoseconds, several times the default. With 5 ms the loop was late more often, and with 100 ms,
the maximum, as often."""

_FAIR: Final = 0  # SCHED_OTHER
_SET_ATTR: Final = {"x86_64": 314, "aarch64": 274}  # system call numbers
_THIS_THREAD: Final = ctypes.c_int(0)
_NO_FLAGS: Final = ctypes.c_uint(0)

# It does not block, so it keeps the interpreter's lock, which others may want as well.
_call: Final = ctypes.PyDLL(None).syscall


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


_SIZE: Final = ctypes.c_uint(ctypes.sizeof(_Attributes))


def request_slice(nanoseconds: int) -> Callable[[], object] | None:
    """Request slices of this length for this thread.

    Returns:
        A function that requests the length of before; or None if the kernel refuses, or the thread
        has a real-time or background policy, which is left unchanged.
    """
    number = _SET_ATTR.get(platform.machine())
    if number is None:
        return None
    attributes = _Attributes()
    at = ctypes.byref(attributes)
    if _call(ctypes.c_long(number + 1), _THIS_THREAD, at, _SIZE, _NO_FLAGS):
        return None
    if attributes.policy != _FAIR:
        return None
    before, attributes.runtime = attributes.runtime, nanoseconds
    request = partial(_call, ctypes.c_long(number), _THIS_THREAD, at, _NO_FLAGS)
    if request():
        return None
    attributes.runtime = before
    return request


@final
class LongSlices:
    """Long slices for one thread, from its first request until they are restored.

    The request takes some microseconds, so a worker does without it for a guest that is done soon.
    """

    __slots__ = ("_is_requested", "_restore")

    def __init__(self) -> None:
        self._is_requested = False
        self._restore: Callable[[], object] | None = None

    def request(self) -> None:
        """Request them, once."""
        if not self._is_requested:
            self._is_requested = True
            self._restore = request_slice(LONG_SLICE)

    def restore(self) -> None:
        """Request what was before: the thread is not the worker's own."""
        if self._restore is not None:
            self._restore()
