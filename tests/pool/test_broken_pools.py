"""Cases that broke other pools, one test each: the table of the project's promises."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import FakeInstance, FakeModule, FakeStart, Trap
from tests.pool.seams import check_invariants, idle_slots, settle
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool._errors import (
    LeaseExpired,
    LeaseRevoked,
    PoolClosed,
    PoolTimeout,
    PoolUnavailable,
    ReloadFailed,
)
from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Callable


async def hold(
    pool: Pool, until: trio.Event, log: list[Any] | None = None, tag: Any = None
) -> None:
    async with pool.lease() as lease:
        if log is not None:
            log.append(tag if tag is not None else lease.generation)
        await until.wait()


# --- handed over and cancelled at once ------------------------------------------------------


@pytest.mark.parametrize("first", ["hand-over", "cancel"])
async def test_waiter_cancelled_at_the_moment_it_is_handed_an_instance(
    module: FakeModule, first: str
) -> None:
    """In one step: what comes first counts, and the instance is neither lost nor given twice.

    Handed over and then cancelled, the waiter has it, and gives it back at its next checkpoint.
    """
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        scope, go = trio.CancelScope(), trio.Event()
        served: list[str] = []

        async def wait() -> None:
            with scope:
                await hold(pool, trio.Event(), served, "cancelled")

        lease = await pool.lease().__aenter__()
        nursery.start_soon(wait)
        await settle(pool)
        nursery.start_soon(hold, pool, go, served, "next")
        await settle(pool)
        if first == "cancel":
            scope.cancel()
        await lease.__aexit__(None, None, None)  # it has no checkpoint
        scope.cancel()
        assert served == []
        await settle(pool)
        assert served == (["cancelled", "next"] if first == "hand-over" else ["next"])
        assert pool.statistics().cancelled == (first == "cancel")
        assert pool.statistics().granted == 1 + len(served)
        go.set()
        await settle(pool)
        assert await pool.call("echo", 1) == 1
        assert len(module.instances) == 1


@pytest.mark.parametrize("first", ["hand-over", "cancel"])
@pytest.mark.parametrize("name", ["echo", "wait"])
async def test_waiter_with_a_call_cancelled_at_the_moment_it_is_handed_an_instance(
    module: FakeModule, first: str, name: str
) -> None:
    """Handed over first, a short call has returned, and a long one has begun and is cancelled."""
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        event, answers = trio.Event(), list[Any]()

        async def call() -> None:
            with scope:
                answers.append(await pool.call(name, event))

        lease = await pool.lease().__aenter__()
        nursery.start_soon(call)
        await settle(pool)
        if first == "cancel":
            scope.cancel()
        await lease.__aexit__(None, None, None)
        scope.cancel()
        await settle(pool)
        handed = first == "hand-over"
        assert answers == ([event] if handed and name == "echo" else [])
        assert pool.statistics().cancelled == (not handed)
        assert pool.statistics().retired["cancelled"] == (handed and name == "wait")
        assert await pool.call("echo", 1) == 1


# --- a start finishes too late --------------------------------------------------------------


async def test_start_that_finishes_after_a_close_is_closed_and_never_granted(
    module_in_tasks: FakeModule,
) -> None:
    """Also one that cannot be cancelled; its setup is not even run."""
    module = module_in_tasks
    gate = trio.Event()
    set_up: list[FakeInstance] = []

    async def shielded(start: FakeStart) -> None:
        with trio.CancelScope(shield=True):
            await gate.wait()
            await FakeModule.follow(module, start)

    async with open_pool(module, size=2, min_size=0, setup=set_up.append) as pool:
        module.follow = shielded  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(PoolClosed):
                    await pool.call("echo", 1)

            nursery.start_soon(ask)
            await settle(pool)
            nursery.start_soon(pool.aclose)
            await settle(pool)
            assert pool.statistics().starting == 1
            gate.set()
            await settle(pool)
        assert pool.state == "closed"
        assert not set_up
    assert pool.statistics().retired["closed"] == 1


async def test_start_that_finishes_after_a_reload_is_closed_and_never_granted(
    make_module: Callable[..., FakeModule],
) -> None:
    """The waiter whose start it was has the new generation long before."""
    old, new = make_module(1), make_module(2)
    gate = trio.Event()
    versions: list[Any] = []
    set_up: list[FakeInstance] = []
    opened = open_pool(old, size=2, setup=set_up.append)
    async with opened as pool, trio.open_nursery() as nursery, pool.lease():
        old.script.append(gate)

        async def ask() -> None:
            versions.append(await pool.call("version"))

        nursery.start_soon(ask)
        await settle(pool)
        nursery.start_soon(partial(pool.reload, new))
        await settle(pool)
        assert versions == [2]
        gate.set()
        await settle(pool)
        assert [instance.closed for instance in old.instances] == [False, True]
        assert old.instances[1] not in set_up


# --- starts and setups fail -----------------------------------------------------------------


async def test_start_that_raises_while_waiters_queue_keeps_nobody_waiting_in_vain(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """While an instance is alive they wait for it; with none alive all have the cause at once."""
    async with open_pool(module, size=3, min_size=0) as pool, trio.open_nursery() as nursery:
        answers: list[Any] = []

        async def ask() -> None:
            try:
                answers.append(await pool.call("echo", 1))
            except PoolUnavailable as error:
                answers.append(error.__cause__)

        cause = ValueError("no start")
        module.script.extend([cause] * 3)
        started = trio.current_time()
        for _ in range(3):
            nursery.start_soon(ask)
        await settle(pool)
        assert answers == [cause] * 3
        assert trio.current_time() == started
        nursery.start_soon(ask)  # during the back-off
        await settle(pool)
        assert answers == [cause] * 4
        await trio.sleep(1)
        assert await pool.call("echo", 2) == 2
        async with pool.lease():  # one is alive: a failed start is nobody's end
            module.script.append(cause)
            nursery.start_soon(ask)
            await settle(pool)
            assert pool.statistics().waiting == 1
        await settle(pool)
        assert answers == [cause] * 4 + [1]


@pytest.mark.parametrize("k", [1, 2, 3])
async def test_setup_that_fails_for_the_kth_of_n_leaks_none(module: FakeModule, k: int) -> None:
    """Opening fails with the cause, and what was started before is closed."""
    count = 0
    all_are_there = trio.Event()

    async def setup(instance: FakeInstance) -> None:
        nonlocal count
        count += 1
        if count == 3:
            all_are_there.set()
        await all_are_there.wait()
        if instance.number == k:
            raise ValueError("setup")

    with pytest.raises(PoolUnavailable, match="cannot be opened") as info:
        async with open_pool(module, size=3, min_size=3, setup=setup):
            pytest.fail("it opened")
    assert isinstance(info.value.__cause__, ValueError)
    assert count == 3
    assert not module.live


async def test_failing_starts_never_take_capacity_away(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """After any number of failures all of ``size`` can be leased at once."""
    async with open_pool(module, size=3, min_size=0) as pool:
        for _ in range(20):
            module.script.append(ValueError("no start"))
            with pytest.raises(PoolUnavailable):
                await pool.call("echo", 1)
            await trio.sleep(6)
        async with pool.lease(), pool.lease(), pool.lease():
            assert pool.statistics().leased == 3
        assert pool.statistics().retired["failed-start"] == 20


# --- close ----------------------------------------------------------------------------------


async def test_queued_waiter_when_the_pool_closes_is_told_at_once(module: FakeModule) -> None:
    """Without time passing, while the lease it waits for is still held."""
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        release = trio.Event()
        nursery.start_soon(hold, pool, release)
        await wait_all_tasks_blocked()
        told = trio.Event()

        async def wait() -> None:
            with pytest.raises(PoolClosed, match="closing"):
                await pool.call("echo", 1)
            told.set()

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        nursery.start_soon(pool.aclose)
        await settle(pool)
        assert told.is_set()
        assert pool.statistics().leased == 1
        release.set()


async def test_queued_waiters_are_served_first_where_the_pool_is_opened_so(
    module: FakeModule,
) -> None:
    """With queue_on_close="serve" who is in line has a lease, and who comes later has not."""
    async with open_pool(module, size=1, queue_on_close="serve") as pool:
        async with trio.open_nursery() as nursery:
            release = trio.Event()
            served: list[int] = []
            for tag in range(4):
                nursery.start_soon(hold, pool, release, served, tag)
                await wait_all_tasks_blocked()
            nursery.start_soon(pool.aclose)
            await settle(pool)
            with pytest.raises(PoolClosed):
                await pool.call("echo", 1)
            release.set()
        assert served == [0, 1, 2, 3]
        assert pool.state == "closed"


# --- checks ---------------------------------------------------------------------------------


async def test_check_that_fails_twice_costs_no_time_while_healthy_instances_idle(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """The asker keeps its place, and has the third instance at the same moment."""
    async with open_pool(
        module, size=3, min_size=3, check=lambda instance: instance.healthy
    ) as pool:
        await trio.sleep(2)
        idle: list[Any] = [slot.instance for slot in idle_slots(pool)]
        for instance in idle[1:]:
            instance.healthy = False
        module.script.extend([gate := trio.Event()] * 2)  # what is started instead comes later
        before = trio.current_time()
        assert await pool.call("number") == idle[0].number
        assert trio.current_time() == before
        assert pool.statistics().retired["unhealthy"] == 2
        gate.set()


# --- what is broken does not come back ------------------------------------------------------


async def test_trapped_instance_never_serves_again(module: FakeModule) -> None:
    """Though the pool gives out the instance that was used last."""
    async with open_pool(module, size=2, min_size=2) as pool:
        for _ in range(5):
            with pytest.raises(Trap):
                await pool.call("trap")
            assert await pool.call("echo", 1) == 1
        assert [instance.calls.count("trap") for instance in module.instances].count(1) == 5
        assert all(instance.calls[-1] == "trap" for instance in module.instances if instance.closed)
        assert pool.statistics().retired["trap"] == 5


async def test_old_instance_released_after_the_reload_does_not_serve_again(
    make_module: Callable[..., FakeModule],
) -> None:
    """It is closed, and only then does the reload return."""
    old, new = make_module(1), make_module(2)
    async with open_pool(old, size=2) as pool, trio.open_nursery() as nursery:
        release = trio.Event()
        nursery.start_soon(hold, pool, release)
        await wait_all_tasks_blocked()
        returned = trio.Event()

        async def reload() -> None:
            assert await pool.reload(new) == 2
            returned.set()

        nursery.start_soon(reload)
        await settle(pool)
        assert pool.generation == 2
        assert not returned.is_set()
        release.set()
        await settle(pool)
        assert returned.is_set()
        assert not old.live
        assert {await pool.call("version") for _ in range(5)} == {2}


# --- releases -------------------------------------------------------------------------------


async def test_double_release_gives_back_once(module: FakeModule) -> None:
    """Also where the instance serves somebody else by then."""
    async with open_pool(module, size=1) as pool:
        lease = pool.lease()
        await lease.__aenter__()
        await lease.__aexit__(None, None, None)
        async with pool.lease() as second:
            await lease.__aexit__(None, None, None)
            assert pool.statistics().leased == 1
            assert await second.call("echo", 1) == 1
            with pytest.raises(LeaseExpired):
                await lease.call("echo", 1)
        with pytest.raises(RuntimeError, match="entered once"):
            await lease.__aenter__()
        check_invariants(pool)


async def test_release_by_another_task_is_a_release(module: FakeModule) -> None:
    """A stack that carries a lease may be closed by another task; the books stay right."""
    async with open_pool(module, size=1) as pool:
        stack = AsyncExitStack()
        lease = await stack.enter_async_context(pool.lease())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.aclose)
        check_invariants(pool)
        assert pool.statistics().idle == 1
        with pytest.raises(LeaseExpired):
            await lease.call("echo", 1)


async def test_release_after_the_close_is_silent(module: FakeModule) -> None:
    """The lease was revoked: its next use says so, leaving its block does not."""
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        ready, closed = trio.Event(), trio.Event()

        async def holder() -> None:
            async with pool.lease() as lease:
                ready.set()
                await closed.wait()
                with pytest.raises(LeaseRevoked):
                    await lease.call("echo", 1)

        nursery.start_soon(holder)
        await ready.wait()
        await pool.aclose(grace=0)
        assert pool.state == "closed"
        assert not module.live
        closed.set()
    check_invariants(pool)


# --- closes and reloads that meet -----------------------------------------------------------


async def test_close_during_close_waits_for_the_same_end(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """All callers return when everything is closed; the earliest deadline counts."""
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        ended: list[float] = []

        async def close(grace: float) -> None:
            await pool.aclose(grace=grace)
            assert not module.live
            ended.append(trio.current_time())

        async def holder() -> None:
            with pytest.raises(LeaseRevoked):
                await pool.call("spin")

        nursery.start_soon(holder)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        for grace in (20.0, 5.0, 10.0):
            nursery.start_soon(close, grace)
            await trio.sleep(1)
    assert ended == pytest.approx([start + 6.0] * 3)


async def test_cancelled_close_cuts_the_grace_and_still_closes(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """The cancellation goes on once everything is closed; another closer's cancel ends nothing."""
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        revoked = trio.Event()

        async def holder() -> None:
            with pytest.raises(LeaseRevoked):
                await pool.call("spin")
            revoked.set()

        nursery.start_soon(holder)
        await wait_all_tasks_blocked()
        first, second = trio.CancelScope(), trio.CancelScope()

        async def close(scope: trio.CancelScope) -> None:
            with scope:
                await pool.drain()

        nursery.start_soon(close, first)
        await wait_all_tasks_blocked()
        nursery.start_soon(close, second)
        await wait_all_tasks_blocked()
        second.cancel()
        await settle(pool)
        assert second.cancelled_caught
        assert not revoked.is_set()
        first.cancel()
        await settle(pool)
        assert revoked.is_set()
        assert first.cancelled_caught
        assert pool.state == "closed"


