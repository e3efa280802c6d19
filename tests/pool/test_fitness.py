"""A poisoned or closed instance never serves, whatever made it so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.seams import consecutive_failures, next_idle, retired, settle
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool._errors import PoolUnavailable, ReloadFailed
from wasmpool._pool.pool import Pool, open_pool
from wasmpool_host import (
    Caller,
    CallTimeout,
    GuestTrap,
    Instance,
    InstanceClosed,
    InstancePoisoned,
    Limits,
    Module,
    host_function,
)
from wasmpool_host.lowlevel import DrivenInstance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.pool.fakes import FakeInstance, FakeModule

CAUSES = {"cancelled": InstancePoisoned, "closed": InstanceClosed}


class Spoiler:
    """A setup or check that ends well, and spoils the instances with the numbers it is given."""

    def __init__(self, how: str, *, waits: bool = False) -> None:
        self.how = how
        self.waits = waits
        self.spoils: set[int] = set()
        self.seen: list[int] = []

    def __call__(self, instance: FakeInstance) -> Any:
        return self.later(instance) if self.waits else self.now(instance)

    def now(self, instance: FakeInstance) -> bool:
        self.seen.append(instance.number)
        if instance.number in self.spoils:
            instance.poisoned = self.how
        return True

    async def later(self, instance: FakeInstance) -> bool:
        await trio.lowlevel.checkpoint()
        return self.now(instance)


@pytest.fixture(params=["cancelled", "closed"])
def how(request: pytest.FixtureRequest) -> str:
    word: str = request.param
    return word


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def spoiler(request: pytest.FixtureRequest, how: str) -> Spoiler:
    return Spoiler(how, waits=request.param)


# --- setup ----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [1, 2, 3])
async def test_setup_that_spoils_one_of_the_first_instances_fails_the_open(
    module: FakeModule, spoiler: Spoiler, which: int
) -> None:
    """The cause says which instance it was and what is wrong with it."""
    spoiler.spoils = {which}
    with pytest.raises(PoolUnavailable, match="pool 'fake' cannot be opened") as info:
        async with open_pool(module, min_size=3, setup=spoiler):
            pytest.fail("it opened")
    cause = info.value.__cause__
    assert type(cause) is CAUSES[spoiler.how]
    condition = "closed" if spoiler.how == "closed" else "poisoned (cancelled)"
    assert f"is {condition} after its setup and cannot serve" in str(cause)


async def test_setup_that_spoils_the_instance_before_it_fails_the_open(
    module: FakeModule, how: str
) -> None:
    """An instance that was ready is looked at again when all of them are."""
    made: list[FakeInstance] = []

    def setup(instance: FakeInstance) -> None:
        made.append(instance)
        if len(made) == 2:
            made[0].poisoned = how

    with pytest.raises(PoolUnavailable) as info:
        async with open_pool(module, min_size=2, setup=setup):
            pytest.fail("it opened")
    assert isinstance(info.value.__cause__, CAUSES[how])


async def test_setup_that_spoils_every_instance_fails_the_asker_with_the_cause(
    module: FakeModule, spoiler: Spoiler
) -> None:
    """It counts as a failed start, with its pause before the next one."""
    spoiler.spoils = {1}
    async with open_pool(module, size=2, min_size=0, setup=spoiler) as pool:
        with pytest.raises(PoolUnavailable) as info:
            await pool.call("number")
        assert isinstance(info.value.__cause__, CAUSES[spoiler.how])
        await settle(pool)
        assert retired(pool) == {"failed-start": 1}
        assert consecutive_failures(pool) == 1
        assert pool.statistics().start_seconds.count == 0


async def test_setup_that_spoils_a_grown_instance_leaves_the_line_as_it_is(
    module: FakeModule, spoiler: Spoiler
) -> None:
    """The tasks in line wait for the instance that is left, in the order of their arrival."""
    order: list[int] = []
    spoiler.spoils = {2}
    async with open_pool(module, size=2, setup=spoiler) as pool, trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            async with pool.lease() as lease:
                assert await lease.call("number") == 1
                order.append(number)

        async with pool.lease():
            for number in range(3):
                nursery.start_soon(ask, number)
                await settle(pool)
            assert spoiler.seen[:2] == [1, 2]
            assert retired(pool) == {"failed-start": 1}
            assert pool.statistics().waiting == 3
        await settle(pool)
        assert order == [0, 1, 2]


async def test_setup_that_spoils_a_replacement_is_tried_again_after_the_pause(
    module: FakeModule, spoiler: Spoiler, autojump_clock: MockClock
) -> None:
    """The pool comes back to ``min_size`` instances that can serve."""
    spoiler.spoils = {2}
    async with open_pool(module, size=2, setup=spoiler) as pool:
        async with pool.lease() as lease:
            lease.discard()
        await settle(pool)
        assert retired(pool) == {"discarded": 1, "failed-start": 1}
        assert pool.statistics().idle == 0
        await trio.sleep(1)
        assert pool.statistics().idle == 1
        assert await pool.call("number") == 3


@pytest.mark.parametrize("which", [1, 2])
async def test_setup_that_spoils_an_instance_of_a_reload_fails_it(
    make_module: Callable[..., FakeModule], spoiler: Spoiler, which: int
) -> None:
    """The old generation goes on serving, and everything new is closed."""
    old, new = make_module(1), make_module(2)
    spoiler.spoils = {which}
    async with open_pool(old, min_size=2) as pool:
        with pytest.raises(ReloadFailed, match="could not be started") as info:
            await pool.reload(new, setup=spoiler)
        assert isinstance(info.value.__cause__, CAUSES[spoiler.how])
        await settle(pool)
        assert retired(pool)["failed-start"] == 1
        assert not new.live
        assert await pool.call("version") == 1


async def test_second_instance_of_a_reload_that_spoils_the_first_fails_it(
    make_module: Callable[..., FakeModule], how: str
) -> None:
    """All of the new generation are looked at just before the switch."""
    made: list[FakeInstance] = []

    def setup(instance: FakeInstance) -> None:
        made.append(instance)
        if len(made) == 2:
            made[0].poisoned = how

    async with open_pool(make_module(1), min_size=2) as pool:
        with pytest.raises(ReloadFailed) as info:
            await pool.reload(make_module(2), setup=setup)
        assert isinstance(info.value.__cause__, CAUSES[how])
        await settle(pool)
        assert await pool.call("version") == 1


async def test_setup_that_swallows_the_cancel_of_start_timeout_has_failed(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """It took too long, though it ends well and its instance could serve."""

    async def setup(instance: FakeInstance) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return

    with pytest.raises(PoolUnavailable) as info:
        async with open_pool(module, setup=setup, start_timeout=2):
            pytest.fail("it opened")
    assert isinstance(info.value.__cause__, trio.TooSlowError)


# --- check ----------------------------------------------------------------------------------


async def test_check_that_spoils_an_instance_retires_it_as_unhealthy(
    module: FakeModule, spoiler: Spoiler, autojump_clock: MockClock
) -> None:
    """Though it returns True; the asker is served by the next instance."""
    spoiler.spoils = {1}
    async with open_pool(module, size=1, check=spoiler) as pool:
        await trio.sleep(2)
        assert await pool.call("number") == 2
        await settle(pool)
        assert spoiler.seen == [1]
        assert retired(pool) == {"unhealthy": 1}


async def test_check_that_spoils_an_instance_leaves_the_line_as_it_is(
    module: FakeModule, spoiler: Spoiler, autojump_clock: MockClock
) -> None:
    """The task that the check was for keeps its place, first in line."""
    order: list[int] = []
    spoiler.spoils = {1}
    async with open_pool(module, size=1, check=spoiler) as pool, trio.open_nursery() as nursery:
        await trio.sleep(2)

        async def ask(number: int) -> None:
            async with pool.lease():
                order.append(number)
                await trio.lowlevel.checkpoint()

        module.script.append(gate := trio.Event())
        for number in range(3):
            nursery.start_soon(ask, number)
            await settle(pool)
        assert retired(pool) == {"unhealthy": 1}
        gate.set()
        await settle(pool)
        assert order == [0, 1, 2]


async def test_check_that_spoils_the_first_instance_of_a_reload_fails_it(
    make_module: Callable[..., FakeModule], spoiler: Spoiler
) -> None:
    """As if it had returned False."""
    spoiler.spoils = {1}
    async with open_pool(make_module(1), check=spoiler) as pool:
        with pytest.raises(ReloadFailed, match="is not healthy: check returned True, but"):
            await pool.reload(make_module(2))
        await settle(pool)
        assert retired(pool) == {"unhealthy": 1}
        assert await pool.call("version") == 1


async def test_check_that_swallows_the_cancel_of_start_timeout_says_no(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """It took too long to be believed."""

    async def check(instance: FakeInstance) -> bool:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return True

    async with open_pool(module, size=1, check=check, start_timeout=3) as pool:
        await trio.sleep(2)
        assert await pool.call("number") == 2
        assert retired(pool) == {"unhealthy": 1}


async def take_lease(pool: Pool) -> None:
    async with pool.lease() as lease:
        await lease.call("bytes")


async def take_lease_nowait(pool: Pool) -> None:
    async with pool.lease_nowait() as lease:
        await lease.call("bytes")


# --- other code -----------------------------------------------------------------------------


async def test_idle_instance_that_other_code_spoils_is_not_granted(
    module: FakeModule, how: str
) -> None:
    """The next ask finds it, retires it with its own reason, and has the next idle instance."""
    async with open_pool(module, size=3, min_size=3) as pool:
        asks: list[Callable[[], Awaitable[Any]]] = [
            partial(pool.call, "bytes"), partial(pool.exchange, "bytes"),
            partial(take_lease, pool), partial(take_lease_nowait, pool),
        ]  # fmt: skip
        for ask in asks:
            spoilt = next_idle(pool)
            spoilt.poisoned = how
            before = len(spoilt.calls)
            await ask()
            assert len(spoilt.calls) == before
            await settle(pool)
            assert pool.statistics().idle == 3
        assert retired(pool) == {how: 4}


async def test_lease_nowait_does_not_have_the_only_idle_instance_if_it_is_spoilt(
    module: FakeModule, how: str
) -> None:
    """It would block; a replacement begins in the background."""
    async with open_pool(module, size=1) as pool:
        module.instances[0].poisoned = how
        with pytest.raises(trio.WouldBlock):
            async with pool.lease_nowait():
                pytest.fail("granted")
        await settle(pool)
        assert retired(pool) == {how: 1}
        async with pool.lease_nowait() as lease:
            assert await lease.call("number") == 2


async def test_spoilt_instance_that_would_need_a_check_is_not_checked(
    module: FakeModule, how: str, autojump_clock: MockClock
) -> None:
    """It is retired with its own reason when a task in line would have it."""
    checker = Spoiler(how)
    async with open_pool(module, size=2, min_size=2, check=checker) as pool:
        await trio.sleep(2)
        for instance in module.instances:
            instance.poisoned = how
        assert await pool.call("number") == 3
        assert checker.seen == []
        assert retired(pool) == {how: 2}


async def test_instance_that_is_spoilt_during_its_lease_retires_at_the_end(
    module: FakeModule, how: str
) -> None:
    """By a child task of the holder, or by code that kept it."""
    async with open_pool(module, size=1) as pool:
        async with pool.lease():
            module.instances[0].poisoned = how
        assert retired(pool) == {how: 1}
        assert await pool.call("number") == 2
        async with pool.lease() as lease, trio.open_nursery() as nursery:
            nursery.start_soon(lease.call, "spin")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await settle(pool)
        assert await pool.call("number") == 3


# --- the same on wasm -----------------------------------------------------------------------

WAT = """(module
  (func (export "ok") (result i32) i32.const 1)
  (func (export "trap") unreachable)
  (func (export "spin") (loop br 0)))"""


async def cancel_a_call(instance: Instance) -> None:
    """Until one has begun: a cancel before that leaves the instance as it was."""
    while instance.poisoned is None:
        with trio.move_on_after(0.01):
            await instance.call("spin")


async def swallow_a_trap(instance: Instance) -> None:
    with pytest.raises(GuestTrap):
        await instance.call("trap")


async def swallow_a_timeout(instance: Instance) -> None:
    while instance.poisoned is None:  # it may time out before it has begun
        with pytest.raises(CallTimeout):
            await instance.call("spin")


async def close(instance: Instance) -> None:
    await instance.aclose()


def close_now(instance: Instance) -> None:
    assert isinstance(instance, DrivenInstance)
    assert instance.close_now()


SPOILERS = [cancel_a_call, swallow_a_trap, swallow_a_timeout, close, close_now]


async def compiled() -> Module:
    return await Module.compile(WAT, limits=Limits(call_seconds=0.05))


@pytest.mark.parametrize("spoil", SPOILERS)
async def test_setup_that_spoils_a_guest_fails_the_open_and_the_reload(
    spoil: Callable[[Instance], Awaitable[None] | None],
) -> None:
    """By a cancel, a trap or a timeout that it does not let pass, or by closing it."""
    module = await compiled()
    cause = InstanceClosed if "close" in spoil.__name__ else InstancePoisoned
    with pytest.raises(PoolUnavailable) as info:
        async with open_pool(module, setup=spoil):
            pytest.fail("it opened")
    assert isinstance(info.value.__cause__, cause)
    async with open_pool(module) as pool:
        with pytest.raises(ReloadFailed) as failed:
            await pool.reload(module, setup=spoil)
        assert isinstance(failed.value.__cause__, cause)
        assert await pool.call("ok") == 1
        assert retired(pool) == {"failed-start": 1}


@pytest.mark.parametrize("spoil", SPOILERS)
async def test_idle_guest_that_other_code_spoils_is_not_granted(
    spoil: Callable[[Instance], Awaitable[None] | None],
) -> None:
    """A setup kept it, and its own task uses or closes it while the pool has it."""
    kept: list[Instance] = []
    async with open_pool(await compiled(), setup=kept.append) as pool:
        result = spoil(kept[0])
        if result is not None:
            await result
        assert await pool.call("ok") == 1
        async with pool.lease() as lease:
            assert await lease.call("ok") == 1
        assert len(kept) == 2
        assert sum(retired(pool).values()) == 1


async def test_guest_that_other_code_is_in_poisons_nothing_else() -> None:
    """Its holder has BusyResourceError meanwhile; cancelled in the call, it retires."""
    inside = trio.Event()

    @host_function("env", "wait")
    async def wait(_: Caller) -> None:
        inside.set()
        await trio.sleep_forever()

    module = await Module.compile(
        '(module (import "env" "wait" (func $wait)) (func (export "wait") call $wait)'
        ' (func (export "ok") (result i32) i32.const 1))',
        imports=[wait],
    )
    kept: list[Instance] = []
    async with open_pool(module, size=1, setup=kept.append) as pool:
        async with pool.lease() as lease, trio.open_nursery() as nursery:
            nursery.start_soon(partial(kept[0].call, "wait"))
            await inside.wait()
            with pytest.raises(trio.BusyResourceError):
                await lease.call("ok")
            nursery.cancel_scope.cancel()
        assert await pool.call("ok") == 1
        assert retired(pool) == {"cancelled": 1}


async def test_closed_instance_says_so() -> None:
    """The first reason stays, as for every other way to be of no more use."""
    module = await Module.compile(WAT)
    instance = await module.instantiate()
    assert instance.poisoned is None
    await instance.aclose()
    assert instance.poisoned == "closed"
    other = await module.instantiate()
    with pytest.raises(GuestTrap):
        await other.call("trap")
    await other.aclose()
    assert other.poisoned == "trap"
