"""What is closed is gone, without the garbage collector's help."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.live_objects import live_objects
from trio.testing import wait_all_tasks_blocked

from wasmpool._errors import LeaseRevoked, PoolClosed, PoolUnavailable, ReloadFailed
from wasmpool._pool.core import Core
from wasmpool._pool.generation import Generation
from wasmpool._pool.maintenance import Maintenance
from wasmpool._pool.pool import Pool, open_pool
from wasmpool._pool.slot import Slot
from wasmpool_host import Caller, GuestTrap, Instance, InstanceClosed, Module, host_function
from wasmpool_host._capi import Store
from wasmpool_host._instance.exchange import Exchange
from wasmpool_host._instance.fiber import Fiber
from wasmpool_host._instance.linked_module import LinkedModule
from wasmpool_host.lowlevel import DrivenInstance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

WATCHED = (
    DrivenInstance, Fiber, Store, Exchange, LinkedModule, Generation, Slot, Maintenance, Core, Pool,
)  # fmt: skip
WAT = """(module
  (import "env" "host" (func $host))
  (memory (export "memory") 1)
  (func (export "malloc") (param i32) (result i32) i32.const 1024)
  (func (export "free") (param i32))
  (func (export "copy") (param i64) (result i64) local.get 0)
  (func (export "spin_packed") (param i64) (result i64) (loop br 0) local.get 0)
  (func (export "ok") (result i32) i32.const {number})
  (func (export "host") call $host)
  (func (export "trap") unreachable)
  (func (export "spin") (loop br 0)))"""


@host_function("env", "host")
async def host(caller: Caller) -> None:
    await trio.lowlevel.checkpoint()
    await caller.call("ok")
    caller.memory.read(0, 1)


async def compiled(number: int) -> Module:
    return await Module.compile(WAT.format(number=number), imports=[host])


def alive() -> Counter[str]:
    """How many of each watched class there are, in a cycle or not."""
    return Counter({each.__name__: count for each, count in live_objects(WATCHED).items()})


async def expect_alive(**expected: int) -> None:
    """Nothing else, once threads that have ended their work have let go of it, too."""
    await wait_all_tasks_blocked()
    with trio.move_on_after(5):
        while alive() != expected:  # noqa: ASYNC110 - threads set no event for it
            await trio.sleep(0.01)
    assert alive() == expected


@pytest.fixture(autouse=True)
def no_collector() -> Generator[None]:
    """The collector sees what the test makes, and nothing of what earlier tests have left."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


# --- what happens in a pool -----------------------------------------------------------------


async def calls(pool: Pool) -> None:
    await pool.call("ok")
    await pool.call("host")
    for _ in range(3):
        await pool.exchange("copy", b"abc")


async def a_lease(pool: Pool) -> None:
    async with pool.lease() as lease:
        lease.memory.write(0, b"abc")
        await lease.call("host")
        await lease.exchange("copy", b"abc")


async def a_trap(pool: Pool) -> None:
    with pytest.raises(GuestTrap):
        await pool.call("trap")


async def a_cancel(pool: Pool) -> None:
    for call in (partial(pool.call, "spin"), partial(pool.exchange, "spin_packed", b"x")):
        with trio.move_on_after(0.005):
            await call()


async def a_failing_reload(pool: Pool) -> None:
    with pytest.raises(ReloadFailed):
        await pool.reload(await compiled(-1), setup=trap)


async def trap(instance: Instance) -> None:
    await instance.call("trap")


async def a_line(pool: Pool) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(pool.call, "host")


async def revoked(pool: Pool) -> None:
    """Calls under way and a holder in its own code, by the end of a reload's grace."""
    async with trio.open_nursery() as nursery:
        for call in (
            partial(pool.call, "spin"), partial(pool.exchange, "spin_packed", b"x"),
            partial(use_after, pool),
        ):  # fmt: skip
            nursery.start_soon(expect_revoked, call)
        while pool.statistics().leased < 3:
            await trio.lowlevel.checkpoint()
        await pool.reload(await compiled(pool.generation + 100), grace=0)


async def use_after(pool: Pool) -> None:
    async with pool.lease() as lease:
        await lease.closing.wait()
        await lease.call("spin")


async def expect_revoked(call: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(LeaseRevoked):
        await call()


EVENTS = [calls, a_lease, a_trap, a_cancel, a_failing_reload, a_line, revoked]


@pytest.mark.parametrize("event", EVENTS)
async def test_twenty_reloads_keep_nothing(event: Callable[[Pool], Awaitable[None]]) -> None:
    """Neither instances nor modules, generations or slots of those that were replaced."""
    async with open_pool(await compiled(0), size=3) as pool:
        for number in range(1, 21):
            await event(pool)
            await pool.reload(await compiled(number))
        await expect_alive(
            DrivenInstance=1, Fiber=1, Store=1, LinkedModule=1, Generation=1, Slot=1, Maintenance=1,
            Core=1, Pool=1,
        )  # fmt: skip
    del pool
    await expect_alive()


@pytest.mark.parametrize("event", EVENTS)
async def test_closed_pool_keeps_nothing(event: Callable[[Pool], Awaitable[None]]) -> None:
    """Of its instances; and once nobody has it, it is gone itself."""
    async with open_pool(await compiled(0), size=3) as pool:
        await event(pool)
    await expect_alive(LinkedModule=1, Generation=1, Core=1, Pool=1)
    del pool
    await expect_alive()


async def test_pool_that_does_not_open_keeps_nothing() -> None:
    """Once its error is forgotten."""
    with suppress(PoolUnavailable):
        async with open_pool(await compiled(0), min_size=3, setup=trap):
            pytest.fail("it opened")
    await expect_alive()


async def test_close_under_calls_keeps_nothing() -> None:
    """In a guest, in line, and in a host function that shields itself until later."""
    leave = trio.Event()

    @host_function("env", "host")
    async def shielded(_: Caller) -> None:
        with trio.CancelScope(shield=True):
            await leave.wait()

    async def expect_the_end(call: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises((LeaseRevoked, PoolClosed)):
            await call()

    async with trio.open_nursery() as nursery:
        module = await Module.compile(WAT.format(number=0), imports=[shielded])
        async with open_pool(module, size=3) as pool:
            del module
            for name in ("spin", "host", "host"):
                nursery.start_soon(expect_the_end, partial(pool.call, name))
            while pool.statistics().leased < 3:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(expect_the_end, partial(pool.call, "ok"))
            while not pool.statistics().waiting:
                await trio.lowlevel.checkpoint()
            await pool.aclose(grace=0.01)
        del pool
        leave.set()
    await expect_alive()


async def test_instance_of_its_own_keeps_nothing() -> None:
    """Closed while it is idle, poisoned, or in a call; its memory outlives it, and is refused."""
    module = await compiled(0)
    idle, poisoned, busy = [await module.instantiate() for _ in range(3)]
    memory = idle.memory
    for instance in (idle, poisoned):
        await instance.call("host")
        await instance.exchange("copy", b"abc")
    with pytest.raises(GuestTrap):
        await poisoned.call("trap")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_a_call_until_closed, busy)
        await trio.sleep(0.01)
        for instance in (idle, poisoned, busy):
            await instance.aclose()
    with pytest.raises(InstanceClosed):
        memory.read(0, 1)
    del instance, idle, poisoned, busy, memory, module
    await expect_alive()


async def in_a_call_until_closed(instance: Instance) -> None:
    with pytest.raises(InstanceClosed):
        await instance.call("spin")
