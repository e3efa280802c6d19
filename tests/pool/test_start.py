"""Opening a pool, and starting instances: setup, time limits, failures and back-off."""

from __future__ import annotations

import itertools
from contextvars import ContextVar
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import SyncModule
from tests.pool.seams import check_invariants, consecutive_failures, next_start_at, settle
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool._errors import PoolUnavailable
from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.pool.fakes import FakeInstance, FakeModule


async def test_block_is_entered_once_min_size_instances_are_ready(module: FakeModule) -> None:
    """Set up, and all at the same time."""
    ready: list[int] = []

    async def setup(instance: FakeInstance) -> None:
        await wait_all_tasks_blocked()
        assert len(module.instances) == 3
        ready.append(instance.number)

    async with open_pool(module, min_size=3, setup=setup) as pool:
        assert sorted(ready) == [1, 2, 3]
        assert pool.statistics().idle == 3


async def test_open_with_min_size_zero_starts_nothing(module: FakeModule) -> None:
    """The first ask does."""
    async with open_pool(module, min_size=0) as pool:
        assert module.starts == 0
        await pool.call("echo", 1)
        assert module.starts == 1


async def test_plain_setup_runs_on_each_new_instance_before_it_serves(
    module: FakeModule,
) -> None:
    """Exactly once each."""

    def setup(instance: FakeInstance) -> None:
        assert not instance.calls
        instance.setups += 1

    async with open_pool(module, size=2, setup=setup) as pool, pool.lease(), pool.lease():
        assert [instance.setups for instance in module.instances] == [1, 1]


async def test_exception_in_the_block_comes_out_as_itself(module: FakeModule) -> None:
    """In no group, with the leases revoked at once."""

    class Own(Exception):
        pass

    error = Own()
    with pytest.raises(Own) as info:
        async with open_pool(module) as pool, pool.lease():
            raise error
    assert info.value is error
    assert not module.live
    group = ExceptionGroup("own", [ValueError()])
    with pytest.raises(ExceptionGroup) as group_info:
        async with open_pool(module):
            raise group
    assert group_info.value is group


async def test_ctrl_c_in_a_setup_comes_out_of_the_block_as_itself(module: FakeModule) -> None:
    """When it opens, and later in a task of the pool; everything is closed first."""
    broken = False

    async def setup(instance: FakeInstance) -> None:
        await trio.lowlevel.checkpoint()
        if broken:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it is the block that raises
        async with open_pool(module, setup=setup) as pool:
            broken = True
            async with pool.lease():
                await pool.call("echo", 1)
    assert not module.live
    with pytest.raises(KeyboardInterrupt):
        async with open_pool(module, setup=setup):
            pytest.fail("it opened")


