"""A call that uses up its instance has the next one started in its own task, if that is short."""

from __future__ import annotations

import time
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.pool.fakes import SyncModule
from tests.pool.seams import check_invariants, retired, settle

from wasmpool import open_pool
from wasmpool._pool import maintenance
from wasmpool._pool.maintenance import Maintenance

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from wasmpool import Pool

CALLER: ContextVar[str] = ContextVar("CALLER", default="the pool")


@pytest.fixture
async def module() -> AsyncGenerator[SyncModule]:
    made = SyncModule()
    yield made
    assert not made.violations
    assert not made.live
    assert made.starting == 0


def open_spare(module: SyncModule, **options: Any) -> AbstractAsyncContextManager[Pool]:
    return open_pool(module, **{"size": 2, "min_size": 1, "max_uses": 1, **options})


async def warm(pool: Pool) -> None:
    """Have the pool's task start an instance, which finds that a start is short."""
    await pool.call("number")
    await settle(pool)


async def test_the_next_instance_is_ready_when_the_call_returns(module: SyncModule) -> None:
    """No other task has run; and the first time, when no start was measured, one had to."""
    async with open_spare(module) as pool:
        await pool.call("number")
        assert pool.statistics().idle == 0
        await settle(pool)
        for number in range(2, 7):
            assert await pool.call("number") == number
            check_invariants(pool)
            statistics = pool.statistics()
            assert (statistics.idle, statistics.starting, statistics.retiring) == (1, 0, 0)
        assert retired(pool) == {"uses": 6}


async def test_a_pool_of_one_has_it_too(module: SyncModule) -> None:
    """The used one is closed first: there is room for one only."""
    async with open_spare(module, size=1) as pool:
        await warm(pool)
        for _ in range(3):
            await pool.call("number")
            assert pool.statistics().idle == 1
    assert module.most_live == 1


async def test_a_setup_sees_nothing_of_the_call(module: SyncModule) -> None:
    """It runs in the context of the pool, not in that of the task whose call is over."""
    seen: list[tuple[str, str]] = []

    def setup(_: Any) -> None:
        seen.append((CALLER.get(), trio.lowlevel.current_task().name))

    async with open_spare(module, setup=setup) as pool:
        await warm(pool)
        CALLER.set("a caller")
        before = len(seen)
        await pool.call("number")
        assert seen[before:] == [("the pool", trio.lowlevel.current_task().name)]


async def test_a_start_that_waits_goes_on_in_the_pool(module: SyncModule) -> None:
    """The call returns meanwhile, and the rest sees nothing of it, either."""
    proceed = trio.Event()
    seen: list[str] = []
    waits = False

    async def wait() -> None:
        await proceed.wait()
        seen.append(CALLER.get())

    def setup(_: Any) -> Any:
        return wait() if waits else None

    async with open_spare(module, setup=setup) as pool:
        await warm(pool)
        CALLER.set("a caller")
        waits = True
        await pool.call("number")
        assert pool.statistics().starting == 1
        await settle(pool)
        proceed.set()
        await settle(pool)
        assert pool.statistics().idle == 1
        assert seen == ["the pool"]


async def test_a_failed_start_does_not_fail_the_call(module: SyncModule) -> None:
    """It counts as each start that fails does."""
    async with open_spare(module) as pool:
        await warm(pool)
        module.script.append(ValueError("it does not start"))
        assert await pool.call("number") == 2
        assert retired(pool) == {"uses": 2, "failed-start": 1}
        check_invariants(pool)


async def test_what_ends_the_program_comes_out_of_the_block(module: SyncModule) -> None:
    """The call has returned by then, and the pool is closed."""
    ends = False

    def setup(_: Any) -> None:
        if ends:
            raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):  # noqa: PT012 - the block is what raises it
        async with open_spare(module, setup=setup) as pool:
            await warm(pool)
            ends = True
            assert await pool.call("number") == 2
            await trio.sleep_forever()


async def test_a_long_start_is_left_to_the_pool(module: SyncModule) -> None:
    """Once a start was long, the next calls return before theirs."""
    long = False

    def setup(_: Any) -> None:
        if long:
            time.sleep(0.002)

    async with open_spare(module, setup=setup) as pool:
        await warm(pool)
        long = True
        await pool.call("number")
        await settle(pool)
        for _ in range(3):
            await pool.call("number")
            assert pool.statistics().idle == 0
            await settle(pool)
            assert pool.statistics().idle == 1


async def test_what_cannot_be_closed_at_once_does_not_hold_up_the_next_start(
    module: SyncModule,
) -> None:
    """The pool's own tasks close the one and start the other."""
    async with open_spare(module) as pool:
        await warm(pool)
        module.close_gate = trio.Event()
        await pool.call("number")
        check_invariants(pool)
        assert (pool.statistics().retiring, pool.statistics().starting) == (1, 1)
        await settle(pool)
        assert (pool.statistics().retiring, pool.statistics().idle) == (1, 1)
        module.close_gate.set()
        await settle(pool)
        assert pool.statistics().retiring == 0
        assert retired(pool) == {"uses": 2}


@pytest.mark.parametrize("_time", range(20))  # which task is first in a pass is random
async def test_the_last_start_may_be_begun_while_the_pools_task_lets_the_loop_run(
    monkeypatch: pytest.MonkeyPatch, _time: int
) -> None:
    """Then there is nothing left for it to do, and it goes on waiting."""
    begun: list[str] = []
    clock = iter([0.0, 0.0, 1.0])
    monkeypatch.setattr(maintenance, "perf_counter", lambda: next(clock, 1.0))
    monkeypatch.setattr(Maintenance, "_start_now", lambda _, slot: begun.append(slot))
    monkeypatch.setattr(Maintenance, "_close_now", lambda _, slot: begun.append(slot))
    core: Any = SimpleNamespace(name="pool")
    slots: Any = ("first", "last", "used up")
    async with trio.open_nursery() as nursery:
        pools = Maintenance(core, nursery, nursery.cancel_scope)
        pools.start(slots[0])
        pools.start(slots[1])
        await trio.lowlevel.cancel_shielded_checkpoint()  # the first was begun in this pass
        pools.replace(slots[2])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert pools.crash is None
    assert sorted(begun) == sorted(slots)
