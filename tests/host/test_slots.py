"""Instances in slots: made in advance, used by one guest after the other, and no trace of any."""

from __future__ import annotations

import random
import textwrap
from typing import TYPE_CHECKING, Final

import pytest
import trio
from tests.processes import run_script

from wasmpool_host import GuestTrap, Limits, Module, host_function, statistics
from wasmpool_host._capi import STACK
from wasmpool_host._engine import DEEP_CALLS, SLOTS, WIDE_SLOTS
from wasmpool_host._types import PAGE
from wasmpool_host.lowlevel import give_back_kept_memory

if TYPE_CHECKING:
    from tests.host.instance_of import InstanceOf

    from wasmpool_host import Caller, Instance

ONE: Final = """(module (memory (export "memory") 1)
  (func (export "one") (result i32) (i32.const 1)))"""


async def test_an_instance_that_finds_no_slot_is_made_without_one() -> None:
    """And a slot is free again when its instance is closed."""
    module = await Module.compile(ONE)
    before = statistics()
    instances = [await module.instantiate() for _ in range(SLOTS.instances + 3)]
    during = statistics()
    assert during.instances == before.instances + len(instances)
    assert during.in_slots == before.in_slots + SLOTS.instances
    assert during.free_slots == before.free_slots - SLOTS.instances
    for instance in instances:
        assert await instance.call("one") == 1
    for instance in instances[:5]:
        await instance.aclose()
    assert statistics().free_slots == during.free_slots + 5
    instances += [await module.instantiate() for _ in range(2)]
    assert statistics().free_slots == during.free_slots + 3
    for instance in instances:
        await instance.aclose()
    assert statistics() == before


@pytest.mark.parametrize(
    "source",
    [
        "(module (memory 1) (memory 1))",
        "(module (memory i64 1))",
        "(module (table 1 funcref) (table 1 funcref))",
        f"(module (table 1 {SLOTS.table + 1} funcref))",
    ],
)
async def test_what_does_not_fit_into_a_slot_is_made_without_one(source: str) -> None:
    """By what the module declares, and the limits allow."""
    module = await Module.compile(source, limits=Limits(table_elements=2 * SLOTS.table))
    before = statistics()
    instance = await module.instantiate()
    assert statistics().in_slots == before.in_slots
    await instance.aclose()


