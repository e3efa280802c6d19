"""``wasi:clocks``: the guest's time is trio's time, as for preview 1 (`_wasi.clock`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from wasmpool_host._wasi.clock import monotonic

from .filesystem import Datetime
from .pollable import Pollable, Timer

if TYPE_CHECKING:
    from wasmpool_host._wasi.process import Process

__all__ = [
    "monotonic_now",
    "monotonic_resolution",
    "subscribe_duration",
    "subscribe_instant",
    "wall_now",
    "wall_resolution",
]

_LAST: Final = 2**64 - 1
"""The last instant that there is."""


def monotonic_now(_process: Process) -> int:
    """The time in nanoseconds. Only differences are meaningful."""
    return monotonic()


def monotonic_resolution(_process: Process) -> int:
    """One nanosecond."""
    return 1


def subscribe_instant(_process: Process, when: int) -> Pollable:
    """What is ready at a time of the monotonic clock."""
    return Pollable(Timer(when))


def subscribe_duration(_process: Process, duration: int) -> Pollable:
    """What is ready after so many nanoseconds from now."""
    return Pollable(Timer(min(monotonic() + duration, _LAST)))


def wall_now(_process: Process) -> Datetime:
    """The time of day, by the system's clock."""
    return Datetime.of(time.time_ns())


def wall_resolution(_process: Process) -> Datetime:
    """One nanosecond."""
    return Datetime(0, 1)
