"""The ways from a test into a pool: what no public name shows. Names inside change here only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.testing import wait_all_tasks_blocked

from wasmpool._pool import invariants

if TYPE_CHECKING:
    from collections.abc import KeysView
    from types import CodeType

    import trio

    from wasmpool import Lease, Pool
    from wasmpool._pool.slot import Slot

__all__ = [
    "active_instruments",
    "calls_under_way",
    "check_invariants",
    "consecutive_failures",
    "generations_alive",
    "give_back_slot",
    "idle_slots",
    "last_leased",
    "live_instances",
    "next_idle",
    "next_start_at",
    "pretend_call",
    "retired",
    "settle",
    "slot_of",
    "take_slot",
    "waiting_tasks",
    "workers_hold",
]


def check_invariants(pool: Pool) -> None:
    """Assert what holds of a pool between any two steps."""
    invariants.check(pool._core)


async def settle(pool: Pool) -> None:
    """Let all tasks run until they are blocked; then the invariants hold."""
    await wait_all_tasks_blocked()
    check_invariants(pool)


def retired(pool: Pool) -> dict[str, int]:
    """The reasons for which instances were retired so far, with their numbers."""
    return {reason: count for reason, count in pool.statistics().retired.items() if count}


def live_instances(pool: Pool) -> int:
    """How many instances there are, with those that are being started or closed."""
    return pool._core.live


def generations_alive(pool: Pool) -> int:
    """How many generations have instances: two during a reload."""
    return len(pool._core.generations)


def active_instruments(pool: Pool) -> list[Any]:
    """The instruments that have not raised an exception."""
    return list(pool._core.hooks.active)


def waiting_tasks(pool: Pool) -> KeysView[trio.lowlevel.Task]:
    """The tasks in line, the first one first; it changes with the line."""
    return pool._core.waiters.keys()


# --- slots: the pool's records of its instances ---


def idle_slots(pool: Pool) -> list[Slot]:
    """The slots of idle instances, the least recently used first."""
    return list(pool._core.idle)


def next_idle(pool: Pool) -> Any:
    """The instance that the next asker gets."""
    return next(reversed(pool._core.idle)).instance


def last_leased(pool: Pool) -> Slot:
    """The slot of the instance that was granted last."""
    return next(reversed(pool._core.leased))


def slot_of(lease: Lease) -> Slot:
    """The slot of a lease's instance."""
    assert lease._slot is not None
    return lease._slot


def take_slot(pool: Pool, task: trio.lowlevel.Task, where: tuple[CodeType, int]) -> Slot:
    """Lease an idle instance, without the code of `Pool.lease`."""
    slot = pool._core.take(task, where)
    assert slot is not None
    return slot


def give_back_slot(pool: Pool, slot: Slot) -> None:
    """End what `take_slot` has begun, or any other lease."""
    pool._core.give_back(slot)


# --- what goes on ---


def consecutive_failures(pool: Pool) -> int:
    """How many failed starts in a row the pool counts; the pause before the next one grows."""
    return pool._core.backoff.round


def next_start_at(pool: Pool) -> float:
    """The time of the next start, after one that failed."""
    deadlines: Any = pool._core._deadlines
    at: float = deadlines.backoff.at
    return at


def calls_under_way(lease: Lease) -> int:
    """How many calls of a lease have not returned."""
    return lease._calls


def pretend_call(lease: Lease) -> None:
    """Count a call of the lease that never returns, as one that waits for the loop's budget."""
    lease._calls += 1


def workers_hold(pool: Pool) -> bool:
    """Return True if a worker thread has a queued call, whose task sleeps until it is over."""
    instances: list[Any] = [slot.instance for slot in pool._core.leased]
    return any(each._fiber._on_return is not None for each in instances)
