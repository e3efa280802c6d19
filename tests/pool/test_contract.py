"""What a pool asks of its instances, and what it does with them: the same on fakes and on wasm.

Each test runs with the scripted fake that the other tests use, with real instances of modules, so
that the fake cannot promise what wasm does not keep, and with those of components.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import Closed, FakeModule, Trap
from tests.pool.seams import calls_under_way, check_invariants

import wasmpool_host
from wasmpool._errors import LeaseDeadlock, LeaseExpired, LeaseRevoked, ReloadFailed
from wasmpool._pool.options import drive
from wasmpool._pool.pool import Pool, open_pool
from wasmpool_host.lowlevel import PENDING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WAT = """
(module
  (import "env" "host" (func $host))
  (memory (export "memory") 1)
  (func (export "echo") (param i64) (result i64) local.get 0)
  (func (export "version") (result i64) i64.const {version})
  (func (export "trap") unreachable)
  (func (export "spin") (loop $again br $again))
  (func (export "grow") (param i32) (drop (memory.grow (local.get 0))))
  (func (export "host") call $host)
)
"""


COMPONENT = """
(component
  (import "host" (func $host))
  (core func $host (canon lower (func $host)))
  (core module $m
    (import "env" "host" (func $host))
    (memory (export "memory") 1)
    (func (export "echo") (param i64) (result i64) local.get 0)
    (func (export "version") (result i64) i64.const {version})
    (func (export "trap") unreachable)
    (func (export "spin") (loop $again br $again))
    (func (export "grow") (param i32) (drop (memory.grow (local.get 0))))
    (func (export "host") call $host))
  (core instance $i (instantiate $m (with "env" (instance (export "host" (func $host))))))
  (alias core export $i "memory" (core memory $memory))
  (func (export "echo") (param "x" s64) (result s64) (canon lift (core func $i "echo")))
  (func (export "version") (result s64) (canon lift (core func $i "version")))
  (func (export "trap") (canon lift (core func $i "trap")))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "grow") (param "pages" u32) (canon lift (core func $i "grow")))
  (func (export "host") (canon lift (core func $i "host"))))
