"""What the pool must show with real guests: threads, stores and calls that compute for ever."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import wasmpool_host
from wasmpool import _invariants
from wasmpool._errors import LeaseRevoked, PoolClosed
from wasmpool._pool import Pool, open_pool
from wasmpool_host._turn import BUDGET

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool._statistics import LeaseInfo

WAT = """
(module
  (func (export "version") (result i32) i32.const {version})
  (func (export "spin") (loop $again br $again))
  (func (export "work") (param i32) (result i32)
    (loop $again
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0)))
    i32.const {version}))
"""


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - computing guests are never all blocked
        await trio.sleep(0.001)


async def module(version: int = 1) -> wasmpool_host.Module:
    return await wasmpool_host.Module.compile(WAT.format(version=version))


async def test_close_while_eight_guests_compute_for_ever() -> None:
    """Eight LeaseRevoked, waiters had PoolClosed at once, and no thread or store is left."""
    revoked = refused = 0
    instances: list[Any] = []
    before = {thread.name for thread in threading.enumerate()}

    async def spin(pool: Pool) -> None:
        nonlocal revoked
        with pytest.raises(LeaseRevoked):
            await pool.call("spin")
        revoked += 1

    async def wait(pool: Pool) -> None:
        nonlocal refused
        with pytest.raises(PoolClosed):
            await pool.call("version")
        assert revoked == 0
        refused += 1

    opened = open_pool(await module(), size=8, setup=instances.append)
    async with trio.open_nursery() as nursery, opened as pool:
        for _ in range(8):
            nursery.start_soon(spin, pool)
        await until(lambda: pool.statistics().leased == 8)
        for _ in range(4):
            nursery.start_soon(wait, pool)
        await until(lambda: pool.statistics().waiting == 4)
        await pool.aclose(grace=0.2)
        assert pool.state == "closed"
    assert (revoked, refused) == (8, 4)
    assert pool.statistics().retired["closed"] == 8
    assert len(instances) == 8
    assert all("closed" in repr(instance) for instance in instances)
    after = {thread.name for thread in threading.enumerate()}
    assert not any("ticker" in name.lower() for name in after - before)


async def test_reload_under_load_fails_no_call() -> None:
    """32 tasks on 8 instances while two modules take turns twenty times."""
    modules = [await module(1), await module(2)]
    most_live = most_generations = calls = 0
    wrong: list[str] = []

    class Watch:
        def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
            nonlocal most_live, most_generations
            most_live = max(most_live, pool._core.live)
            most_generations = max(most_generations, len(pool._core.generations))

    async with open_pool(modules[0], size=8, instruments=[Watch()]) as pool:
        ended = False

        async def use(number: int) -> None:
            nonlocal calls
            while not ended:
                began = pool.generation
                version = await pool.call("work", 1 + number * 2_000)
                # Generations alternate; what is served is not older than at the call's beginning.
                if pool.generation == began and version != 2 - began % 2:
                    wrong.append(f"version {version} in generation {began}")
                calls += 1

        async with trio.open_nursery() as nursery:
            for number in range(32):
                nursery.start_soon(use, number)
            for number in range(20):
                await until(lambda number=number: calls >= 50 * number)  # type: ignore[misc]
                assert await pool.reload(modules[(number + 1) % 2]) == number + 2
            ended = True
        assert not wrong
        assert most_generations <= 2
        assert most_live <= 8 + 1
        _invariants.check(pool._core)


async def test_spinning_guest_that_is_cancelled_disturbs_no_other() -> None:
    """Exactly its own instance is replaced; the other call goes on computing."""
    async with open_pool(await module(), size=2) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(partial(expect_revoked, pool))
        await until(lambda: pool.statistics().leased == 1)
        async with trio.open_nursery() as other:
            other.start_soon(pool.call, "spin")
            await until(lambda: pool.statistics().leased == 2)
            await trio.lowlevel.checkpoint()  # it may have been handed the instance just now
            other.cancel_scope.cancel()
        assert pool.statistics().leased == 1
        assert await pool.call("version") == 1
        assert pool.statistics().retired["cancelled"] == 1
        await pool.aclose(grace=0)
        await wait_all_tasks_blocked()


async def expect_revoked(pool: Pool) -> None:
    with pytest.raises(LeaseRevoked):
        await pool.call("spin")


class Busy(trio.abc.Instrument):
    """A loop on which guests take a third of their budget in each step of a task."""

    def __init__(self, pool: Pool) -> None:
        self.turn = pool._turn
        self.longest_line = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.turn.spent += BUDGET / 3
        self.longest_line = max(self.longest_line, len(self.turn._line))


async def test_calls_that_wait_for_the_loops_turn_hold_no_instance() -> None:
    """Or a busy loop would be asked to start more of them."""
    async with open_pool(await module(), size=8, min_size=1) as pool:
        busy = Busy(pool)
        trio.lowlevel.add_instrument(busy)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(pool.call, "version")
        trio.lowlevel.remove_instrument(busy)
        assert busy.longest_line > 10
        statistics = pool.statistics()
        assert (statistics.started, statistics.granted) == (1, 20)
        _invariants.check(pool._core)


@pytest.mark.parametrize("end", ["cancel", "close"])
async def test_who_was_granted_an_instance_may_still_be_stopped_before_its_turn(end: str) -> None:
    """It gives the instance back, or is told that the grace is over; no guest has run."""
    ended: list[str] = []

    async def call(pool: Pool, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await pool.call("version")
            except LeaseRevoked:
                ended.append("revoked")
        if scope.cancelled_caught:
            ended.append("cancelled")

    async with open_pool(await module(), size=1) as pool:
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            async with pool.lease():
                nursery.start_soon(call, pool, scope)
                await wait_all_tasks_blocked()
                pool._turn.spent = 1.0
            await trio.lowlevel.checkpoint()  # it comes to the line of the loop's turn
            assert len(pool.leases()) == 1
            if end == "cancel":
                scope.cancel()
            else:
                await pool.aclose(grace=0)
        _invariants.check(pool._core)
        if end == "cancel":
            assert await pool.call("version") == 1
    assert ended == [{"cancel": "cancelled", "close": "revoked"}[end]]
