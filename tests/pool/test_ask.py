"""Asking for leases: who gets which instance, when, and what else they may get."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.seams import settle
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from wasmpool._errors import (
    LeaseDeadlock,
    LeaseExpired,
    PoolClosed,
    PoolSaturated,
    PoolTimeout,
)
from wasmpool._pool.pool import open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.pool.fakes import FakeModule


async def test_most_recently_used_instance_is_granted_first(module: FakeModule) -> None:
    """So that caches are warm, and the rest may shrink."""
    async with open_pool(module, size=3, min_size=3) as pool:
        async with pool.lease() as first, pool.lease() as second:
            number = await second.call("number")
            assert await first.call("number") != number
        last = await pool.call("number")
        assert {await pool.call("number") for _ in range(5)} == {last}


async def test_pool_grows_to_its_size_and_no_further(module: FakeModule) -> None:
    """A start begins for each asker as long as there is room; the others wait in line."""
    async with open_pool(module, size=3) as pool, trio.open_nursery() as nursery:
        release = trio.Event()
        for _ in range(5):
            nursery.start_soon(pool.call, "wait", release)
        await settle(pool)
        statistics = pool.statistics()
        assert (statistics.leased, statistics.waiting) == (3, 2)
        release.set()
    assert module.most_live == 3


async def test_leases_are_granted_in_order_of_arrival(module: FakeModule) -> None:
    """Also when a newcomer arrives at the moment an instance is given back."""
    order: list[int] = []
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            async with pool.lease():
                order.append(number)
                await trio.lowlevel.checkpoint()

        async with pool.lease():
            for number in range(10):
                nursery.start_soon(ask, number)
                await wait_all_tasks_blocked()
        nursery.start_soon(ask, 10)
        await settle(pool)
    assert order == list(range(11))


async def test_start_goes_to_the_first_waiter_when_it_is_ready(
    module: FakeModule,
) -> None:
    """An asker that gives up wastes nothing: its start serves another."""
    gate = trio.Event()
    async with open_pool(module, size=1, min_size=0) as pool, trio.open_nursery() as nursery:
        module.script.append(gate)
        scope = trio.CancelScope()

        async def give_up() -> None:
            with scope:
                await pool.call("echo", 1)

        nursery.start_soon(give_up)
        await settle(pool)
        nursery.start_soon(pool.call, "echo", 2)
        await settle(pool)
        scope.cancel()
        await settle(pool)
        gate.set()
        await settle(pool)
        assert pool.statistics().granted == 1
        assert module.starts == 1


async def test_every_ask_is_a_checkpoint_and_gives_back_without_one(module: FakeModule) -> None:
    """A cancel before an instance is taken takes none; none comes after the guest has returned."""
    async with open_pool(module) as pool:
        with assert_checkpoints():
            await pool.call("echo", 1)
        with assert_checkpoints():
            await pool.exchange("echo", b"x")
        with assert_checkpoints():
            async with pool.lease() as lease:
                pass
        async with pool.lease() as lease:
            with assert_checkpoints():
                await lease.call("echo", 1)
        for operation in (pool.call, pool.exchange):
            with trio.CancelScope() as scope:
                scope.cancel()
                await operation("echo", b"1")
            assert scope.cancelled_caught
        assert pool.statistics().asked == 4
        assert module.instances[0].poisoned is None

        async def cancel() -> bytes:
            scope.cancel()
            return b"done"

        with trio.CancelScope() as scope:
            assert await pool.call("host", cancel) == b"done"
        assert not scope.cancelled_caught
        assert pool.statistics().idle == 1


async def test_lease_nowait_has_an_idle_instance_or_fails_at_once(module: FakeModule) -> None:
    """It starts nothing, though there is room, and counts as would-block."""
    async with open_pool(module, size=2) as pool:
        async with pool.lease_nowait() as lease:
            assert await lease.call("echo", 1) == 1
            with pytest.raises(trio.WouldBlock):
                async with pool.lease_nowait():
                    pytest.fail("granted")
        assert module.starts == 1
        assert pool.statistics().would_block == 1
    with pytest.raises(PoolClosed):
        async with pool.lease_nowait():
            pytest.fail("granted")


async def test_max_waiting_refuses_and_says_who_holds_what(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """Whoever is in line stays there."""
    async with open_pool(module, name="echo", size=1, max_waiting=1) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, "sleep", 5, name="sync")
            await settle(pool)
            nursery.start_soon(pool.call, "echo", 1)
            await settle(pool)
            await trio.sleep(3.2)
            message = (
                "pool 'echo': max_waiting=1 tasks wait already: 1/1 leased, 1 waiting, oldest lease"
                " 3.2 s by task 'sync'"
            )
            with pytest.raises(PoolSaturated, match=re.escape(message)):
                await pool.call("echo", 2)
        assert pool.statistics().saturated == 1
        assert pool.statistics().granted == 2


async def test_max_waiting_of_zero_still_lets_the_pool_grow(module: FakeModule) -> None:
    """An ask for which a start begins is not one too many."""
    opened = open_pool(module, size=2, min_size=0, max_waiting=0)
    async with opened as pool, pool.lease(), pool.lease():
        with pytest.raises(PoolSaturated):
            await pool.call("echo", 1)


async def test_max_wait_ends_waits_in_order_and_says_who_holds_what(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """Each after its own ``max_wait``; the line goes on."""
    ended: list[float] = []
    async with open_pool(module, size=1, max_wait=2) as pool, trio.open_nursery() as nursery:

        async def ask() -> None:
            asked = trio.current_time()
            with pytest.raises(PoolTimeout, match=r"max_wait=2 s: 1/1 leased, . waiting"):
                await pool.call("echo", 1)
            ended.append(trio.current_time() - asked)

        async with pool.lease():
            for _ in range(3):
                nursery.start_soon(ask)
                await trio.sleep(0.5)
            await trio.sleep(3)
        assert ended == pytest.approx([2, 2, 2])
        assert pool.statistics().timed_out == 3
        assert await pool.call("echo", 1) == 1


async def test_lease_outside_its_block_is_dead_for_ever(module: FakeModule) -> None:
    """Also where its instance serves another task by then, and through its memory."""
    async with open_pool(module, size=1) as pool:
        lease = pool.lease()
        with pytest.raises(RuntimeError, match="was not entered"):
            await lease.call("echo", 1)
        with pytest.raises(RuntimeError, match="was not entered"):
            lease.generation  # noqa: B018
        async with lease:
            memory = lease.memory
            memory.write(0, b"abc")
            assert memory.read(0, 3) == b"abc"
            assert memory.size == 64
            assert repr(lease) == "<Lease of pool 'fake': instance 1>"
        async with pool.lease():
            uses: list[Callable[[], Any]] = [
                lambda: memory.read(0, 3), lambda: memory.write(0, b""), lambda: memory.size,
                lambda: lease.memory, lease.discard,
            ]  # fmt: skip
            for use in uses:
                with pytest.raises(LeaseExpired, match="has ended"):
                    use()
            for call in (lease.call, lease.exchange):
                with pytest.raises(LeaseExpired):
                    await call("echo", b"")
            assert lease.generation == 1
            assert not lease.closing.is_set()


async def test_lease_is_used_by_one_child_at_a_time(module: FakeModule) -> None:
    """Two at once is BusyResourceError, and so is memory during a call."""
    async with open_pool(module) as pool, pool.lease() as lease:
        release = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.call, "wait", release)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await lease.call("echo", 1)
            with pytest.raises(trio.BusyResourceError):
                lease.memory.read(0, 1)
            release.set()
        assert await lease.call("echo", 1) == 1


async def test_block_that_ends_during_a_childs_call_ends_the_call(module: FakeModule) -> None:
    """The child has LeaseExpired, and the instance does not serve again."""
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:

        async def child(call: Callable[..., Awaitable[Any]]) -> None:
            with pytest.raises(LeaseExpired, match="while a call on it was under way"):
                await call("spin")

        async with pool.lease() as lease:
            nursery.start_soon(child, lease.call)
            await wait_all_tasks_blocked()
        assert await pool.call("echo", 1) == 1
        assert len(module.instances) == 2


# --- deadlock -------------------------------------------------------------------------------


async def test_guest_whose_host_function_calls_the_pool_again_has_lease_deadlock(
    module: FakeModule,
) -> None:
    """It runs in the same task, and nobody else could end its wait; whatever its max_wait."""
    async with open_pool(module, size=1, max_wait=1000) as pool:

        async def host_function() -> Any:
            return await pool.call("echo", 1)

        with pytest.raises(LeaseDeadlock, match=r"make size larger"):
            await pool.call("host", host_function)
        assert pool.statistics().deadlocked == 1
        await pool.resize(2)
        assert await pool.call("host", host_function) == 1


async def test_holders_that_wait_for_each_other_are_told_the_latest_first(
    module: FakeModule,
) -> None:
    """The latest asker gives up its lease, which serves the other."""
    async with open_pool(module, size=2) as pool:
        held = trio.Event()
        results: list[str] = []

        async def hold_and_ask(name: str) -> None:
            async with pool.lease():
                await held.wait()
                if name == "late":
                    await wait_all_tasks_blocked()
                try:
                    await pool.call("echo", 1)
                except LeaseDeadlock:
                    results.append(f"{name}: deadlock")
                else:
                    results.append(f"{name}: served")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_and_ask, "early")
            nursery.start_soon(hold_and_ask, "late")
            await settle(pool)
            held.set()
        assert results == ["late: deadlock", "early: served"]


async def test_no_deadlock_is_seen_where_a_wait_can_end(module: FakeModule) -> None:
    """With room, a start, a retirement, or another holder that does not wait."""
    async with open_pool(module, size=2) as pool, trio.open_nursery() as nursery:
        release = trio.Event()
        async with pool.lease():
            assert await pool.call("echo", 1) == 1  # there was room
            nursery.start_soon(pool.call, "wait", release)
            await settle(pool)
            nursery.start_soon(pool.call, "echo", 2)
            await settle(pool)

            async def let_go() -> None:
                await wait_all_tasks_blocked()
                release.set()

            nursery.start_soon(let_go)
            assert await pool.call("echo", 3) == 3
        module.close_gate = trio.Event()
        async with pool.lease():
            async with pool.lease() as lease:
                lease.discard()

            async def finish_close() -> None:
                await wait_all_tasks_blocked()
                assert pool.statistics().retiring == 1
                assert module.close_gate is not None
                module.close_gate.set()

            nursery.start_soon(finish_close)
            assert await pool.call("echo", 4) == 4
        assert pool.statistics().deadlocked == 0


async def test_deadlock_that_a_resize_brings_about_is_seen(module: FakeModule) -> None:
    """The rule is looked at after every transition, not only when somebody asks."""
    async with open_pool(module, size=2) as pool, trio.open_nursery() as nursery:
        answers: list[type] = []

        async def hold_and_ask() -> None:
            async with pool.lease():
                try:
                    await pool.call("echo", 1)
                except LeaseDeadlock as error:
                    answers.append(type(error))

        release = trio.Event()
        nursery.start_soon(pool.call, "wait", release)
        await settle(pool)
        nursery.start_soon(hold_and_ask)
        await settle(pool)
        await pool.resize(1)
        assert not answers
        release.set()
        await settle(pool)
        assert answers == [LeaseDeadlock]


# --- where a pool belongs -------------------------------------------------------------------


async def test_pool_of_another_run_is_refused(module: FakeModule) -> None:
    """With a sentence that says what to do instead."""
    async with open_pool(module) as pool:

        async def elsewhere() -> None:
            for operation in (
                lambda: pool.call("echo", 1), lambda: pool.resize(1), lambda: pool.reload(module),
                pool.aclose, pool.lease_nowait().__aenter__,
            ):  # fmt: skip
                with pytest.raises(RuntimeError, match="another trio run: open one in each"):
                    await operation()

        await trio.to_thread.run_sync(trio.run, elsewhere)
        assert pool.statistics().asked == 0
