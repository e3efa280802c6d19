"""Putting another module in service while calls run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.seams import generations_alive, live_instances, settle

from wasmpool._errors import LeaseRevoked, ReloadFailed
from wasmpool._pool.pool import KEEP, Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pool.fakes import FakeInstance, FakeModule
    from trio.testing import MockClock


async def test_reload_under_load_fails_no_call(
    make_module: Callable[..., FakeModule], autojump_clock: MockClock
) -> None:
    """32 tasks, 20 reloads: no call that began after a switch sees the version before it."""
    modules = [make_module(number) for number in range(1, 22)]
    alive: list[int] = []
    most_live = 0
    calls = 0

    class Watch:
        def instance_started(self, pool: Pool, *_: Any) -> None:
            nonlocal most_live
            most_live = max(most_live, live_instances(pool))
            alive.append(generations_alive(pool))

    async with open_pool(modules[0], size=8, min_size=2, instruments=[Watch()]) as pool:
        ended = False

        async def use(number: int) -> None:
            nonlocal calls
            while not ended:
                before = pool.generation
                async with pool.lease() as lease:
                    await lease.call("sleep", 0.001 * (1 + number % 7))
                    version = await lease.call("version")
                assert before <= version <= pool.generation
                assert version == lease.generation
                calls += 1

        async with trio.open_nursery() as nursery:
            for number in range(32):
                nursery.start_soon(use, number)
            for number, module in enumerate(modules[1:], 2):
                await trio.sleep(0.02)
                assert await pool.reload(module) == number
            ended = True
        assert calls > 500
        assert max(alive) <= 2
        assert most_live <= 8 + 2
        assert pool.statistics().reloads == 20


async def test_nursery_start_returns_when_the_new_generation_serves(
    make_module: Callable[..., FakeModule],
) -> None:
    """With its number, while the old one still drains."""
    async with open_pool(make_module(1), size=1) as pool, trio.open_nursery() as nursery:
        release = trio.Event()
        nursery.start_soon(pool.call, "wait", release)
        await settle(pool)
        number = await nursery.start(partial(pool.reload, make_module(2)))
        assert number == pool.generation == 2
        assert await pool.call("version") == 2
        assert pool.statistics().leased == 1
        release.set()


async def test_identical_module_is_a_no_op_unless_forced(
    make_module: Callable[..., FakeModule],
) -> None:
    """Identical is the module's identity, with the setup in service."""

    def setup(instance: FakeInstance) -> None:
        instance.setups += 1

    first, same = make_module(1), make_module(1)
    async with open_pool(first, setup=setup) as pool, trio.open_nursery() as nursery:
        assert await pool.reload(same) == 1
        assert await nursery.start(partial(pool.reload, same, setup=setup)) == 1
        assert same.starts == 0
        assert await pool.reload(same, force=True) == 2
        assert same.instances[0].setups == 1
        assert await pool.reload(same, setup=None) == 3
        assert same.instances[1].setups == 0
        assert await pool.reload(same, setup=KEEP) == 3
        assert repr(KEEP) == "KEEP"
        assert pool.statistics().reloads == 2


@pytest.mark.parametrize("failure", ["start", "setup", "check", "check raises", "second"])
async def test_failing_reload_is_not_noticed_by_the_old_generation(
    make_module: Callable[..., FakeModule], failure: str
) -> None:
    """ReloadFailed with the cause; everything new is closed."""
    old, new = make_module(1), make_module(2)
    cause = ValueError("bad")
    if failure == "start":
        new.script.append(cause)

    async def setup(instance: FakeInstance) -> None:
        await trio.lowlevel.checkpoint()
        if instance.module is not new:
            return
        if failure == "setup" or (failure == "second" and instance.number == 2):
            raise cause

    async def check(instance: FakeInstance) -> bool:
        if failure == "check raises":
            raise cause
        return failure != "check"

    async with open_pool(old, min_size=2, setup=setup, check=check) as pool:
        with pytest.raises(ReloadFailed, match="pool 'fake' goes on with generation 1") as info:
            await pool.reload(new)
        if failure != "check":
            assert info.value.__cause__ is cause
        await settle(pool)
        assert not new.live
        assert new.starts == (2 if failure == "second" else 1)
        assert await pool.call("version") == 1
        assert old.starts == 2
        retired = pool.statistics().retired
        assert retired["unhealthy"] == ("check" in failure)
        assert retired["failed-start"] == ("check" not in failure)


async def test_reload_makes_min_size_instances_ready_before_the_switch(
    make_module: Callable[..., FakeModule],
) -> None:
    """In places beside the full pool; waiters in line get them at once."""
    old, new = make_module(1), make_module(2)
    async with open_pool(old, size=3, min_size=2) as pool, trio.open_nursery() as nursery:
        release = trio.Event()
        versions: list[Any] = []
        for _ in range(3):
            nursery.start_soon(pool.call, "wait", release)
        await settle(pool)

        async def wait() -> None:
            versions.append(await pool.call("version"))

        nursery.start_soon(wait)
        await settle(pool)
        nursery.start_soon(pool.reload, new)
        await settle(pool)
        assert versions == [2]
        statistics = pool.statistics()
        assert (statistics.leased, statistics.idle) == (3, 2)
        release.set()