@pytest.mark.parametrize("switched", [False, True])
async def test_close_while_a_reload_runs_closes_both_generations(
    make_module: Callable[..., FakeModule], switched: bool, autojump_clock: MockClock
) -> None:
    """The reload gets PoolClosed, before the switch and after it."""
    old, new = make_module(1), make_module(2)
    if not switched:
        new.script.append(trio.Event())
    async with open_pool(old, size=1) as pool, trio.open_nursery() as nursery:
        release = trio.Event()
        nursery.start_soon(hold, pool, release)
        await wait_all_tasks_blocked()

        async def reload() -> None:
            with pytest.raises(PoolClosed, match="during a reload"):
                await pool.reload(new)

        nursery.start_soon(reload)
        await settle(pool)
        assert pool.generation == (2 if switched else 1)
        nursery.start_soon(pool.aclose)
        await settle(pool)
        assert not new.live
        assert pool.statistics().leased == 1, "the lease of the old one has the grace of the close"
        release.set()
        await settle(pool)
        assert pool.state == "closed"


async def test_reload_while_a_reload_runs_comes_after_it(
    make_module: Callable[..., FakeModule],
) -> None:
    """One after another, in the order they were asked for; a failed one changes nothing."""
    modules = [make_module(number) for number in range(1, 5)]
    gate = trio.Event()
    modules[1].script.append(gate)
    modules[2].script.append(ValueError("bad"))
    numbers: list[Any] = []
    async with open_pool(modules[0], size=1) as pool, trio.open_nursery() as nursery:

        async def reload(module: FakeModule) -> None:
            try:
                numbers.append((module.identity, await pool.reload(module)))
            except ReloadFailed:
                numbers.append((module.identity, "failed"))

        for module in modules[1:]:
            nursery.start_soon(reload, module)
            await settle(pool)
        assert pool.generation == 1
        gate.set()
        await settle(pool)
        assert pool.generation == 3
        assert await pool.call("version") == 4
        assert sorted(numbers) == [(2, 2), (3, "failed"), (4, 3)]


