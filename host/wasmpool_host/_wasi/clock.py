"""``clock_*`` and ``poll_oneoff``: the guest's time is trio's time.

The monotonic clock is `trio.current_time` plus a second, and sleeps are trio's sleeps. So a guest
that computes a deadline from the one and waits for it with the other is right under any trio clock,
a test's included. (The second: a test's clock begins at 0, which Go's runtime takes for broken.)

The realtime clock is the system's. A sleep until a realtime moment is turned into a sleep of that
length when it begins: setting the system's clock meanwhile changes nothing. CPU time is not told
(``INVAL``, as the contract has it for a clock that is not there): it would be the whole host's.
"""

# ruff: noqa: PLR0913, PLR0917  # the contract says how many parameters there are

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import trio

from .errno import Errno, WasiError
from .layout import (
    EVENT,
    SUBSCRIPTION,
    SUBSCRIPTION_CLOCK,
    SUBSCRIPTION_FD,
    U32,
    U64,
)
from .memory import check

if TYPE_CHECKING:
    from .memory import Memory
    from .process import Process

__all__ = ["clock_res_get", "clock_time_get", "poll_oneoff"]

_SECOND = 1_000_000_000

_REALTIME = 0
_MONOTONIC = 1

_CLOCK = 0  # event types
_FD_READ = 1
_FD_WRITE = 2

_ABSOLUTE = 1  # subscription_clock flag
_HANGUP = 1  # event_fd_readwrite flag

_MAX_SUBSCRIPTIONS = 1024  # looked at before the loop over them; 4 ms
_PIECE = 256 * SUBSCRIPTION.size  # bytes of them between two checkpoints


def _monotonic() -> int:
    return _SECOND + int(trio.current_time() * _SECOND)


def _now(clock: int) -> int:
    if clock == _MONOTONIC:
        return _monotonic()
    if clock == _REALTIME:
        return time.time_ns()
    raise WasiError(Errno.INVAL)


def clock_time_get(
    _process: Process, memory: Memory, clock: int, _precision: int, out: int
) -> None:
    """The time in nanoseconds; of the monotonic clock only differences mean anything."""
    memory.write(out, U64.pack(_now(clock)))


def clock_res_get(_process: Process, memory: Memory, clock: int, out: int) -> None:
    """One nanosecond for the clocks there are."""
    if clock not in (_REALTIME, _MONOTONIC):
        raise WasiError(Errno.INVAL)
    memory.write(out, U64.pack(1))


class _Timer(NamedTuple):
    userdata: int
    delay: int
    """Nanoseconds from the start of the call; 0 or less is due."""


async def poll_oneoff(
    process: Process, memory: Memory, subscriptions: int, events: int, count: int, out: int
) -> None:
    """Wait until one of the subscribed events has happened; report all that have.

    Files and standard streams are always ready, so this waits only if all are clocks. It is a
    checkpoint in any case.
    """
    if not 0 < count <= _MAX_SUBSCRIPTIONS:
        raise WasiError(Errno.INVAL)
    records = memory.read(subscriptions, count * SUBSCRIPTION.size)
    check(memory, events, count * EVENT.size)
    check(memory, out, U32.size)
    timers: list[_Timer] = []
    happened: list[bytes] = []
    for start in range(0, len(records), _PIECE):
        if start:
            await trio.lowlevel.checkpoint()
        _sort(process, records[start : start + _PIECE], timers, happened)
    delay = 0 if happened else min(timer.delay for timer in timers)
    began = trio.current_time()
    await trio.sleep(max(delay, 0) / _SECOND)
    # The one we slept for is due, whatever rounding says.
    passed = max(delay, int((trio.current_time() - began) * _SECOND))
    happened += [
        EVENT.pack(timer.userdata, Errno.SUCCESS, _CLOCK, 0, 0)
        for timer in timers
        if timer.delay <= passed
    ]
    memory.write(events, b"".join(happened))
    memory.write(out, U32.pack(len(happened)))


def _sort(process: Process, records: bytes, timers: list[_Timer], events: list[bytes]) -> None:
    """Add the subscriptions that are clocks to wait for, and the events of all others."""
    for userdata, kind, rest in SUBSCRIPTION.iter_unpack(records):
        try:
            if kind == _CLOCK:
                timers.append(_Timer(userdata, _delay(rest)))
            else:
                nbytes, flags = _readiness(process, kind, rest)
                events.append(EVENT.pack(userdata, Errno.SUCCESS, kind, nbytes, flags))
        except WasiError as error:
            events.append(EVENT.pack(userdata, error.errno, kind, 0, 0))


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
