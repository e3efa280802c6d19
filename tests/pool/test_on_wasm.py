"""What the pool must show with real guests: threads, stores and calls that compute for ever."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.seams import (
    check_invariants,
    generations_alive,
    live_instances,
    pretend_call,
    slot_of,
)
from trio.testing import wait_all_tasks_blocked

import wasmpool_host
from wasmpool import Instrument
from wasmpool._errors import LeaseRevoked, PoolClosed
from wasmpool._pool.pool import Pool, open_pool
from wasmpool._pool.pool_state import PoolState
from wasmpool._pool.slot import SlotState

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool._pool.statistics import LeaseInfo

WAT = """
(module
  (func (export "version") (result i32) i32.const {version})
  (func (export "spin") (loop $again br $again))
  (func (export "trap") unreachable)
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
            most_live = max(most_live, live_instances(pool))
            most_generations = max(most_generations, generations_alive(pool))

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
        check_invariants(pool)


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


async def test_a_block_that_ends_after_its_lease_was_revoked_ends_as_it_would() -> None:
    """Also if a child's call has not come to notice yet: its instance is gone already."""
    async with open_pool(await module(), size=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease() as lease:
            slot = slot_of(lease)
            pretend_call(lease)
            nursery.start_soon(partial(pool.aclose, grace=0))
            while slot.state is SlotState.LEASED:
                await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked()
        assert pool.state is PoolState.CLOSED


@pytest.mark.parametrize("max_uses", [None, 1], ids=["", "for one call each"])
@pytest.mark.parametrize("instruments", [[], [Instrument()]], ids=["", "with an instrument"])
@pytest.mark.parametrize("use", ["call", "call that traps", "lease", "lease whose call traps"])
async def test_no_depth_of_the_stack_costs_an_instance(
    use: str, instruments: list[Instrument], max_uses: int | None
) -> None:
    """Wherever the stack ends on the way, the pool has all that it had, and serves."""
    came_to: Counter[str] = Counter()
    pool: Pool

    async def recurse(deeper: int) -> None:
        if deeper:
            await recurse(deeper - 1)
        elif use == "call":
            await pool.call("work", 1)
        elif use == "call that traps":
            await pool.call("trap")
        else:
            async with pool.lease() as lease:
                if use == "lease whose call traps":
                    await lease.call("trap")

    depth = sys.getrecursionlimit()
    options: dict[str, Any] = {"size": 1, "instruments": instruments, "max_uses": max_uses}
    async with open_pool(await module(), **options) as pool:
        for left in range(150):
            try:
                await recurse(depth - left)
            except (RecursionError, wasmpool_host.GuestTrap) as error:
                came_to[type(error).__name__] += 1
            else:
                came_to["its end"] += 1
            assert await pool.call("work", 1) == 1
            await until(lambda: pool.statistics().retiring == 0)
            check_invariants(pool)
            assert not pool.statistics().retired["failed-start"]
    assert came_to["RecursionError"] > 5
    assert came_to["GuestTrap" if "trap" in use else "its end"] > 20
