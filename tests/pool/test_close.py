"""Closing a pool: who is told what, and when, and that nothing is left."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import Trap
from tests.pool.seams import check_invariants, settle
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool._errors import LeaseRevoked, PoolClosed, PoolTimeout
from wasmpool._pool.pool import open_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pool.fakes import FakeModule


async def test_close_revokes_computing_calls_after_the_grace(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """Eight LeaseRevoked after 0.2 s, while waiters had PoolClosed at once."""
    async with open_pool(module, size=8) as pool, trio.open_nursery() as nursery:
        revoked: list[float] = []
        refused: list[float] = []

        async def spin() -> None:
            with pytest.raises(LeaseRevoked, match="it closed, and the grace is over"):
                await pool.call("spin")
            revoked.append(trio.current_time())

        async def wait() -> None:
            with pytest.raises(PoolClosed):
                await pool.call("echo", 1)
            refused.append(trio.current_time())

        for _ in range(8):
            nursery.start_soon(spin)
        await settle(pool)
        for _ in range(3):
            nursery.start_soon(wait)
        await settle(pool)
        before = trio.current_time()
        await pool.aclose(grace=0.2)
        assert trio.current_time() == pytest.approx(before + 0.2)
        assert not module.live
        await settle(pool)
        assert refused == [before] * 3
        assert revoked == pytest.approx([before + 0.2] * 8)
        assert pool.statistics().retired["closed"] == 8


async def test_calls_that_end_within_the_grace_are_not_touched(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """``closing`` tells their holders; the close returns as soon as the last lease ends."""
    async with open_pool(module) as pool, trio.open_nursery() as nursery:
        told: list[bool] = []

        async def holder() -> None:
            async with pool.lease() as lease:
                await lease.closing.wait()
                told.append(True)
                await lease.call("sleep", 3)

        nursery.start_soon(holder)
        await settle(pool)
        before = trio.current_time()
        await pool.aclose(grace=100)
        assert trio.current_time() == pytest.approx(before + 3)
        assert told == [True]


async def test_outer_cancellation_wins_over_a_revocation(module: FakeModule) -> None:
    """The task that is cancelled sees its own cancellation."""
    async with open_pool(module) as pool, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def holder() -> None:
            with scope:
                await pool.call("spin")

        nursery.start_soon(holder)
        await settle(pool)
        scope.cancel()
        await pool.aclose(grace=0)
        await settle(pool)
        assert scope.cancelled_caught


async def test_shielded_host_function_delays_nobody(module: FakeModule) -> None:
    """LeaseRevoked follows when it returns."""
    async with open_pool(module) as pool, trio.open_nursery() as nursery:
        leave = trio.Event()
        revoked = trio.Event()

        async def holder() -> None:
            with pytest.raises(LeaseRevoked):
                await pool.call("shielded", leave)
            revoked.set()

        nursery.start_soon(holder)
        await settle(pool)
        await pool.aclose(grace=0)
        assert pool.state == "closed"
        assert not revoked.is_set()
        leave.set()


@pytest.mark.parametrize("method", ["aclose", "drain", "reload"])
async def test_holder_that_would_wait_for_itself_is_refused_at_once(
    module: FakeModule, method: str
) -> None:
    """In its block, and in a host function of its call; from a nursery it works."""
    async with open_pool(module, size=2) as pool:
        operation: Callable[[], Any] = getattr(pool, method)
        if method == "reload":
            operation = partial(pool.reload, module, force=True)

        async def host_function() -> None:
            with pytest.raises(RuntimeError, match=f"{method} of pool 'fake' by task .* nursery"):
                await operation()

        await pool.call("host", host_function)
        async with trio.open_nursery() as nursery, pool.lease():
            await host_function()
            nursery.start_soon(operation)
            await settle(pool)
            assert pool.generation == (2 if method == "reload" else 1)
            assert pool.state == ("open" if method == "reload" else "closing")


async def test_lease_that_the_block_itself_still_holds_ends_with_it(module: FakeModule) -> None:
    """It could not be given back any more: nobody waits for its grace."""
    async with open_pool(module, grace=float("inf")) as pool:
        lease = pool.lease()
        await lease.__aenter__()
    assert pool.state == "closed"
    with pytest.raises(LeaseRevoked):
        await lease.call("echo", 1)
    await lease.__aexit__(None, None, None)
    check_invariants(pool)


async def test_cancelled_block_closes_with_a_grace_of_zero(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """Also where another task's close with a long grace is under way."""
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_pool(module) as pool:

                async def holder() -> None:
                    with pytest.raises(LeaseRevoked):
                        await pool.call("spin")

                nursery.start_soon(holder)
                await settle(pool)
                nursery.start_soon(pool.drain)
                await settle(pool)
                scope.cancel()
        assert scope.cancelled_caught
        assert not module.live
        assert trio.current_time() == 0


async def test_shielded_part_of_a_cancelled_block_can_still_use_the_pool(
    module: FakeModule,
) -> None:
    """The pool's own tasks are not cancelled before its block has ended."""
    with trio.CancelScope() as scope:
        async with open_pool(module, min_size=0) as pool:
            scope.cancel()
            with trio.CancelScope(shield=True):
                assert await pool.call("echo", 1) == 1
                await wait_all_tasks_blocked()
                async with pool.lease(), pool.lease():
                    pass
                assert pool.statistics().granted == 3
    assert scope.cancel_called
    assert not module.live


