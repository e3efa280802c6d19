"""``clock_*`` and ``poll_oneoff``: the guest's time is trio's time.

The monotonic clock is `trio.current_time` plus one second, and a guest sleeps with trio's sleep. So
a guest that computes a deadline with the clock and waits for it is correct under any trio clock,
also a test's. (The second is added because a test's clock starts at 0, which Go's runtime treats as
broken.)

The realtime clock is the system's. A sleep until a realtime deadline becomes a sleep of the
remaining length when it starts: setting the system's clock meanwhile has no effect. CPU-time clocks
are not provided, as they would measure the whole host process: ``INVAL``, as the contract requires
for a missing clock.
"""

# ruff: noqa: PLR0913, PLR0917  # the contract defines the parameters

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import trio

from .errno import Errno, WasiError
from .guest_memory import check_region
from .layout import (
    EVENT,
    SUBSCRIPTION,
    SUBSCRIPTION_CLOCK,
    SUBSCRIPTION_FD,
    U32,
    U64,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .descriptor import Descriptor
    from .guest_memory import GuestMemory
    from .process import Process

__all__ = [
    "MAX_SUBSCRIPTIONS",
    "SECOND",
    "clock_res_get",
    "clock_time_get",
    "deadline_of",
    "monotonic",
    "poll_oneoff",
]

SECOND = 1_000_000_000
"""In nanoseconds."""

_REALTIME = 0
_MONOTONIC = 1

_CLOCK = 0  # event types
_FD_READ = 1
_FD_WRITE = 2

_ABSOLUTE = 1  # subscription_clock flag
_HANGUP = 1  # event_fd_readwrite flag

MAX_SUBSCRIPTIONS = 1024
"""Of one call; they take 4 ms."""

_CHUNK = 256 * SUBSCRIPTION.size  # bytes of subscriptions between two checkpoints


def monotonic() -> int:
    """The monotonic clock, in nanoseconds."""
    return SECOND + int(trio.current_time() * SECOND)


def deadline_of(instant: int) -> float:
    """The earliest time of trio's at which the monotonic clock has reached an instant."""
    deadline = (instant - SECOND) / SECOND
    while SECOND + int(deadline * SECOND) < instant:  # by rounding, once or twice
        deadline = math.nextafter(deadline, math.inf)
    return deadline


def _now(clock: int) -> int:
    if clock == _MONOTONIC:
        return monotonic()
    if clock == _REALTIME:
        return time.time_ns()
    raise WasiError(Errno.INVAL)


def clock_time_get(
    _process: Process, memory: GuestMemory, clock: int, _precision: int, out: int
) -> None:
    """The time in nanoseconds. For the monotonic clock only differences are meaningful."""
    memory.write(out, U64.pack(_now(clock)))


def clock_res_get(_process: Process, memory: GuestMemory, clock: int, out: int) -> None:
    """One nanosecond for each clock that exists."""
    if clock not in (_REALTIME, _MONOTONIC):
        raise WasiError(Errno.INVAL)
    memory.write(out, U64.pack(1))


class _Timer(NamedTuple):
    userdata: int
    delay: int
    """Nanoseconds from the start of the call; a timer with 0 or less has expired."""


class _Read(NamedTuple):
    userdata: int
    record: bytes
    wait: Callable[[], Awaitable[None]]


async def poll_oneoff(
    process: Process, memory: GuestMemory, subscriptions: int, events: int, count: int, out: int
) -> None:
    """Wait until one of the subscribed events has occurred; report all that have.

    Files and most standard streams are always ready, so this only waits if all subscriptions are
    clocks, or for a run's input that has not arrived. It is always a checkpoint.
    """
    if not 0 < count <= MAX_SUBSCRIPTIONS:
        raise WasiError(Errno.INVAL)
    records = memory.read(subscriptions, count * SUBSCRIPTION.size)
    check_region(memory, events, count * EVENT.size)
    check_region(memory, out, U32.size)
    timers: list[_Timer] = []
    occurred: list[bytes] = []
    reads: list[_Read] = []
    for start in range(0, len(records), _CHUNK):
        if start:
            await trio.lowlevel.checkpoint()
        _sort(process, records[start : start + _CHUNK], timers, occurred, reads)
    delay = min((timer.delay for timer in timers), default=None)
    began = trio.current_time()
    if occurred:
        await trio.lowlevel.checkpoint()
    elif await _wait(delay, reads):
        occurred += [_event_of(process, read) for read in reads]
        delay = None
    passed = int((trio.current_time() - began) * SECOND)
    if delay is not None and not occurred:
        passed = max(delay, passed)  # this timer has ended the wait, even if rounding gives less
    occurred += [
        EVENT.pack(timer.userdata, Errno.SUCCESS, _CLOCK, 0, 0)
        for timer in timers
        if timer.delay <= passed
    ]
    memory.write(events, b"".join(occurred))
    memory.write(out, U32.pack(len(occurred)))


async def _wait(delay: int | None, reads: list[_Read]) -> bool:
    """Wait for a delay, or for input; return True if it was input.

    All reads are of one stream: a guest has one standard input, whatever number it gives it.
    """
    if not reads:
        await trio.sleep(max(delay or 0, 0) / SECOND)
        return False
    seconds = math.inf if delay is None else max(delay, 0) / SECOND
    with trio.move_on_after(seconds) as scope:
        await reads[0].wait()
    return not scope.cancelled_caught


def _event_of(process: Process, read: _Read) -> bytes:
    nbytes, flags = _readiness(process, _FD_READ, read.record)
    return EVENT.pack(read.userdata, Errno.SUCCESS, _FD_READ, nbytes, flags)


def _sort(
    process: Process,
    records: bytes,
    timers: list[_Timer],
    events: list[bytes],
    reads: list[_Read],
) -> None:
    """Add a timer for each clock, a read for input to come, and an event for each other one."""
    for userdata, kind, rest in SUBSCRIPTION.iter_unpack(records):
        try:
            if kind == _CLOCK:
                timers.append(_Timer(userdata, _delay(rest)))
            elif kind == _FD_READ and (wait := _input_of(process, rest).wait_readable):
                reads.append(_Read(userdata, rest, wait))
            else:
                nbytes, flags = _readiness(process, kind, rest)
                events.append(EVENT.pack(userdata, Errno.SUCCESS, kind, nbytes, flags))
        except WasiError as error:
            events.append(EVENT.pack(userdata, error.errno, kind, 0, 0))


def _input_of(process: Process, record: bytes) -> Descriptor:
    (fd,) = SUBSCRIPTION_FD.unpack(record)
    return process.descriptors.get(fd)


def _delay(record: bytes) -> int:
    clock, timeout, _precision, flags = SUBSCRIPTION_CLOCK.unpack(record)
    now = _now(clock)
    if flags & ~_ABSOLUTE:
        raise WasiError(Errno.INVAL)
    return int(timeout - now if flags & _ABSOLUTE else timeout)


def _readiness(process: Process, kind: int, record: bytes) -> tuple[int, int]:
    (fd,) = SUBSCRIPTION_FD.unpack(record)
    if kind not in (_FD_READ, _FD_WRITE):
        raise WasiError(Errno.INVAL)
    nbytes = process.descriptors.get(fd).ready()
    return nbytes, _HANGUP if kind == _FD_READ and not nbytes else 0
