"""The invariants of `core`, looked at all at once: what the tests call after each step."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .pool_state import PoolState
from .slot import Slot, SlotState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .core import Core

__all__ = ["check"]


def check(core: Core) -> None:
    """Raise AssertionError where a pool is not as it must be between two checkpoints.

    It takes time in proportion to the pool, and may be called from anywhere on the loop.
    """
    _check_leases(core)
    _check_fitness(core)
    _check_bounds(core)
    _check_line(core)
    _check_generations(core)
    _check_conservation(core)
    _check_end(core)


def _slots(core: Core) -> Iterator[Slot]:
    yield from core.idle
    yield from core.leased
    yield from core.starting
    yield from core.retiring


def _check_leases(core: Core) -> None:
    """1: a slot is in the table of its state, in no other, and has a holder if it is leased."""
    tables = {
        SlotState.IDLE: core.idle, SlotState.LEASED: core.leased,
        SlotState.STARTING: core.starting, SlotState.RETIRING: core.retiring,
    }  # fmt: skip
    for state, table in tables.items():
        for slot in table:
            assert slot.state is state, f"{slot} is in the table of {state}"
            assert (slot.holder is not None) == (state is SlotState.LEASED), slot
            assert slot.instance is not None or state is SlotState.STARTING, slot
    assert len(set(_slots(core))) == core.live
    held = Counter(slot.holder for slot in core.leased)
    assert held == Counter(core.held), f"holders are counted as {core.held}"
    assert core.stuck == sum(slot.holder in core.line for slot in core.leased)


def _check_fitness(core: Core) -> None:
    """9: what the next asker would be granted can serve."""
    for slot in core.idle:
        assert slot.instance.poisoned is None, f"{slot} idles, but is {slot.instance.poisoned}"


def _check_bounds(core: Core) -> None:
    """2: the bounds hold; above them (after a resize) nothing is begun, and what idles has gone."""
    surge = core.surge if len(core.generations) > 1 else 0
    if core.live > core.size + surge:
        assert core.current.active <= core.size or not core.idle, "idle instances above size"


def _check_line(core: Core) -> None:
    """3 and 4: whoever waits has a reason to, and is not settled."""
    for task, waiter in core.line.items():
        assert waiter.task is task
        assert not waiter.settled, f"{task} is in line, and settled"
    if core.current.checking < len(core.line):
        assert not core.idle, "somebody waits beside idle instances"
    if core.current.starting < len(core.line):
        assert (
            core.backoff.holds
            or core.canary_waits
            or not (core.current.live < core.size and core.has_room())
        ), "somebody waits although there is room"


def _check_generations(core: Core) -> None:
    """5: only the generation in service idles; each counts its instances right."""
    for slot in core.idle:
        assert slot.generation is core.current, f"{slot} idles, but was replaced"
    live = Counter(slot.generation for slot in _slots(core))
    starting = Counter(slot.generation for slot in core.starting)
    checking = Counter(slot.generation for slot in core.starting if slot.checking)
    retiring = Counter(slot.generation for slot in core.retiring)
    assert set(live) <= {*core.generations}
    for generation in core.generations:
        assert generation.live == live[generation]
        assert generation.starting == starting[generation]
        assert generation.checking == checking[generation]
        assert generation.retiring == retiring[generation]
        assert not generation.replaced or generation.live, f"{generation} should be gone"
    # One being prepared is alive, too, but is made only where there is place for it.
    assert len(core.generations) <= core.options.max_generations


def _check_conservation(core: Core) -> None:
    """6: nobody and nothing is lost."""
    counters = core.counters
    assert counters.asked == counters.settled + len(core.line)
    assert counters.started == counters.closed + core.live
    assert sum(counters.retired.values()) == counters.closed + len(core.retiring)


def _check_end(core: Core) -> None:
    """7: a closed pool has nothing left; a closing one keeps nothing that it need not."""
    if core.state is PoolState.CLOSED:
        assert not core.live
        assert not core.line
        assert not core.held
        assert core.closed.is_set()
    elif core.state is PoolState.CLOSING:
        assert core.line or not core.idle
        assert core.live or core.line, "nothing keeps it from being closed"
