"""The pool where trio's scheduler is at its worst: batches reordered under seeds, fifty tasks.

Seeds under which it failed once stay in the list.
"""

from __future__ import annotations

import contextlib
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import Poisoned, Trap, new_module
from tests.pool.seams import check_invariants
from trio._core import _run
from trio.testing import MockClock

from wasmpool._errors import (
    LeaseDeadlock,
    LeaseRevoked,
    PoolClosed,
    PoolTimeout,
    PoolUnavailable,
    ReloadFailed,
)
from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.pool.fakes import FakeInstance, Kinds

SEEDS = [
    *range(8),  # 1: a lease is revoked between its hand-over and its holder's turn
    102,  # growth that waited for a canary to have its place
    *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 40)),
]
EXPECTED = (
    Trap, Poisoned, LeaseRevoked, LeaseDeadlock, PoolClosed, PoolTimeout, PoolUnavailable,
    ReloadFailed,
)  # fmt: skip


@pytest.fixture(autouse=True)
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """The same seed schedules the same."""
    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    state = _run._r.getstate()
    yield
    _run._r.setstate(state)


class Look(trio.abc.Instrument):
    """Looks at the pool after each step of each task."""

    def __init__(self) -> None:
        self.pool: Pool | None = None
        self.broken: list[AssertionError] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.pool is not None and not self.broken:
            try:
                check_invariants(self.pool)
            except AssertionError as error:
                self.broken.append(error)


class Crowd:
    """Tasks that do to a pool what comes to their mind."""

    def __init__(self, seed: int, kinds: Kinds) -> None:
        self.random = Random(seed)
        self.kinds = kinds
        self.modules = [new_module(1, kinds)]
        self.pool: Pool
        self.done = 0

    async def setup(self, instance: FakeInstance) -> None:
        await trio.lowlevel.checkpoint()
        if self.random.random() < 0.1:
            raise ValueError("setup")

    async def member(self) -> None:
        for _ in range(8):
            with trio.CancelScope() as scope:
                if self.random.random() < 0.3:
                    scope.deadline = trio.current_time() + self.random.random() / 10
                with contextlib.suppress(*EXPECTED):
                    await self.something()
            self.done += 1

    async def something(self) -> None:
        pool = self.pool
        match self.random.choices(range(7), (10, 5, 3, 3, 2, 1, 1))[0]:
            case 0:
                await pool.call("step")
            case 1:
                async with pool.lease() as lease:
                    await lease.call("sleep", self.random.random() / 50)
            case 2:
                await pool.call("trap")
            case 3:
                async with pool.lease() as lease:
                    lease.discard()
            case 4:
                async with pool.lease(), pool.lease() as inner:
                    await inner.call("echo", 1)
            case 5:
                await pool.resize(self.random.randint(2, 4))
            case 6:
                self.modules.append(new_module(len(self.modules) + 1, self.kinds))
                await pool.reload(self.modules[-1], grace=self.random.choice([0, 0.01]))


@pytest.mark.parametrize("seed", SEEDS)
def test_fifty_tasks_on_three_instances_under_a_random_schedule(seed: int, kinds: Kinds) -> None:
    """Invariants after each step of each task, and everything adds up in the end."""
    crowd, look = Crowd(seed, kinds), Look()
    options: Any = {"max_wait": 0.5, "max_uses": 5, "check": lambda instance: instance.healthy}

    async def story() -> None:
        opened = open_pool(crowd.modules[0], size=3, min_size=1, **options)
        async with opened as crowd.pool:
            look.pool = crowd.pool
            trio.lowlevel.add_instrument(look)
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(crowd.member)

    _run._r.seed(seed)
    trio.run(story, clock=MockClock(autojump_threshold=0))
    if look.broken:
        raise look.broken[0]
    assert crowd.done == 400
    statistics = crowd.pool.statistics()
    assert statistics.started == statistics.closed == sum(statistics.retired.values())
    for module in crowd.modules:
        assert not module.violations
        assert not module.live