async def test_queue_is_served_by_new_instances_where_old_ones_break(module: FakeModule) -> None:
    """With "serve" the promise to the queue holds whatever happens to the instances."""
    async with open_pool(module, size=1, queue_on_close="serve") as pool:
        async with trio.open_nursery() as nursery:
            results: list[Any] = []

            async def wait() -> None:
                results.append(await pool.call("number"))

            async with pool.lease() as lease:
                nursery.start_soon(wait)
                await settle(pool)
                nursery.start_soon(wait)
                await settle(pool)
                nursery.start_soon(pool.aclose)
                await settle(pool)
                lease.discard()
        assert results == [2, 2]


async def test_queue_that_is_served_is_refused_when_the_grace_ends(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """The grace bounds the close, whatever task waits for it."""
    async with open_pool(module, size=1, queue_on_close="serve") as pool:
        async with trio.open_nursery() as nursery:

            async def expect(error: type[Exception], *call: Any) -> None:
                with pytest.raises(error):
                    await pool.call(*call)

            nursery.start_soon(expect, LeaseRevoked, "spin")
            await settle(pool)
            nursery.start_soon(expect, PoolClosed, "echo", 1)
            await settle(pool)
            await pool.aclose(grace=2)
        assert trio.current_time() == pytest.approx(2)


async def test_closed_pool_refuses_everything_but_questions(module: FakeModule) -> None:
    """And closing it again is nothing."""
    async with open_pool(module, name="echo") as pool:
        await pool.aclose()
        for operation in (
            partial(pool.call, "echo", 1), partial(pool.exchange, "echo"), partial(pool.resize, 3),
            partial(pool.reload, module), pool.lease().__aenter__,
        ):  # fmt: skip
            with pytest.raises(PoolClosed, match="pool 'echo' is closed"):
                await operation()
        await pool.aclose()
        await pool.drain()
    assert repr(pool) == "<Pool 'echo' closed gen=1: 0 leased, 0 idle, 0 waiting, size 8>"
    assert pool.statistics().refused_closed == 3
    assert pool.leases() == ()


@pytest.mark.parametrize("grace", [-1, float("nan"), "1", True])
async def test_grace_that_is_none_is_refused(module: FakeModule, grace: Any) -> None:
    """Before anything is closed."""
    async with open_pool(module) as pool:
        with pytest.raises((TypeError, ValueError), match="grace must be"):
            await pool.aclose(grace=grace)
        with pytest.raises((TypeError, ValueError), match="grace must be"):
            await pool.reload(module, grace=grace)
        assert pool.state == "open"


async def test_close_that_serves_the_queue_goes_on_when_the_queue_gives_up(
    module: FakeModule,
) -> None:
    """The start that was for the last waiter is cancelled with it."""
    async with open_pool(module, size=1, min_size=0, queue_on_close="serve") as pool:
        module.script.append(trio.Event())
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def wait() -> None:
                with scope:
                    await pool.call("echo", 1)

            nursery.start_soon(wait)
            await settle(pool)
            nursery.start_soon(pool.aclose)
            await settle(pool)
            assert pool.statistics().starting == pool.statistics().waiting == 1
            scope.cancel()
            await settle(pool)
            assert pool.state == "closed"


async def test_close_that_serves_the_queue_goes_on_when_the_queue_times_out(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """With the last in line the start that was for it has no purpose."""
    options: Any = {"size": 1, "min_size": 0, "queue_on_close": "serve", "max_wait": 5}
    async with open_pool(module, **options) as pool, trio.open_nursery() as nursery:
        module.script.append(trio.Event())

        async def wait() -> None:
            with pytest.raises(PoolTimeout):
                await pool.call("echo", 1)

        nursery.start_soon(wait)
        await settle(pool)
        await pool.aclose(grace=20)
        assert trio.current_time() == pytest.approx(5)


async def test_a_close_that_ends_the_program_ends_the_block_and_the_others_are_closed(
    module: FakeModule,
) -> None:
    """What is no Exception comes out of the block, as soon as the pool is closed."""
    module.close_errors.append(SystemExit(3))

    async def use() -> None:
        async with open_pool(module, size=3, min_size=3) as pool:
            await pool.resize(1, 1)
            await trio.sleep_forever()

    with trio.fail_after(5), pytest.raises(SystemExit) as info:
        await use()
    assert info.value.code == 3
    assert not module.live


async def test_a_close_that_takes_its_time_holds_up_no_other(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """What was retired before it and after it goes meanwhile."""
    async with open_pool(module, size=40, min_size=1) as pool:
        module.close_gate = gate = trio.Event()
        with pytest.raises(Trap):
            await pool.call("trap")
        await wait_all_tasks_blocked()
        module.close_gate = None
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(pool.call, "sleep", 1)
        await pool.resize(10, 1)
        await settle(pool)
        assert pool.statistics().retiring == 1
        gate.set()


async def test_a_close_that_fails_keeps_the_others_from_nothing(
    module: FakeModule, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and its place is free."""
    module.close_errors.append(ValueError("no close"))
    async with open_pool(module, size=3, min_size=3):
        pass
    assert "closing instance" in caplog.text
    assert not module.live