# --- bounds ---------------------------------------------------------------------------------


async def test_resize_below_what_is_in_use_takes_effect_as_leases_end(module: FakeModule) -> None:
    """Nobody is disturbed; not one instance more than ``size`` is left in the end."""
    async with open_pool(module, size=7) as pool, trio.open_nursery() as nursery:
        releases = [trio.Event() for _ in range(7)]
        for release in releases:
            nursery.start_soon(hold, pool, release)
        await settle(pool)
        await pool.resize(4)
        assert pool.statistics().leased == 7
        for count, release in enumerate(releases, 1):
            release.set()
            await settle(pool)
            statistics = pool.statistics()
            assert statistics.idle + statistics.leased == max(4, 7 - count)
        assert pool.statistics().retired["shrunk"] == 3


async def test_max_wait_of_zero_has_an_idle_instance_but_waits_for_none(
    module: FakeModule,
) -> None:
    """And says who holds what."""
    async with open_pool(module, size=1, max_wait=0) as pool:
        assert await pool.call("echo", 1) == 1
        async with pool.lease(), trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(
                    PoolTimeout, match=r"max_wait=0 s: 1/1 leased, 1 waiting, oldest lease .* by"
                ):
                    await pool.call("echo", 1)

            nursery.start_soon(ask)
        check_invariants(pool)