async def test_old_leases_are_revoked_when_the_grace_ends(
    make_module: Callable[..., FakeModule], autojump_clock: MockClock
) -> None:
    """Leases of the new generation are not touched; ``closing`` told the old ones before."""
    async with open_pool(make_module(1), size=2) as pool, trio.open_nursery() as nursery:
        told: list[int] = []

        async def holder() -> None:
            async with pool.lease() as lease:
                await lease.closing.wait()
                told.append(lease.generation)
                with pytest.raises(LeaseRevoked, match="its generation was replaced"):
                    await lease.call("spin")

        nursery.start_soon(holder)
        await settle(pool)
        assert await nursery.start(partial(pool.reload, make_module(2), grace=3)) == 2
        async with pool.lease() as lease:
            assert not lease.closing.is_set()
            await trio.sleep(5)
            assert await lease.call("version") == 2
        assert told == [1]
        assert pool.statistics().retired["replaced"] == 1


async def test_reload_returns_once_the_old_generation_is_gone(
    make_module: Callable[..., FakeModule], autojump_clock: MockClock
) -> None:
    """And not before its instances are closed."""
    old = make_module(1)
    async with open_pool(old, size=2) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.call, "sleep", 4)
        await settle(pool)
        await pool.reload(make_module(2))
        assert trio.current_time() == pytest.approx(4)
        assert not old.live


async def test_cancel_before_the_switch_is_like_a_failure(
    make_module: Callable[..., FakeModule],
) -> None:
    """Everything new is closed, and a later reload works."""
    new = make_module(2)
    new.script.append(trio.Event())
    async with open_pool(make_module(1)) as pool:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.reload, new)
                await settle(pool)
                scope.cancel()
        await settle(pool)
        assert pool.generation == 1
        assert await pool.reload(new) == 2


async def test_cancel_after_the_switch_ends_the_grace(
    make_module: Callable[..., FakeModule], autojump_clock: MockClock
) -> None:
    """The new generation stays in service."""
    async with open_pool(make_module(1), grace=float("inf")) as pool:
        async with trio.open_nursery() as nursery:

            async def holder() -> None:
                with pytest.raises(LeaseRevoked):
                    await pool.call("spin")

            nursery.start_soon(holder)
            await settle(pool)
            with trio.move_on_after(2):
                await pool.reload(make_module(2))
        assert trio.current_time() == pytest.approx(2)
        assert await pool.call("version") == 2


async def test_reload_beyond_max_generations_waits_for_the_oldest_to_go(
    make_module: Callable[..., FakeModule], autojump_clock: MockClock
) -> None:
    """Which its grace bounds; nothing of the newest is started before."""
    third = make_module(3)
    async with open_pool(make_module(1), size=2) as pool, trio.open_nursery() as nursery:

        async def holder() -> None:
            with pytest.raises(LeaseRevoked):
                await pool.call("spin")

        nursery.start_soon(holder)
        await settle(pool)
        await nursery.start(partial(pool.reload, make_module(2), grace=6))
        nursery.start_soon(pool.reload, third)
        await trio.sleep(5)
        assert third.starts == 0
        await trio.sleep(2)
        assert await pool.call("version") == 3


async def test_canary_waits_for_a_place_before_anybody_else(
    make_module: Callable[..., FakeModule],
) -> None:
    """Old leases count towards the bound: the first place that is freed is the reload's."""
    modules = [make_module(number) for number in (1, 2, 3)]
    async with open_pool(modules[0], size=2, max_generations=3) as pool:
        async with trio.open_nursery() as nursery:
            releases = [trio.Event() for _ in range(3)]
            for release in releases[:2]:
                nursery.start_soon(pool.call, "wait", release)
            await settle(pool)
            await nursery.start(pool.reload, modules[1])
            nursery.start_soon(pool.call, "wait", releases[2])
            await settle(pool)
            nursery.start_soon(pool.reload, modules[2])
            nursery.start_soon(pool.call, "version")
            await settle(pool)
            assert live_instances(pool) == 3
            assert modules[2].starts == 0
            releases[0].set()
            await settle(pool)
            assert pool.generation == 3
            assert pool.statistics().waiting == 0
            for release in releases:
                release.set()
        most = max(module.most_live for module in modules)
        assert most <= 3


async def test_start_of_the_old_generation_is_bounded_by_the_grace(
    make_module: Callable[..., FakeModule], autojump_clock: MockClock
) -> None:
    """It would close on arrival; one that never arrives is cancelled in the end."""
    old = make_module(1)
    async with open_pool(old, size=2) as pool, trio.open_nursery() as nursery, pool.lease():
        old.script.append(trio.Event())
        nursery.start_soon(pool.call, "version")
        await settle(pool)
        assert pool.statistics().starting == 1
        await nursery.start(partial(pool.reload, make_module(2), grace=3))
        await trio.sleep(2)
        assert pool.statistics().starting == 1
        await trio.sleep(2)
        assert pool.statistics().starting == 0
        assert pool.statistics().retired["replaced"] == 2
