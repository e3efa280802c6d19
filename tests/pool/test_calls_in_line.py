"""Queued calls: the task that frees an instance for them runs their first slice as well."""

from __future__ import annotations

import gc
import sys
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import Trap
from tests.pool.seams import check_invariants
from trio.testing import wait_all_tasks_blocked

from wasmpool import Instrument
from wasmpool._errors import LeaseRevoked
from wasmpool._pool import core
from wasmpool._pool.pool import Pool, open_pool
from wasmpool_host import Module

if TYPE_CHECKING:
    from tests.pool.fakes import FakeModule

    from wasmpool import LeaseInfo

SPIN_OR_ADD = """(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "trap") unreachable)
  (func (export "spin") (param $times i64)
    (loop $l
      (local.set $times (i64.sub (local.get $times) (i64.const 1)))
      (br_if $l (i64.gt_s (local.get $times) (i64.const 0))))))"""


async def in_line(
    pool: Pool, nursery: trio.Nursery, ended: list[Any], *calls: tuple[Any, ...]
) -> None:
    """Have tasks wait with calls, in this order; note what each came to, when its task has it."""

    async def make(name: str, *args: Any) -> None:
        try:
            ended.append(await pool.call(name, *args))
        except Exception as error:  # noqa: BLE001 - it is looked at
            ended.append(error)

    for call in calls:
        nursery.start_soon(make, *call)
        await wait_all_tasks_blocked()
    check_invariants(pool)
    assert pool.statistics().waiting == len(calls)


async def test_calls_that_end_at_once_are_made_in_one_step_in_order_of_arrival(
    module: FakeModule,
) -> None:
    """No task has to come round between them, so a line does not outlast what it was for."""
    ended: list[Any] = []
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease():
            await in_line(pool, nursery, ended, *(("echo", n) for n in range(10)))
            (instance,) = module.instances
            instance.calls.clear()
        assert instance.calls == ["echo"] * 10
        statistics = pool.statistics()
        assert (statistics.waiting, statistics.idle, statistics.leased) == (0, 1, 0)
        assert statistics.granted == statistics.asked == 11
        check_invariants(pool)
    assert sorted(ended) == list(range(10))


async def test_a_step_takes_so_many_calls_and_no_more(module: FakeModule) -> None:
    """The loop has other tasks, too."""
    ended: list[Any] = []
    waiting = 2 * core._RUNS + 3
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease():
            await in_line(pool, nursery, ended, *(("echo", n) for n in range(waiting)))
        left = [pool.statistics().waiting]
        while left[-1]:
            await trio.lowlevel.checkpoint()
            check_invariants(pool)
            left.append(pool.statistics().waiting)
        assert left[0] == waiting - core._RUNS - 1  # and one that was handed the instance
        assert 0 in left[:6]
    assert sorted(ended) == list(range(waiting))


async def test_each_error_is_raised_in_its_own_task(module: FakeModule) -> None:
    """What the giver runs for others is nothing that it notices."""
    ended: list[Any] = []

    async def give() -> None:
        async with pool.lease() as lease:
            await in_line(
                pool, nursery, ended, ("echo", 1), ("no such export",), ("trap",), ("echo", 2)
            )
            assert await lease.call("number") == 1
            raise OSError("the giver's own")

    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        with pytest.raises(OSError, match="the giver's own"):
            await give()
        check_invariants(pool)
        await wait_all_tasks_blocked()
        statistics = pool.statistics()
        assert statistics.retired["trap"] == 1
        assert statistics.started == 2  # the last call was made in another instance
        check_invariants(pool)
    errors = [each for each in ended if isinstance(each, Exception)]
    assert [each.__context__ for each in errors] == [None, None]
    kinds = sorted(type(each).__name__ for each in ended)
    assert kinds == sorted(["int", "ValueError", Trap.__name__, "int"])


async def test_an_error_that_is_kept_keeps_nothing_of_the_giver() -> None:
    """Its traceback begins in the task that it is raised in."""

    class Local:
        pass

    ended: list[Any] = []
    locals_of_giver: list[weakref.ref[Local]] = []

    async def give() -> None:
        local = Local()
        locals_of_giver.append(weakref.ref(local))
        async with pool.lease():
            await in_line(pool, nursery, ended, ("trap",), ("no such export",))

    module = await Module.compile(SPIN_OR_ADD)
    async with open_pool(module, size=1) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give)
        gc.collect()
        assert [type(each).__name__ for each in ended] == ["GuestTrap", "ValueError"]
        assert locals_of_giver[0]() is None


async def test_a_call_that_takes_longer_goes_on_in_its_own_task(module: FakeModule) -> None:
    """And those after it wait for it."""
    ended: list[Any] = []
    event = trio.Event()
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease():
            await in_line(pool, nursery, ended, ("echo", 7), ("wait", event), ("echo", 8))
        await wait_all_tasks_blocked()
        check_invariants(pool)
        assert ended == [7]
        assert (pool.statistics().leased, pool.statistics().waiting) == (1, 1)
        event.set()
        await wait_all_tasks_blocked()
        assert ended[0] == 7
        assert sorted(ended) == [1, 7, 8]
        check_invariants(pool)