"""


class Kind(ABC):
    """A kind of instance, and what is different about it."""

    trap: type[Exception]
    closed: type[Exception]
    shows_memory: bool = True

    def __init__(self) -> None:
        self.host: Callable[[], Awaitable[None]] = trio.sleep_forever

    async def run_host(self, *_: Any) -> None:
        await self.host()

    @abstractmethod
    async def module(self, version: int = 1) -> Any: ...

    @abstractmethod
    def calling_host(self) -> tuple[Any, ...]:
        """The call that comes to `run_host`."""

    @abstractmethod
    def growing(self) -> tuple[Any, ...]:
        """The call that grows the memory by a page."""


class Fake(Kind):
    trap = Trap
    closed = Closed

    async def module(self, version: int = 1) -> FakeModule:
        return FakeModule(version)

    def calling_host(self) -> tuple[Any, ...]:
        return ("host", self.run_host)

    def growing(self) -> tuple[Any, ...]:
        return ("grow", 200_000)


class Wasm(Kind):
    trap = wasmpool_host.GuestTrap
    closed = wasmpool_host.InstanceClosed

    async def module(self, version: int = 1) -> wasmpool_host.Module:
        host = wasmpool_host.host_function("env", "host", (), ())(self.run_host)
        return await wasmpool_host.Module.compile(WAT.format(version=version), imports=[host])

    def calling_host(self) -> tuple[Any, ...]:
        return ("host",)

    def growing(self) -> tuple[Any, ...]:
        return ("grow", 2)


class OfComponent(Kind):
    trap = wasmpool_host.GuestTrap
    closed = wasmpool_host.InstanceClosed
    shows_memory = False

    async def module(self, version: int = 1) -> wasmpool_host.Component:
        host = wasmpool_host.host_function("", "host")(self.run_host)
        return await wasmpool_host.Component.compile(
            COMPONENT.replace("{version}", str(version)), imports=[host]
        )

    def calling_host(self) -> tuple[Any, ...]:
        return ("host",)

    def growing(self) -> tuple[Any, ...]:
        return ("grow", 2)


@pytest.fixture(params=[Fake, Wasm, OfComponent])
def kind(request: pytest.FixtureRequest) -> Kind:
    made: Kind = request.param()
    return made


class Provoked(Exception):
    pass


async def started(module: Any) -> Any:
    instance = drive(module).new_instance()
    if instance.start() is PENDING:
        assert await instance.finish() is None
    return instance


async def until_leased(pool: Pool, count: int) -> None:
    while pool.statistics().leased < count:
        await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()  # a task that was just handed an instance uses it now
    await trio.lowlevel.checkpoint()


# --- an instance ----------------------------------------------------------------------------


async def test_instance_answers_and_is_as_good_as_before(kind: Kind) -> None:
    """run_call has no checkpoint of its own before the guest starts."""
    instance = await started(await kind.module(7))
    assert await instance.run_call("echo", (5,)) == 5
    assert await instance.run_call("version", ()) == 7
    assert instance.poisoned is None
    size = instance.memory_size
    await instance.run_call(kind.growing()[0], kind.growing()[1:])
    assert instance.memory_size > size > 0
    if kind.shows_memory:
        instance.memory.write(0, b"abc")
        assert instance.memory.read(0, 3) == b"abc"
    await instance.aclose()


async def test_a_short_call_is_done_in_its_first_slice(kind: Kind) -> None:
    """Nearly always: a guest may happen to be cut short. Its trap is raised there, too."""
    instance = await started(await kind.module())
    steps = [instance.start_call("echo", (5,))]
    while steps[-1] is PENDING and len(steps) < 100:
        assert await instance.finish() == 5
        steps.append(instance.start_call("echo", (5,)))
    assert steps[-1] == 5
    with pytest.raises(kind.trap):  # noqa: PT012 - one call, in one step or in two
        if instance.start_call("trap", ()) is PENDING:
            await instance.finish()
    assert instance.poisoned == "trap"
    await instance.aclose()


async def test_a_long_call_is_pending_until_it_is_finished(kind: Kind) -> None:
    """Meanwhile there can be no other; a cancel and an interrupt end it as any call."""
    module = await kind.module()
    instance = await started(module)
    assert instance.start_call("spin", ()) is PENDING
    with pytest.raises(trio.BusyResourceError):
        instance.start_call("echo", (5,))
    with trio.move_on_after(0.01) as scope:
        await instance.finish()
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"
    await instance.aclose()

    instance = await started(module)
    error = Provoked()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            assert instance.start_call("spin", ()) is PENDING
            with pytest.raises(Provoked) as info:
                await instance.finish()
            assert info.value is error

        await trio.sleep(0.01)
        instance.interrupt(error)
    await instance.aclose()


async def test_a_call_in_one_step_counts_as_a_lease(kind: Kind) -> None:
    """Nobody sees it, but it is in the statistics, and counts towards what retires an instance."""
    async with open_pool(await kind.module(), size=2, max_uses=3) as pool:
        for _ in range(2):
            assert await pool.call("echo", 5) == 5
        stats = pool.statistics()
        assert (stats.asked, stats.granted, stats.idle, stats.leased) == (2, 2, 1, 0)
        assert stats.wait_seconds.count == stats.lease_seconds.count == 2
        assert stats.retired["uses"] == 0
        assert await pool.call("echo", 5) == 5
        assert pool.statistics().retired["uses"] == 1
        with pytest.raises(kind.trap):
            await pool.call("trap")
        stats = pool.statistics()
        assert stats.retired["trap"] == 1
        assert (stats.asked, stats.granted) == (4, 4)
        check_invariants(pool)


async def test_instance_says_what_poisoned_it(kind: Kind) -> None:
    """Trap, a host function's exception, a cancel: each in the pool's own words."""
    module = await kind.module()
    instance = await started(module)
    with pytest.raises(kind.trap):
        await instance.run_call("trap", ())
    assert instance.poisoned == "trap"
    await instance.aclose()

    instance = await started(module)
    error = Provoked()

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    kind.host = fail
    name, *args = kind.calling_host()
    with pytest.raises(Provoked) as info:
        await instance.run_call(name, tuple(args))
    assert info.value is error
    assert instance.poisoned == "host-error"
    await instance.aclose()

    instance = await started(module)
    with trio.move_on_after(0.02) as scope:
        await instance.run_call("spin", ())
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"
    await instance.aclose()


@pytest.mark.parametrize("where", ["spin", "host"])
async def test_interrupt_ends_the_call_under_way(kind: Kind, where: str) -> None:
    """With the error that was given; without a call it does nothing."""
    instance = await started(await kind.module())
    instance.interrupt(Provoked("nothing to interrupt"))
    assert await instance.run_call("echo", (1,)) == 1
    assert instance.poisoned is None
    error = Provoked()
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            name, *args = kind.calling_host() if where == "host" else ("spin",)
            with pytest.raises(Provoked) as info:
                await instance.run_call(name, tuple(args))
            assert info.value is error

        nursery.start_soon(call)
        await trio.sleep(0.01)
        with pytest.raises(trio.BusyResourceError):
            await instance.run_call("echo", (1,))
        instance.interrupt(error)
    assert instance.poisoned is not None
    await instance.aclose()


async def test_close_ends_a_call_that_its_host_function_shields(kind: Kind) -> None:
    """It does not wait for the host function; the call ends when that returns."""
    instance = await started(await kind.module())
    leave = trio.Event()
    ended = trio.Event()

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await leave.wait()

    kind.host = shielded

    async def call() -> None:
        name, *args = kind.calling_host()
        with pytest.raises(kind.closed):
            await instance.run_call(name, tuple(args))
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.sleep(0.01)
        await instance.aclose()
        assert not ended.is_set()
        leave.set()


# --- a pool of them -------------------------------------------------------------------------


async def test_broken_instances_are_replaced(kind: Kind) -> None:
    """Each with its reason; the pool serves as before."""
    async with open_pool(await kind.module(), size=2, max_memory=150_000) as pool:
        with pytest.raises(kind.trap):
            await pool.call("trap")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, "spin")
            await until_leased(pool, 1)
            nursery.cancel_scope.cancel()
        await pool.call(*kind.growing())

        async def fail() -> None:
            raise Provoked

        kind.host = fail
        with pytest.raises(Provoked):
            await pool.call(*kind.calling_host())
        assert await pool.call("echo", 3) == 3
        check_invariants(pool)
        retired = pool.statistics().retired
    assert {reason for reason, count in retired.items() if count} == {
        "trap", "cancelled", "memory", "host-error",
    }  # fmt: skip


async def test_close_ends_every_kind_of_call(kind: Kind) -> None:
    """Computing, waiting in a host function, shielded in one; and a holder in its own code."""
    leave = trio.Event()

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await leave.wait()

    kind.host = shielded
    async with trio.open_nursery() as nursery:
        async with open_pool(await kind.module(), size=8) as pool:

            async def call(*args: Any) -> None:
                with pytest.raises(LeaseRevoked):
                    await pool.call(*args)

            async def hold() -> None:
                async with pool.lease() as lease:
                    await leave.wait()
                    with pytest.raises(LeaseRevoked):
                        await lease.call("echo", 1)

            for _ in range(3):
                nursery.start_soon(call, "spin")
                nursery.start_soon(call, *kind.calling_host())
            nursery.start_soon(hold)
            await until_leased(pool, 7)
            await pool.aclose(grace=0.01)
            assert pool.state == "closed"
        leave.set()
    assert pool.statistics().retired["closed"] == pool.statistics().closed


async def test_reload_while_calls_run(kind: Kind) -> None:
    """Old calls end on the old version, new ones begin on the new."""
    release = trio.Event()
    kind.host = release.wait
    async with open_pool(await kind.module(1), size=2) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.call, *kind.calling_host())
        await until_leased(pool, 1)
        assert await nursery.start(partial(pool.reload, await kind.module(2))) == 2
        assert await pool.call("version") == 2
        release.set()
    assert pool.statistics().retired["replaced"] == 1


async def test_reload_of_an_identical_module_is_a_no_op(kind: Kind) -> None:
    """What identical is, the module says."""
    module = await kind.module()
    async with open_pool(module) as pool:
        assert await pool.reload(module) == 1

        def broken(instance: Any) -> None:
            raise Provoked

        with pytest.raises(ReloadFailed) as info:
            await pool.reload(module, setup=broken)
        assert isinstance(info.value.__cause__, Provoked)


async def test_host_function_that_asks_the_pool_again_is_told_of_the_deadlock(kind: Kind) -> None:
    """It runs in the task that holds the only instance; with two, it has the other."""
    async with open_pool(await kind.module(), size=1) as pool:

        async def ask() -> None:
            assert await pool.call("echo", 1) == 1

        kind.host = ask
        with pytest.raises(LeaseDeadlock):
            await pool.call(*kind.calling_host())
        await pool.resize(2)
        await pool.call(*kind.calling_host())


async def test_child_in_a_call_when_the_block_ends_has_lease_expired(kind: Kind) -> None:
    """And nobody else is given the instance."""
    async with open_pool(await kind.module(), size=1) as pool, trio.open_nursery() as nursery:

        async def child(call: Callable[..., Awaitable[Any]]) -> None:
            with pytest.raises(LeaseExpired):
                await call("spin")

        async with pool.lease() as lease:
            nursery.start_soon(child, lease.call)
            while not calls_under_way(lease):
                await trio.lowlevel.checkpoint()
        assert await pool.call("echo", 1) == 1
        assert pool.statistics().started == 2