async def test_start_timeout_bounds_start_and_setup_together(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """The cause says which limit it was."""

    async def setup(instance: FakeInstance) -> None:
        await trio.sleep(3)

    before = trio.current_time()
    with pytest.raises(PoolUnavailable) as info:
        async with open_pool(module, setup=setup, start_timeout=2):
            pytest.fail("it opened")
    assert trio.current_time() == pytest.approx(before + 2)
    assert isinstance(info.value.__cause__, trio.TooSlowError)
    assert "start_timeout=2 s" in str(info.value.__cause__)


async def test_failed_starts_back_off_and_one_success_resets(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """50 ms doubling to 5 s, less a quarter at most, for as long as instances are missing."""
    attempts: list[float] = []
    works = False

    def setup(instance: FakeInstance) -> None:
        attempts.append(trio.current_time())
        if not works:
            raise ValueError("setup")

    async with open_pool(module, min_size=0, setup=setup) as pool:
        await pool.resize(8, 1)
        await trio.sleep(60)
        pauses = [b - a for a, b in itertools.pairwise(attempts)]
        for count, pause in enumerate(pauses):
            longest = min(5, 0.05 * 2**count)
            assert 0.75 * longest <= pause <= longest + 1e-6
        assert len(pauses) > 15
        works = True
        await trio.sleep(6)
        assert pool.statistics().idle == 1
        assert consecutive_failures(pool) == 0


async def test_starts_that_fail_together_count_once(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """Eight failures at the same moment are one reason to wait, not eight."""
    async with open_pool(module, size=8, min_size=0) as pool:
        module.script.extend(ValueError("no") for _ in range(8))
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(fail, pool)
        assert pool.statistics().retired["failed-start"] == 8
        assert consecutive_failures(pool) == 1
        assert next_start_at(pool) <= trio.current_time() + 0.05


async def fail(pool: Pool) -> None:
    with pytest.raises(PoolUnavailable):
        await pool.call("echo", 1)


async def test_waiters_are_served_by_an_instance_that_lives_while_starts_fail(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """Nobody gets PoolUnavailable as long as there is one to wait for."""
    async with open_pool(module, size=3) as pool:
        module.script.extend(ValueError("no") for _ in range(50))
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(pool.call, "sleep", 0.2)
        assert pool.statistics().granted == 10
        assert pool.statistics().unavailable == 0


async def test_pool_whose_setup_fails_half_of_the_time_loses_nothing(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """1,000 calls: each has a result or PoolUnavailable; then all of ``size`` can be leased."""
    random = Random(4)
    broken = True

    async def setup(instance: FakeInstance) -> None:
        await trio.sleep(0.001)
        if broken and random.random() < 0.5:
            raise ValueError("setup")

    results: list[Any] = []

    async def use(pool: Pool, number: int) -> None:
        for count in range(50):
            try:
                await (pool.call("sleep", 0.002) if count % 5 else pool.call("trap"))
                results.append("ok")
            except Exception as error:  # noqa: BLE001 - looked at below
                results.append(type(error).__name__)

    async with open_pool(module, size=4, min_size=0, setup=setup) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(use, pool, number)
        assert len(results) == 1000
        assert set(results) <= {"ok", "Trap", "PoolUnavailable"}
        broken = False
        await trio.sleep(6)
        async with pool.lease(), pool.lease(), pool.lease(), pool.lease():
            await settle(pool)
            assert pool.statistics().leased == 4
    assert module.most_live <= 4


class Slow(SyncModule):
    """Each instance takes a millisecond to make; notes what it finds on the way."""

    def __init__(self, identity: int) -> None:
        super().__init__(identity)
        self.protected: set[bool] = set()

    def new_instance(self) -> FakeInstance:
        self.protected.add(trio.lowlevel.currently_ki_protected())
        until = perf_counter() + 0.001
        while perf_counter() < until:
            pass
        return super().new_instance()


@pytest.mark.parametrize("when", ["open", "grow", "reload"])
async def test_many_starts_leave_the_loop_its_turns(when: str) -> None:
    """Those of one step each are not done all in one, and no Ctrl-C ends them half way."""
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    modules = Slow(1), Slow(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        async with open_pool(modules[0], size=40, min_size=40 if when == "open" else 0) as pool:
            if when != "open":
                passes = 0
                await pool.resize(40, 40)
            while pool.statistics().idle < 40:
                await trio.lowlevel.checkpoint()
            if when == "reload":
                passes = 0
                await pool.reload(modules[1])
            assert passes >= 30
            check_invariants(pool)
        nursery.cancel_scope.cancel()
    assert not modules[0].live
    assert not modules[1].live
    assert set.union(*(module.protected for module in modules)) == {True}


async def test_a_plain_setup_sees_the_context_that_the_pool_was_opened_in() -> None:
    """Not that of the task that caused the start, nor what an earlier setup has set."""
    where: ContextVar[str] = ContextVar("where")
    seen: list[str] = []

    def setup(_instance: FakeInstance) -> None:
        seen.append(where.get())
        where.set("a setup")

    async def use(number: int) -> None:
        where.set(f"request {number}")
        await pool.call("step")

    where.set("open")
    module = SyncModule(1)
    async with open_pool(module, size=4, min_size=0, setup=setup) as pool:
        where.set("the block")
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(use, number)
    assert seen == ["open"] * 4
    assert not module.live


async def test_a_setup_whose_awaitable_is_false_runs_once() -> None:
    """It may be any awaitable."""

    class Empty:
        def __len__(self) -> int:
            return 0

        def __await__(self) -> Generator[Any, Any, None]:
            return trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105 - it is, by the caller

    module = SyncModule(1)
    async with open_pool(module, size=2, min_size=1, setup=lambda _: Empty()) as pool:
        await pool.resize(2, 2)
        await settle(pool)
        assert module.starts == pool.statistics().started == 2
    assert not module.live


async def test_a_start_that_finds_no_room_on_the_stack_of_a_call_is_made_in_a_task() -> None:
    """It has failed only if it does so in that task of the pool, too."""
    module = SyncModule()
    async with open_pool(module, size=1, max_uses=1) as pool:
        for script, failed in (([], 0), ([RecursionError()], 0), ([RecursionError()] * 2, 1)):
            await pool.call("echo", 1)
            await settle(pool)
            starts = module.starts
            module.script.extend(script)
            await pool.call("echo", 1)
            await settle(pool)
            assert module.starts == starts + 1 + len(script) - failed
            assert pool.statistics().retired["failed-start"] == failed
            check_invariants(pool)
    assert not module.violations
    assert not module.live