# --- fairness -------------------------------------------------------------------------------


async def test_twenty_tasks_on_two_instances_have_a_fair_share(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """In 3 s of busy use the least served has at least 0.8 of the mean."""
    served: Counter[int] = Counter()
    async with open_pool(module, size=2) as pool:

        async def use(number: int) -> None:
            while True:
                await pool.call("sleep", 0.001 * (1 + number % 3))
                served[number] += 1

        with trio.move_on_after(3):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(use, number)
    mean = sum(served.values()) / 20
    assert len(served) == 20
    assert min(served.values()) >= 0.8 * mean


# --- holders --------------------------------------------------------------------------------


async def test_holder_that_never_gives_back_delays_a_close_by_the_grace_only(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """In a call and in its own code, shielded or not."""
    async with open_pool(module, size=3) as pool, trio.open_nursery() as nursery:
        forever = trio.Event()

        async def in_own_code() -> None:
            async with pool.lease():
                await forever.wait()

        async def in_a_call(*args: Any) -> None:
            with pytest.raises(LeaseRevoked):
                await pool.call(*args)

        nursery.start_soon(in_own_code)
        nursery.start_soon(in_a_call, "spin")
        nursery.start_soon(in_a_call, "shielded", forever)
        await settle(pool)
        before = trio.current_time()
        await pool.aclose(grace=2)
        assert trio.current_time() == pytest.approx(before + 2)
        assert not module.live
        forever.set()


async def test_task_cancelled_in_its_guest_ends_exactly_that_guest(module: FakeModule) -> None:
    """The instance is replaced; another call on the same pool is not disturbed."""
    async with open_pool(module, size=2) as pool, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        release = trio.Event()
        results: list[Any] = []

        async def spin() -> None:
            with scope:
                await pool.call("spin")

        async def wait() -> None:
            results.append(await pool.call("wait", release))

        nursery.start_soon(spin)
        nursery.start_soon(wait)
        await settle(pool)
        scope.cancel()
        await settle(pool)
        assert pool.statistics().retired["cancelled"] == 1
        assert not results
        release.set()
        await settle(pool)
        assert len(results) == 1
        async with pool.lease(), pool.lease():
            pass


async def test_slot_is_not_free_before_the_old_store_is(module: FakeModule) -> None:
    """Whoever waits for the place of a retired instance waits until it is closed."""
    module.close_gate = trio.Event()
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        with pytest.raises(Trap):
            await pool.call("trap")
        nursery.start_soon(pool.call, "echo", 1)
        await settle(pool)
        statistics = pool.statistics()
        assert (statistics.retiring, statistics.starting, statistics.waiting) == (1, 0, 1)
        module.close_gate.set()
        await settle(pool)
        assert pool.statistics().granted == 2
    assert module.most_live == 1