async def test_a_guest_in_a_slot_has_all_that_its_limits_allow(instance_of: InstanceOf) -> None:
    """Memory, elements of its table, and its stack."""
    limits = Limits(memory=1 << 30, table_elements=50_000)
    before = statistics()
    instance = await instance_of(
        """(module (memory (export "memory") 1) (table 1 funcref)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "widen") (param i32) (result i32)
          (table.grow (ref.null func) (local.get 0))))""",
        limits=limits,
    )
    assert statistics().in_slots == before.in_slots + 1
    assert await instance.call("grow", (1 << 30) // PAGE - 1) == 1
    assert await instance.call("grow", 1) == -1
    instance.memory.write((1 << 30) - 3, b"end")
    assert await instance.call("widen", 49_999) == 1
    assert await instance.call("widen", 1) == -1


TENANT: Final = """(module
  (import "env" "wait" (func $wait))
  (memory (export "memory") 2) (data (i32.const 1000) "{word}")
  (table (export "t") 10 100 funcref) (elem (i32.const 3) $one)
  (global (export "g") (mut i64) (i64.const 5))
  (func $one (result i32) (i32.const 1))
  (func $deep (param i32) (result i32) (local i64)
    (local.set 1 (i64.const 0x5ec2e75ec2e75ec2))
    (if (result i32) (local.get 0)
      (then (i32.add (call $deep (i32.sub (local.get 0) (i32.const 1)))
                     (i32.wrap_i64 (local.get 1))))
      (else (i32.const 0))))
  (func (export "seen") (result i64) (local i32) (local i64)
    (loop $l
      (local.set 1 (i64.add (local.get 1) (i64.popcnt (i64.load (local.get 0)))))
      (local.set 0 (i32.add (local.get 0) (i32.const 8)))
      (br_if $l (i32.lt_u (local.get 0) (i32.mul (memory.size) (i32.const 65536)))))
    (local.get 1))
  (func (export "nulls") (result i32) (local i32 i32)
    (loop $l
      (local.set 1 (i32.add (local.get 1) (ref.is_null (table.get (local.get 0)))))
      (local.set 0 (i32.add (local.get 0) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get 0) (table.size))))
    (local.get 1))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "dirty") (param i32) (result i32)
    (drop (memory.grow (local.get 0)))
    (memory.fill (i32.const 0) (i32.const 0xa5) (i32.mul (memory.size) (i32.const 65536)))
    (drop (table.grow (ref.func $one) (i32.const 50)))
    (table.fill (i32.const 0) (ref.func $one) (i32.const 10))
    (global.set 0 (i64.const -1))
    (call $deep (i32.const 500)))
  (func (export "trap") (unreachable))
  (func (export "spin") (loop $l (br $l)))
  (func (export "wait") (call $wait)))"""


async def test_no_tenant_of_a_slot_sees_anything_of_another() -> None:
    """Whatever it has changed, and however it has ended: memory, also grown, table and global."""
    chance, before = random.Random(1), statistics()

    @host_function("env", "wait")
    async def wait(_caller: Caller) -> None:
        await trio.sleep_forever()

    words = ("first", "second module")
    modules = [await Module.compile(TENANT.format(word=each), imports=[wait]) for each in words]

    async def live(number: int) -> None:
        instance = await modules[number].instantiate()
        bits = sum(byte.bit_count() for byte in words[number].encode())
        assert await instance.call("seen") == bits
        assert await instance.call("nulls") == 9
        assert instance.globals["g"] == 5
        if chance.random() < 0.5:
            assert await instance.call("grow", 20) == 2
            assert await instance.call("seen") == bits
        await instance.call("dirty", chance.choice([0, 1, 40]))
        await end(instance, chance.choice(["close", "trap", "spin", "wait"]))

    for _ in range(40):
        async with trio.open_nursery() as nursery:
            for _ in range(chance.randrange(1, 8)):
                nursery.start_soon(live, chance.randrange(2))
    assert statistics().in_slots == before.in_slots


async def end(instance: Instance, how: str) -> None:
    if how == "trap":
        with pytest.raises(GuestTrap):
            await instance.call("trap")
    elif how != "close":
        with trio.move_on_after(0.005):
            await instance.call(how)
    await instance.aclose()


DEEP: Final = """(module
  (import "env" "deeper" (func $deeper (param i32) (result i32)))
  (func (export "go") (param i32) (result i32) (call $deeper (local.get 0))))"""


async def test_guests_that_nest_deeply_take_no_stack_from_others() -> None:
    """Those beyond the bound have a MemoryError; a call, and one nested in it, always go on."""
    inside = trio.Event()
    waiting = 0

    @host_function("env", "deeper", ["i32"], ["i32"])
    async def deeper(caller: Caller, levels: int) -> int:
        nonlocal waiting
        if levels:
            result = await caller.call("go", levels - 1)
            assert isinstance(result, int)
            return result
        waiting += 1
        await inside.wait()
        return 7

    module = await Module.compile(DEEP, imports=[deeper])
    errors: list[MemoryError] = []

    async def nest(levels: int) -> None:
        instance = await module.instantiate()
        try:
            assert await instance.call("go", levels) == 7
        except MemoryError as error:
            errors.append(error)
        await instance.aclose()

    each = 40
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(nest, each + 1)
        await trio.testing.wait_all_tasks_blocked()
        assert waiting == DEEP_CALLS // each == 3
        assert len(errors) == 3
        assert "128 calls of guests are nested in nested calls" in str(errors[0])
        for _ in range(100):
            nursery.start_soon(nest, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert waiting == 103
        inside.set()
    waiting = 0
    await nest(each + 1)
    assert waiting == 1
    assert len(errors) == 3


def test_without_address_space_instances_are_made_without_slots() -> None:
    """As in a container with a limit on it; a line in the log says so."""
    code = """
    import logging, resource, trio
    from wasmpool_host import Module, statistics

    logging.basicConfig(level="INFO", format="%(name)s: %(message)s")
    resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))

    async def main():
        module = await Module.compile('''(module (memory 1)
          (func (export "one") (result i32) (i32.const 1)))''')
        instance = await module.instantiate()
        print(await instance.call("one"), statistics())
        await instance.aclose()

    trio.run(main)
    """
    done = run_script(textwrap.dedent(code), timeout=60)
    assert done.stdout == "1 HostStatistics(instances=1, in_slots=0, free_slots=0)\n"
    size = SLOTS.address_space(STACK) >> 30
    assert f"wasmpool.engine: instances are made without slots: no {size} GiB" in done.stderr


async def test_a_memory_full_of_data_has_a_wide_slot() -> None:
    """Cleared by copying: the next guest finds its own data, also where the last one wrote."""
    page = "a" * PAGE
    data = "".join(f'(data (i32.const {k * PAGE}) "{page}")' for k in range(4))
    wide = await Module.compile(f'(module (memory (export "memory") 8) {data})')
    sparse = await Module.compile('(module (memory (export "memory") 8) (data (i32.const 0) "a"))')
    small = await Module.compile(
        f'(module (memory (export "memory") 2) (data (i32.const 0) "{page}"))'
    )
    slots = [_slots_of(each) for each in (wide, sparse, small)]
    assert slots == [WIDE_SLOTS, SLOTS, SLOTS]
    for _ in range(3):
        instances = [await wide.instantiate() for _ in range(WIDE_SLOTS.instances + 2)]
        assert statistics().in_slots >= WIDE_SLOTS.instances
        for instance in instances:
            assert instance.memory.read(0, 4 * PAGE).count(b"a") == 4 * PAGE
            assert not instance.memory.read(4 * PAGE, 4 * PAGE).strip(b"\0")
            instance.memory.write(0, b"secret" * (8 * PAGE // 6))
        for instance in instances:
            await instance.aclose()
    await give_back_kept_memory()
    instance = await wide.instantiate()
    assert instance.memory.read(0, 8 * PAGE) == b"a" * 4 * PAGE + bytes(4 * PAGE)
    await instance.aclose()


def _slots_of(module: Module) -> object:
    """Where its instances are, in the pooled engine that its code is loaded into."""
    pooled = module._linked.pooled
    assert pooled is not None
    return pooled.engine.slots
