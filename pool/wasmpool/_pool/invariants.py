"""The invariants of `core`, checked all at once; the tests call this after each step."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .pool_state import PoolState
from .slot import Slot, SlotState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .core_state import CoreState

__all__ = ["check"]


def check(pool: CoreState) -> None:
    """Raise AssertionError if a pool is not as it must be between two checkpoints.

    It takes time in proportion to the pool, and may be called from anywhere on the loop.
    """
    _check_leases(pool)
    _check_fitness(pool)
    _check_bounds(pool)
    _check_queue(pool)
    _check_generations(pool)
    _check_conservation(pool)
    _check_end(pool)


def _slots(pool: CoreState) -> Iterator[Slot]:
    yield from pool.idle
    yield from pool.leased
    yield from pool.starting
    yield from pool.retiring


def _check_leases(pool: CoreState) -> None:
    """1: a slot is in the table of its state, in no other, and has a holder if it is leased."""
    tables = {
        SlotState.IDLE: pool.idle, SlotState.LEASED: pool.leased,
        SlotState.STARTING: pool.starting, SlotState.RETIRING: pool.retiring,
    }  # fmt: skip
    for state, table in tables.items():
        for slot in table:
            assert slot.state is state, f"{slot} is in the table of {state}"
            assert (slot.holder is not None) == (state is SlotState.LEASED), slot
            assert slot.instance is not None or state is SlotState.STARTING, slot
    assert len(set(_slots(pool))) == pool.live
    held = Counter(slot.holder for slot in pool.leased)
    assert held == Counter(pool.leases_by_task), f"leases are counted as {pool.leases_by_task}"
    assert pool.leases_of_waiters == sum(slot.holder in pool.waiters for slot in pool.leased)


def _check_fitness(pool: CoreState) -> None:
    """9: what the next asker would be granted can serve."""
    for slot in pool.idle:
        assert slot.instance.poisoned is None, f"{slot} idles, but is {slot.instance.poisoned}"


def _check_bounds(pool: CoreState) -> None:
    """2: the bounds hold; above them (after a resize) nothing is begun and nothing idles."""
    surge = pool.surge if len(pool.generations) > 1 else 0
    if pool.live > pool.size + surge:
        assert pool.current.active <= pool.size or not pool.idle, "idle instances above size"


def _check_queue(pool: CoreState) -> None:
    """3 and 4: each waiter has a reason to wait, and is not settled."""
    for task, waiter in pool.waiters.items():
        assert waiter.task is task
        assert not waiter.settled, f"{task} is in the queue, and settled"
    if pool.current.checking < len(pool.waiters):
        assert not pool.idle, "a task waits beside idle instances"
    if pool.current.starting < len(pool.waiters):
        assert (
            pool.backoff.holds
            or pool.canary_waits
            or not (pool.current.live < pool.size and pool.has_room())
        ), "a task waits although there is room"


def _check_generations(pool: CoreState) -> None:
    """5: only the generation in service idles; each counts its instances right."""
    for slot in pool.idle:
        assert slot.generation is pool.current, f"{slot} idles, but was replaced"
    live = Counter(slot.generation for slot in _slots(pool))
    starting = Counter(slot.generation for slot in pool.starting)
    checking = Counter(slot.generation for slot in pool.starting if slot.checking)
    retiring = Counter(slot.generation for slot in pool.retiring)
    finishing = Counter(slot.generation for slot in pool.leased if slot.finishing)
    assert set(live) <= {*pool.generations}
    for generation in pool.generations:
        assert generation.live == live[generation]
        assert generation.starting == starting[generation]
        assert generation.checking == checking[generation]
        assert generation.retiring == retiring[generation]
        assert generation.finishing == finishing[generation]
        assert not generation.replaced or generation.live, f"{generation} should be gone"
    # One being prepared is alive, too, but is made only where there is room for it.
    assert len(pool.generations) <= pool.options.max_generations


def _check_conservation(pool: CoreState) -> None:
    """6: no ask and no instance is lost."""
    counters = pool.counters
    assert counters.asked == counters.settled + len(pool.waiters)
    assert counters.started == counters.closed + pool.live
    assert sum(counters.retired.values()) == counters.closed + len(pool.retiring)


def _check_end(pool: CoreState) -> None:
    """7: a closed pool has nothing left; a closing one keeps nothing that it does not need."""
    if pool.state is PoolState.CLOSED:
        assert not pool.live
        assert not pool.waiters
        assert not pool.leases_by_task
        assert pool.closed.is_set()
    elif pool.state is PoolState.CLOSING:
        assert pool.waiters or not pool.idle
        assert pool.live or pool.waiters, "nothing keeps it from being closed"
