"""What a pool does next: the one place that decides.

After each transition `advance` looks at the whole pool and brings it to where nothing is left to
be done: idle instances are checked for who is in line, starts begin as far as they are needed and
the bounds allow, and whoever waits in vain is told so. Deciding in one place, from the state
alone, is what keeps the promises true in every path: it does not matter whether a place was freed
by a trap, a resize, a failed start or a reload that was cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wasmpool._errors import LeaseDeadlock, PoolUnavailable, as_one_line

from .pool_state import PoolState
from .retire_reason import RetireReason
from .snapshot import describe

if TYPE_CHECKING:
    from .core import Core

__all__ = ["advance", "may_begin"]


def advance(core: Core) -> None:
    """Begin what is needed now, and settle whoever waits in vain."""
    while core.idle and core.current.checking < len(core.line):  # a start may take longer
        _use_idle(core)
    wanted = _starts_wanted(core)
    while core.current.starting < wanted and _may_start(core):
        core.work.start(core.begin_start(core.current))
    while core.line and _is_hopeless(core):
        _fail_unavailable(core)
    while core.line and _is_deadlocked(core):
        _fail_deadlocked(core)
    while core.options.max_wait == 0 and len(core.line) > _coming(core):
        core.time_out(next(reversed(core.line.values())))  # those before it were promised one
    if core.state is PoolState.CLOSING and not core.line:
        _wind_down(core)


def may_begin(core: Core) -> bool:
    """Whether one more in line would be more than one more in line.

    A check or a start begins for it, or it fails at once.
    """
    return bool(core.idle) or _may_start(core) or _is_hopeless(core)


def _use_idle(core: Core) -> None:
    """Use the idle instance that was used last for the line, after a check if it needs one."""
    slot = next(reversed(core.idle))
    if slot.instance.poisoned is not None:
        core.retire_unfit()  # and `advance` looks again
        return
    del core.idle[slot]
    now = trio.current_time()
    if core.is_fresh(slot, now):
        core.serve(slot, now)
    else:
        core.begin_check(slot)


def _starts_wanted(core: Core) -> int:
    """How many instances should be starting, if there were room."""
    if core.state is not PoolState.OPEN:
        return len(core.line)
    if core.options.max_uses == 1:  # a lease ends its instance: one for each in line, and spares
        return len(core.line) + max(0, core.min_size - len(core.idle))
    settled = core.current.active - core.current.starting
    return max(len(core.line), core.min_size - settled)


def _may_start(core: Core) -> bool:
    return (
        core.current.live < core.size
        and not core.canary_waits
        and not core.backoff.holds
        and core.has_room()
    )


def _is_hopeless(core: Core) -> bool:
    """Whether starts fail and there is no instance to wait for."""
    prepared = core.generations[-1]  # by a reload, if it is not the current one
    return core.backoff.holds and not core.current.active and not prepared.active


def _fail_unavailable(core: Core) -> None:
    cause = core.backoff.cause
    assert cause is not None  # starts are held back after a failure
    error = PoolUnavailable(
        f"pool {core.name!r}: no instance is alive, and none can be started"
        f" ({core.backoff.round} attempts failed): {as_one_line(cause)}"
    )
    error.__cause__ = cause
    core.counters.unavailable += 1
    core.fail(next(iter(core.line.values())), error)


def _is_deadlocked(core: Core) -> bool:
    """Whether each live instance is leased by a task in line, and nothing will change that."""
    return (
        core.stuck == core.live > 0
        and not core.backoff.holds
        and not (core.current.live < core.size and core.has_room())
    )


def _fail_deadlocked(core: Core) -> None:
    """The latest asker gets it: those before it asked when there was hope."""
    waiter = next(reversed(core.line.values()))
    error = LeaseDeadlock(
        f"pool {core.name!r}: task {waiter.task.name!r} would wait for ever, as each lease is"
        f" held by a task that waits for another: {describe(core)}. Give up one lease before"
        " asking for the next, or make size larger than the leases one task needs"
    )
    core.counters.deadlocked += 1
    core.fail(waiter, error)


def _coming(core: Core) -> int:
    """How many instances or places will be there without a lease ending, and soon.

    With ``max_wait=0`` a task waits for one of these, and in no line. A place that a retiring
    instance, or a start for a replaced generation, still takes is free once that is closed.
    """
    prepared = core.generations[-1]  # by a reload, if it is neither in service nor replaced
    for_reload = 0 if prepared.replaced or prepared is core.current else prepared.starting
    return len(core.starting) - for_reload + len(core.retiring)


def _wind_down(core: Core) -> None:
    """Nobody waits any more in a closing pool."""
    for slot in core.starting:
        slot.scope.cancel()
    for slot in tuple(core.idle):
        core.retire_idle(slot, RetireReason.CLOSED)
    if not core.live:
        core.state = PoolState.CLOSED
        for generation in core.generations:
            generation.gone.set()
        core.timers.stop()
        core.closed.set()
