"""Free slots give back the memory that they keep, and what the next guest sees is unchanged."""

from __future__ import annotations

import trio
from tests.measured import linux, measure

from wasmpool_host import Module, statistics
from wasmpool_host._engine import SLOTS
from wasmpool_host.lowlevel import give_back_kept_memory, slots_keeping_memory

WITH_DATA = """(module (memory (export "memory") 4) (data (i32.const 66000) "original")
  (func (export "grow") (result i32) (memory.grow (i32.const 2))))"""

BURST = """
from wasmpool import open_pool
import trio.testing

N = 200  # of 256 slots
WAT = '(module (memory (export "memory") 8))'
ALL = N * 128 * 1024  # what as many slots keep of a memory that is all used

async def burst(pool, write=True):
    async with trio.open_nursery() as nursery:
        started = trio.Event()
        counts = [0]
        async def one():
            async with pool.lease() as lease:
                if write:
                    lease.memory.write(0, b"x" * lease.memory.size)
                counts[0] += 1
                if counts[0] == N:
                    started.set()
                await started.wait()
        for _ in range(N):
            nursery.start_soon(one)
"""


async def test_the_next_guest_finds_its_own_memory() -> None:
    """Nothing of the last one, whether its memory had data or had grown."""
    module = await Module.compile(WITH_DATA)
    other = await Module.compile('(module (memory (export "memory") 2))')
    await give_back_kept_memory()  # of other tests
    for _ in range(3):
        for each in (module, other):
            instances = [await each.instantiate() for _ in range(SLOTS.instances)]
            for instance in instances:
                if each is module:
                    assert await instance.call("grow") == 4
                instance.memory.write(0, b"secret" * (instance.memory.size // 6))
            for instance in instances:
                await instance.aclose()
        before = statistics()
        assert slots_keeping_memory() == SLOTS.instances
        await give_back_kept_memory()
        assert slots_keeping_memory() == 0
        assert statistics() == before
        for each, content in ((module, b"original"), (other, bytes(8))):
            instances = [await each.instantiate() for _ in range(SLOTS.instances)]
            for instance in instances:
                assert instance.memory.read(66_000, 8) == content
                assert not instance.memory.read(0, 66_000).strip(b"\0")
                assert not instance.memory.read(66_008, 50_000).strip(b"\0")
                await instance.aclose()


async def test_guests_that_are_open_meanwhile_keep_their_memory() -> None:
    """Only free slots are touched."""
    module = await Module.compile(WITH_DATA)
    await give_back_kept_memory()  # of other tests
    instances = [await module.instantiate() for _ in range(40)]
    for k, instance in enumerate(instances):
        instance.memory.write(0, bytes([k + 1]) * instance.memory.size)
    for instance in instances[::2]:
        await instance.aclose()
    await give_back_kept_memory()
    assert slots_keeping_memory() == 20
    for k, instance in list(enumerate(instances))[1::2]:
        assert instance.memory.read(0, instance.memory.size).strip(bytes([k + 1])) == b""
        await instance.aclose()


async def test_a_cancel_is_not_delivered_while_memory_is_given_back() -> None:
    """All slots are free again afterwards."""
    module = await Module.compile(WITH_DATA)
    instances = [await module.instantiate() for _ in range(40)]
    for instance in instances:
        await instance.aclose()
    before = statistics()
    with trio.CancelScope() as scope:
        scope.cancel()
        await give_back_kept_memory()
    assert not scope.cancelled_caught
    assert slots_keeping_memory() == 0
    assert statistics() == before


async def test_an_instance_that_is_opened_meanwhile_is_made_without_a_slot() -> None:
    """It does not wait, and it does not fail."""
    from wasmpool_host._engine import pooled_engines  # noqa: PLC0415
    from wasmpool_host._free_slots import _give_back  # noqa: PLC0415 - only here

    module = await Module.compile(WITH_DATA)
    async with trio.open_nursery():
        instance = await module.instantiate()
        await instance.aclose()
        before = statistics()
        for engine in pooled_engines():
            steps = _give_back(engine)
            next(steps)
            assert statistics().free_slots < before.free_slots
            instance = await module.instantiate()
            if engine is pooled_engines()[-1]:
                assert instance.memory.read(66_000, 8) == b"original"
            await instance.aclose()
            for _ in steps:
                pass
        assert statistics() == before


@linux
def test_an_idle_pool_gives_the_memory_back() -> None:
    """In the next lull, though some of its instances live on."""
    found = measure(
        BURST
        + """
async def main():
    module = await Module.compile(WAT)
    async with open_pool(module, size=N, max_idle=1) as pool:
        await burst(pool, write=False)
        await trio.sleep(50)
        before = held()["bytes"]  # with what stacks and tables keep
        await burst(pool)
        await trio.sleep(5)
        assert pool.statistics().idle == 1
        kept = held()["bytes"] - before
        for _ in range(100):
            await trio.sleep(1)
        print(json.dumps({"kept": kept / ALL, "left": (held()["bytes"] - before) / ALL}))

trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
"""
    )
    assert found["kept"] > 0.5
    assert found["left"] < 0.3


@linux
def test_the_last_pool_gives_the_memory_back() -> None:
    """At once, when it closes."""
    found = measure(
        BURST
        + """
async def main():
    module = await Module.compile(WAT)
    async with open_pool(module, size=N) as pool:
        await burst(pool, write=False)
    before = held()["bytes"]  # with what stacks and tables keep
    async with open_pool(module, size=N) as pool:
        await burst(pool)
    print(json.dumps({"left": (held()["bytes"] - before) / ALL}))

trio.run(main)
"""
    )
    assert found["left"] < 0.3