@pytest.mark.parametrize("name", ["echo", "wait"])
async def test_a_cancel_right_after_the_first_slice(module: FakeModule, name: str) -> None:
    """It ends a call that goes on, and is no matter to one that has returned."""
    event = trio.Event()
    returned: list[Any] = []
    scope = trio.CancelScope()

    async def wait() -> None:
        with scope:
            returned.append(await pool.call(name, event))

    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease():
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        check_invariants(pool)
        assert returned == ([event] if name == "echo" else [])
        assert pool.statistics().retired["cancelled"] == (name == "wait")
        assert await pool.call("echo", 1) == 1


async def test_a_revocation_right_after_the_first_slice(module: FakeModule) -> None:
    """The call was begun, and its task has not gone on with it yet."""
    ended: list[Any] = []
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease():
            await in_line(pool, nursery, ended, ("wait", trio.Event()))
        nursery.start_soon(partial(pool.aclose, grace=0))
        await wait_all_tasks_blocked()
        check_invariants(pool)
    assert [type(each) for each in ended] == [LeaseRevoked]
    assert not module.live


async def test_a_revocation_right_after_the_first_slice_of_a_guest() -> None:
    """The same on wasm: the fiber that nobody drives yet is gone before its store."""
    ended: list[Any] = []
    module = await Module.compile(SPIN_OR_ADD)
    async with open_pool(module, size=1, queue_on_close="serve") as pool:
        async with trio.open_nursery() as nursery:
            async with pool.lease():
                await in_line(pool, nursery, ended, ("spin", 1 << 40), ("add", 1, 2))
            nursery.start_soon(partial(pool.aclose, grace=0))
        check_invariants(pool)
    assert sorted(type(each).__name__ for each in ended) == ["LeaseRevoked", "PoolClosed"]


async def test_one_use_each(module: FakeModule) -> None:
    """With ``max_uses=1`` each call has an instance of its own, in line or not."""
    ended: list[Any] = []
    async with open_pool(module, size=2, max_uses=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease(), pool.lease():
            await in_line(pool, nursery, ended, *[("number",)] * 6)
        await wait_all_tasks_blocked()
        check_invariants(pool)
    assert len(set(ended)) == len(ended) == 6
    assert all(len(instance.calls) <= 1 for instance in module.instances)


async def test_a_giver_without_stack_hands_the_instance_over(module: FakeModule) -> None:
    """A call fails for lack of its own task's stack only."""
    ended: list[Any] = []
    entered, leave = trio.Event(), trio.Event()

    async def lease(deeper: int) -> None:
        if deeper:
            await lease(deeper - 1)
            return
        async with pool.lease():
            entered.set()
            await leave.wait()

    async def lease_at(depth: int) -> None:
        try:
            await lease(depth)
        except RecursionError:
            entered.set()

    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        depth = sys.getrecursionlimit()
        handed = 0
        for left in range(140):
            entered, leave = trio.Event(), trio.Event()
            nursery.start_soon(lease_at, depth - left)
            await entered.wait()
            if pool.statistics().leased:
                await in_line(pool, nursery, ended, ("echo", left))
                leave.set()
                await wait_all_tasks_blocked()
                check_invariants(pool)
                assert ended[-1] == left
                handed += 1
        assert handed > 50


async def test_a_line_on_wasm_goes_away_once_there_is_nothing_to_wait_for() -> None:
    """Tasks that make one short call after the other do not go on standing in line for it."""
    module = await Module.compile(SPIN_OR_ADD)
    calls = 0

    async def use() -> None:
        nonlocal calls
        while True:
            assert await pool.call("add", 1, 2) == 3
            calls += 1

    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        async with pool.lease():
            for _ in range(10):
                nursery.start_soon(use)
            await wait_all_tasks_blocked()
            assert pool.statistics().waiting == 10
        before = calls
        with trio.fail_after(60):  # how many passes it takes depends on what else the CPUs do
            while pool.statistics().waiting:
                await trio.lowlevel.checkpoint()
            while calls - before <= 10:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


class Canceller(Instrument):
    """Cancels a scope when a lease is granted."""

    def __init__(self) -> None:
        self.scope: trio.CancelScope | None = None

    def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
        if self.scope is not None:
            self.scope.cancel()


@pytest.mark.parametrize("by", ["an instrument", "an argument"])
async def test_a_waiter_that_is_cancelled_while_it_is_served(by: str) -> None:
    """By code that runs in the midst of it: it has its result, and meets the cancel later."""
    canceller = Canceller()
    scope = trio.CancelScope()
    results: list[int] = []

    class Cancelling:
        def __index__(self) -> int:
            scope.cancel()
            return 1

    async def wait(first: Any) -> None:
        with scope:
            results.append(await pool.call("add", first, 2))
            await trio.lowlevel.checkpoint()
            raise AssertionError("it was cancelled")

    module = await Module.compile(SPIN_OR_ADD)
    async with (
        open_pool(module, size=1, instruments=[canceller]) as pool,
        trio.open_nursery() as nursery,
    ):
        async with pool.lease():
            nursery.start_soon(wait, 1 if by == "an instrument" else Cancelling())
            await wait_all_tasks_blocked()
            if by == "an instrument":
                canceller.scope = scope
        check_invariants(pool)
        await wait_all_tasks_blocked()
        assert scope.cancelled_caught
        assert results == [3]
        check_invariants(pool)
        assert await pool.call("add", 3, 4) == 7
