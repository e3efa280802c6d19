"""The instances of a snapshot begin where the one that was set up stood, and share nothing."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.host import seams

from wasmpool_host import (
    CallTimeout,
    GuestExit,
    GuestTrap,
    Limits,
    Module,
    Wasi,
    host_function,
)
from wasmpool_host.lowlevel import DrivenModule

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wasmpool_host import Caller, Instance

    Setup = Callable[[Instance], Awaitable[object] | object]

COUNTER = """(module
  (memory (export "memory") 1)
  (global $count (mut i32) (i32.const 0))
  (global $started (mut i32) (i32.const 0))
  (data (i32.const 16) "from the segment")
  (func $start (global.set $started (i32.add (global.get $started) (i32.const 1))))
  (start $start)
  (func (export "_initialize") (global.set $started
    (i32.add (global.get $started) (i32.const 10))))
  (func (export "add") (param i32) (result i32)
    (global.set $count (i32.add (global.get $count) (local.get 0)))
    (i32.store (i32.const 0) (global.get $count))
    (global.get $count))
  (func (export "count") (result i32 i32) (global.get $count) (i32.load (i32.const 0)))
  (func (export "started") (result i32) (global.get $started))
  (func (export "read") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "fail") (global.set $count (i32.const -1)) unreachable))"""


def calling(name: str, *args: float | bytes) -> Setup:
    """A setup that calls an export."""
    return lambda instance: instance.call(name, *args)


def adding(number: int) -> Setup:
    """A setup that adds to the counter."""
    return calling("add", number)


async def answers(module: Module, *calls: tuple[str, *tuple[Any, ...]]) -> list[Any]:
    """What a new instance answers, one call after another; a trap is its code."""
    instance = await module.instantiate()
    found: list[Any] = []
    try:
        for name, *args in calls:
            try:
                found.append(await instance.call(name, *args))
            except GuestTrap as trap:
                found.append(trap.code)
                break
    finally:
        await instance.aclose()
    return found


async def test_instances_begin_where_the_setup_has_ended() -> None:
    """Memory and globals are there; the start and ``_initialize`` have run once, and not again."""
    ready = await (await Module.compile(COUNTER)).snapshot(adding(5))
    for _ in range(2):
        assert await answers(ready, ("count",), ("started",), ("add", 2)) == [(5, 5), 11, 7]


async def test_without_a_setup_the_start_is_done() -> None:
    """A snapshot of what every instance would do by itself."""
    ready = await (await Module.compile(COUNTER)).snapshot()
    assert await answers(ready, ("started",), ("add", 2)) == [11, 2]
    assert "_initialize" not in ready.exports


async def test_instances_share_nothing() -> None:
    """Each has the image of its own: what one writes, no other reads, while both are open."""
    ready = await (await Module.compile(COUNTER)).snapshot(adding(1))
    first, second = await ready.instantiate(), await ready.instantiate()
    assert await first.call("add", 10) == 11
    assert await second.call("count") == (1, 1)
    await first.aclose()
    third = await ready.instantiate()
    assert await third.call("count") == (1, 1)
    await second.aclose()
    await third.aclose()


async def test_a_plain_setup_and_one_that_waits() -> None:
    """As a pool's setup: its result is awaited where that is possible."""
    module = await Module.compile(COUNTER)

    def plain(instance: Instance) -> None:
        instance.memory.write(100, b"\x2a")

    async def waits(instance: Instance) -> None:
        await trio.lowlevel.checkpoint()
        await instance.call("add", 3)

    assert await answers(await module.snapshot(plain), ("read", 100)) == [42]
    assert await answers(await module.snapshot(waits), ("count",)) == [(3, 3)]


async def test_it_is_a_module_like_any_other() -> None:
    """Name, limits, WASI and host functions are the module's; digest and identity are its own."""
    called: list[int] = []

    @host_function("env", "note", params=["i32"])
    def note(_caller: Caller, number: int) -> None:
        called.append(number)

    text = """(module (import "env" "note" (func $note (param i32)))
      (memory (export "memory") 1) (func (export "go") (param i32) (call $note (local.get 0))))"""
    limits, wasi = Limits(memory=1 << 20, stack=1 << 18), Wasi(args=("a",))
    module = await Module.compile(text, imports=[note], limits=limits, wasi=wasi)

    async def setup(instance: Instance) -> None:
        await instance.call("go", 1)
        instance.memory.write(0, b"y")

    ready = await module.snapshot(setup)
    await answers(ready, ("go", 2))
    assert called == [1, 2]
    assert (ready.name, ready.limits, ready.wasi) == (module.name, limits, wasi)
    assert ready.imports == module.imports
    other = await module.snapshot(lambda instance: instance.memory.write(0, b"x"))
    identities = {DrivenModule(each).identity for each in (module, ready, other)}
    assert len(identities) == len({module.digest, ready.digest, other.digest}) == 3


async def test_the_same_state_is_the_same_module() -> None:
    """So a reload from one to the other does nothing."""
    module = await Module.compile(COUNTER)
    first, second = await module.snapshot(adding(1)), await module.snapshot(adding(1))
    assert DrivenModule(first).identity == DrivenModule(second).identity


async def test_a_snapshot_of_a_snapshot() -> None:
    """It begins where the first began, and goes on from there."""
    ready = await (await Module.compile(COUNTER)).snapshot(adding(1))
    again = await ready.snapshot(adding(10))
    assert await answers(again, ("count",), ("started",)) == [(11, 11), 11]
    assert await answers(ready, ("count",)) == [(1, 1)]


async def test_segments_of_the_module_are_not_written_again() -> None:
    """What the setup has cleared or replaced stays so."""
    module = await Module.compile(COUNTER)
    ready = await module.snapshot(lambda instance: instance.memory.write(16, bytes(4) + b"F"))
    read = [("read", at) for at in range(16, 22)]
    assert await answers(ready, *read) == [0, 0, 0, 0, ord("F"), ord("t")]


async def test_memories_of_all_kinds() -> None:
    """Several, grown, addressed by i64, exported or not, with a maximum or none."""
    text = """(module
      (memory $a (export "memory") 1 3) (memory $b 0) (memory $c i64 1) (memory $d 0)
      (func (export "set")
        (drop (memory.grow $a (i32.const 1))) (drop (memory.grow $b (i32.const 2)))
        (drop (memory.grow $c (i64.const 1)))
        (i32.store $a (i32.const 131068) (i32.const 1)) (i32.store $b (i32.const 70000)
        (i32.const 2)) (i32.store $c (i64.const 131068) (i32.const 3)))
      (func (export "get") (result i32 i32 i32 i32 i32 i64 i32)
        (i32.load $a (i32.const 131068)) (i32.load $b (i32.const 70000))
        (i32.load $c (i64.const 131068))
        (memory.size $a) (memory.size $b) (memory.size $c) (memory.size $d))
      (func (export "grow") (result i32 i32)
        (memory.grow $a (i32.const 1)) (memory.grow $a (i32.const 1))))"""
    ready = await (await Module.compile(text)).snapshot(calling("set"))
    assert await answers(ready, ("get",), ("grow",)) == [(1, 2, 3, 2, 2, 2, 0), (2, -1)]


async def test_globals_keep_their_bits() -> None:
    """Numbers at their bounds, the payload of a signalling NaN, the sign of a zero, vectors."""
    text = """(module
      (global $a (export "a") (mut i32) (i32.const 0))
      (global $b (export "b") (mut i64) (i64.const 0))
      (global $c (mut f32) (f32.const 0)) (global $d (mut f64) (f64.const 0))
      (global $v (export "v") (mut v128) (v128.const i64x2 0 0))
      (global $f (export "f") f64 (f64.const 0.5))
      (func (export "set") (param i32 i64 i32 i64 v128)
        (global.set $a (local.get 0)) (global.set $b (local.get 1))
        (global.set $c (f32.reinterpret_i32 (local.get 2)))
        (global.set $d (f64.reinterpret_i64 (local.get 3))) (global.set $v (local.get 4)))
      (func (export "get") (result i32 i64 i32 i64 v128)
        (global.get $a) (global.get $b) (i32.reinterpret_f32 (global.get $c))
        (i64.reinterpret_f64 (global.get $d)) (global.get $v)))"""
    module = await Module.compile(text)
    negative_zero = struct.unpack("<q", struct.pack("<d", -0.0))[0]
    infinity = struct.unpack("<i", struct.pack("<f", math.inf))[0]
    for values in [
        (-1, -(1 << 63), 0x7F800001, 0x7FF0000000000001, bytes(range(16))),
        ((1 << 31) - 1, (1 << 63) - 1, -1, negative_zero, b"\xff" * 16),
        (-(1 << 31), -65, infinity, -2, bytes(16)),
        (63, 64, -64, -65, bytes(15) + b"\x80"),
    ]:
        ready = await module.snapshot(calling("set", *values))
        assert await answers(ready, ("get",)) == [values]


SEGMENTS = """(module
  (type $f (func (result i32)))
  (memory (export "memory") 1)
  (table $t 4 funcref)
  (data $kept "kept") (data $dropped "dropped") (data $empty "") (data $active (i32.const 0) "a")
  (func $one (type $f) (i32.const 1)) (func $two (type $f) (i32.const 2))
  (elem $active_elements (table $t) (i32.const 0) func $one)
  (elem $kept_elements func $two) (elem $dropped_elements func $one $two)
  (elem $typed (ref null $f) (ref.func $two) (ref.null $f))
  (elem $nulls externref (ref.null extern))
  (func (export "drop") (data.drop $dropped) (elem.drop $dropped_elements) (elem.drop $typed))
  (func (export "data_kept") (result i32)
    (memory.init $kept (i32.const 8) (i32.const 0) (i32.const 4)) (i32.load (i32.const 8)))
  (func (export "data_dropped") (memory.init $dropped (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "data_active") (memory.init $active (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "data_empty") (memory.init $empty (i32.const 0) (i32.const 0) (i32.const 0)))
  (func (export "elements_kept") (result i32)
    (table.init $t $kept_elements (i32.const 1) (i32.const 0) (i32.const 1))
    (call_indirect $t (type $f) (i32.const 1)))
  (func (export "elements_dropped")
    (table.init $t $dropped_elements (i32.const 1) (i32.const 0) (i32.const 1)))
  (func (export "typed") (table.init $t $typed (i32.const 1) (i32.const 0) (i32.const 2)))
  (func (export "typed_none") (table.init $t $typed (i32.const 1) (i32.const 0) (i32.const 0)))
  (func (export "active") (result i32) (call_indirect $t (type $f) (i32.const 0))))"""


async def test_segments_that_were_dropped_stay_dropped() -> None:
    """And the others can be copied from, as in the instance that was set up."""
    ready = await (await Module.compile(SEGMENTS)).snapshot(calling("drop"))
    kept = int.from_bytes(b"kept", "little")
    calls = [("data_kept",), ("data_empty",), ("elements_kept",), ("typed_none",), ("active",)]
    assert await answers(ready, *calls) == [kept, None, 2, None, 1]
    for name in ("data_dropped", "data_active"):
        assert await answers(ready, (name,)) == ["memory-out-of-bounds"]
    for name in ("elements_dropped", "typed"):
        assert await answers(ready, (name,)) == ["table-out-of-bounds"]


async def test_segments_that_were_not_dropped_are_there() -> None:
    """A probe leaves them, and the memory and the tables, as they were."""
    ready = await (await Module.compile(SEGMENTS)).snapshot()
    assert await answers(ready, ("data_dropped",), ("elements_dropped",), ("typed",)) == [None] * 3


async def test_a_segment_that_no_memory_is_made_of() -> None:
    """In a module without a memory arrays are made of it."""
    text = """(module (type $a (array i8)) (data $d "\\07") (data $e "\\08")
      (func (export "drop") (data.drop $e))
      (func (export "kept") (result i32) (array.get_u $a
        (array.new_data $a $d (i32.const 0) (i32.const 1)) (i32.const 0)))
      (func (export "dropped") (result i32) (array.get_u $a
        (array.new_data $a $e (i32.const 0) (i32.const 1)) (i32.const 0))))"""
    module = await Module.compile(text)
    assert await answers(await module.snapshot(), ("kept",), ("dropped",)) == [7, 8]
    ready = await module.snapshot(calling("drop"))
    assert await answers(ready, ("kept",), ("dropped",)) == [7, "memory-out-of-bounds"]


async def test_functions_that_only_a_dropped_part_has_named() -> None:
    """The code still refers to them: an export, elements or a global that are gone named them."""
    text = """(module (type $f (func (result i32)))
      (table $t 1 funcref) (func $one (type $f) (i32.const 1)) (func $two (type $f) (i32.const 2))
      (func $start (export "_initialize")) (elem $e func $one)
      (global $g (mut funcref) (ref.func $two))
      (func (export "drop") (elem.drop $e) (global.set $g (ref.null func)))
      (func (export "call") (result i32) (drop (ref.func $start))
        (i32.add (call_ref $f (ref.func $one)) (call_ref $f (ref.func $two))))
      (func (export "is_null") (result i32) (ref.is_null (global.get $g))))"""
    ready = await (await Module.compile(text)).snapshot(calling("drop"))
    assert await answers(ready, ("call",), ("is_null",)) == [3, 1]


async def test_references_that_have_not_changed() -> None:
    """Tables and globals of functions, nulls of all kinds, wide tables, 31 bits in constants."""
    text = """(module (type $f (func (result i32))) (type $s (struct (field (mut i32))))
      (table $t 2 (ref $f) (ref.func $one)) (table $w i64 2 funcref) (table $x 3 externref)
      (table $y i64 1 anyref) (table $none 0 (ref $f) (ref.func $one))
      (elem (table $w) (i64.const 1) func $one)
      (global $g (mut (ref $f)) (ref.func $one)) (global $h (mut (ref null $s)) (ref.null $s))
      (global $i (ref i31) (ref.i31 (i32.const 5))) (global $x (mut exnref) (ref.null exn))
      (func $one (type $f) (i32.const 1))
      (func (export "object") (global.set $h (struct.new $s (i32.const 1)))
        (global.set $h (ref.null $s)))
      (func (export "get") (result i32 i32 i32 i32 i32)
        (call_ref $f (table.get $t (i32.const 1))) (call_indirect $w (type $f) (i64.const 1))
        (call_ref $f (global.get $g)) (ref.is_null (global.get $h))
        (i31.get_s (global.get $i))))"""
    ready = await (await Module.compile(text)).snapshot(calling("object"))
    assert await answers(ready, ("get",)) == [(1, 1, 1, 1, 5)]


async def test_functions_of_the_host_in_a_table() -> None:
    """They are called through it as before."""

    @host_function("env", "seven", results=["i32"])
    def seven(_caller: Caller) -> int:
        return 7

    text = """(module (type $f (func (result i32)))
      (import "env" "seven" (func $seven (type $f)))
      (table $t 2 funcref) (elem (i32.const 0) func $seven)
      (global $g (mut funcref) (ref.func $seven)) (global $n (mut i32) (i32.const 0))
      (func (export "call") (result i32)
        (global.set $n (call_indirect $t (type $f) (i32.const 0))) (global.get $n))
      (func (export "get") (result i32) (table.set $t (i32.const 1) (global.get $g))
        (i32.add (global.get $n) (call_indirect $t (type $f) (i32.const 1)))))"""
    module = await Module.compile(text, imports=[seven])
    ready = await module.snapshot(calling("call"))
    assert await answers(ready, ("get",), ("call",)) == [14, 7]


async def test_exceptions_and_their_tags() -> None:
    """A section that comes late in the standard has its place in the binary."""
    text = """(module (tag $t (param i32)) (global $g (mut i32) (i32.const 1)) (memory 1)
      (func $throw (throw $t (global.get $g)))
      (func (export "set") (global.set $g (i32.const 42)))
      (func (export "go") (result i32) (block $caught (result i32)
          (try_table (catch $t $caught) (call $throw)) (i32.const 0))))"""
    ready = await (await Module.compile(text)).snapshot(calling("set"))
    assert await answers(ready, ("go",)) == [42]


async def test_the_setup_sees_the_module_and_nothing_more() -> None:
    """No export of the instrumented copy is shown, and one that is called alike is the module's."""
    text = """(module (memory (export "wasmpool:snapshot:data:0") 1) (memory 1)
      (global $g (export "wasmpool:snapshot:global:0") (mut i32) (i32.const 1))
      (data $d "x") (func $start) (start $start)
      (func (export "wasmpool:snapshot:start") (result i32) (data.drop $d) (i32.const 9)))"""
    seen: list[Any] = []

    async def setup(instance: Instance) -> None:
        seen.extend([dict(instance.globals), list(instance.memories)])
        seen.append(await instance.call("wasmpool:snapshot:start"))
        with pytest.raises(ValueError, match="no export"):
            await instance.call("wasmpool:snapshot_:start")

    ready = await (await Module.compile(text)).snapshot(setup)
    assert seen == [{"wasmpool:snapshot:global:0": 1}, ["wasmpool:snapshot:data:0"], 9]
    assert list(ready.exports) == [
        "wasmpool:snapshot:data:0", "wasmpool:snapshot:global:0", "wasmpool:snapshot:start",
    ]  # fmt: skip


async def test_a_trap_in_the_setup_has_the_frames_of_the_module() -> None:
    """The offsets are those of its own binary, and the error comes out as it is."""
    module = await Module.compile(COUNTER)
    instance = await module.instantiate()
    with pytest.raises(GuestTrap) as ordinary:
        await instance.call("fail")
    await instance.aclose()
    with pytest.raises(GuestTrap) as trap:
        await module.snapshot(calling("fail"))
    assert (trap.value.frames, trap.value.message) == (
        ordinary.value.frames,
        ordinary.value.message,
    )
    assert seams.open_instances() == 0


async def test_a_trap_in_the_start() -> None:
    """It reads as that of any instance."""
    module = await Module.compile("""(module
      (memory 1) (func $s (i32.store (i32.const 0) (i32.const 1)) unreachable) (start $s))""")
    with pytest.raises(GuestTrap, match="the start of module") as ordinary:
        await module.instantiate()
    with pytest.raises(GuestTrap, match="the start of module") as trap:
        await module.snapshot()
    assert trap.value.frames == ordinary.value.frames
    assert seams.open_instances() == 0


async def test_an_exit_and_a_timeout() -> None:
    """What ends the guest comes out, and nothing is left."""
    text = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (func (export "exit") (call $exit (i32.const 3)))
      (func (export "spin") (loop $l (br $l))))"""
    module = await Module.compile(text, limits=Limits(call_seconds=0.05))

    async def waits_for_ever(_instance: Instance) -> None:
        await trio.sleep_forever()

    with pytest.raises(GuestExit):
        await module.snapshot(calling("exit"))
    with pytest.raises(CallTimeout):
        await module.snapshot(calling("spin"))
    with pytest.raises(trio.TooSlowError, match=r"took longer than start_timeout=0.01 s"):
        await module.snapshot(waits_for_ever, start_timeout=0.01)
    assert seams.open_instances() == 0


async def test_a_cancel_at_any_step_leaves_nothing(
    cancelled_at: Callable[[int], AbstractContextManager[trio.CancelScope]],
) -> None:
    """Whether the copy is compiled, the guest runs, its state is read or the module compiled."""
    module = await Module.compile(COUNTER)
    step, done = 0, False
    while not done:
        step += 1
        with cancelled_at(step):
            await module.snapshot(adding(1))
            done = True
        assert seams.open_instances() == 0
    assert step > 5


async def test_secrets_are_in_no_cache(tmp_path: Path) -> None:
    """The copy that is set up is kept there, which has none; the snapshot is compiled each time."""
    secret = b"correct horse battery staple"
    module = await Module.compile(COUNTER, cache=tmp_path)
    for _ in range(2):
        ready = await module.snapshot(lambda instance: instance.memory.write(1000, secret))
        again = await ready.snapshot()
        assert await answers(again, ("read", 1000)) == [secret[0]]
    entries = list(tmp_path.iterdir())
    assert len(entries) == 2
    assert not any(secret in entry.read_bytes() for entry in entries)


HOLDING = """(module (memory (export "memory") 1) (global $held (mut i32) (i32.const 0))
      (func (export "malloc") (param i32) (result i32)
        (global.set $held (i32.add (global.get $held) (i32.const 1)))
        (i32.mul (global.get $held) (i32.const 4096)))
      (func (export "free") (param i32)
        (global.set $held (i32.sub (global.get $held) (i32.const 1))))
      (func (export "say") (param i64) (result i64)
        (global.set $held (i32.add (global.get $held) (i32.const 1)))
        (i64.const 0x10000000004))
      (func (export "echo") (param i64) (result i64) (local.get 0))
      (func (export "nothing") (result i64) (i64.const 0))
      (func (export "held") (result i32) (global.get $held)))"""


async def test_what_an_exchange_holds_in_the_guest_is_freed() -> None:
    """Its last result would be lost in the memory of each instance; each has its buffer."""

    async def setup(instance: Instance) -> None:
        for _ in range(3):
            await instance.exchange("say", b"payload")

    ready = await (await Module.compile(HOLDING)).snapshot(setup)
    assert await answers(ready, ("held",)) == [1]
    instance = await ready.instantiate()
    for _ in range(3):
        assert await instance.exchange("say", b"payload") == bytes(4)
    await instance.aclose()


async def test_a_snapshot_has_the_buffer_of_exchanges() -> None:
    """Each of its instances writes there, or in a larger one; and so does a snapshot of it."""

    async def setup(instance: Instance) -> None:
        assert await instance.exchange("nothing") == b""

    ready = await (await Module.compile(HOLDING)).snapshot(setup)
    for module in (ready, await ready.snapshot(), await ready.snapshot(setup)):
        first, second = await module.instantiate(), await module.instantiate()
        assert await first.exchange("echo", b"first") == b"first"
        assert await second.exchange("echo", b"2nd") == b"2nd"
        assert await first.call("held") == 1
        assert first.memory.read(4096, 5) == b"first"
        assert second.memory.read(4096, 5) == b"2nd\0\0"
        assert await first.exchange("echo", bytes(2000)) == bytes(2000)
        assert await first.call("held") == 1  # one is freed, one allocated
        await first.aclose()
        await second.aclose()


async def test_a_module_without_malloc_has_no_buffer() -> None:
    """Nothing is asked of its guest that it does not export."""
    text = '(module (memory (export "memory") 1) (func (export "say") (result i64) (i64.const 4)))'

    async def setup(instance: Instance) -> None:
        assert await instance.exchange("say") == bytes(4)

    ready = await (await Module.compile(text)).snapshot(setup)
    instance = await ready.instantiate()
    assert await instance.exchange("say") == bytes(4)
    await instance.aclose()


async def test_the_start_of_go_that_a_setup_has_called() -> None:
    """It must not run again, so it is gone; one that no setup has called is still there."""
    text = """(module (func (export "_rt0_wasm_wasip1")) (func (export "other")))"""
    module = await Module.compile(text)
    assert list((await module.snapshot(calling("_rt0_wasm_wasip1"))).exports) == ["other"]
    assert list((await module.snapshot(calling("other"))).exports) == list(module.exports)
    reactor = await Module.compile(text.replace('"other"', '"_initialize"'))
    assert not (await reactor.snapshot()).exports


async def test_reseed_runs_in_each_new_instance() -> None:
    """After the state is there, before anything else; a snapshot of it does the same."""
    seeds = iter(range(100, 200))

    @host_function("env", "seed", results=["i32"])
    def seed(_caller: Caller) -> int:
        return next(seeds)

    text = """(module (import "env" "seed" (func $seed (result i32)))
      (global $seed (mut i32) (i32.const 0)) (global $count (mut i32) (i32.const 0))
      (func $reseed (export "reseed") (global.set $seed (call $seed)) (global.set $count
        (i32.add (global.get $count) (i32.const 1))))
      (func (export "_initialize") (call $reseed))
      (func (export "get") (result i32 i32) (global.get $seed) (global.get $count))
      (func (export "other") (result i32) (i32.const 0)))"""
    module = await Module.compile(text, imports=[seed])
    same = await module.snapshot()
    assert await answers(same, ("get",)) == await answers(same, ("get",)) == [(100, 1)]
    ready = await module.snapshot(reseed="reseed")
    assert [await answers(ready, ("get",)) for _ in range(2)] == [[(102, 2)], [(103, 2)]]
    again = await ready.snapshot()
    assert await answers(again, ("get",)) == [(105, 3)]
    assert DrivenModule(ready).identity != DrivenModule(same).identity
    with pytest.raises(ValueError, match="no export 'resed'.*did you mean 'reseed'"):
        await module.snapshot(reseed="resed")
    with pytest.raises(TypeError, match=r"reseed must be the name of an export of type \(\) -> "):
        await module.snapshot(reseed="other")


@pytest.mark.parametrize("setup", [5, "setup"])
async def test_a_setup_that_is_no_function(setup: Any) -> None:
    """It is refused at once."""
    with pytest.raises(TypeError, match="setup must be a function of an instance or None"):
        await (await Module.compile("(module)")).snapshot(setup)


@pytest.mark.parametrize(
    ("seconds", "error"), [("1", TypeError), (True, TypeError), (0, ValueError), (-1.0, ValueError)]
)
async def test_a_timeout_that_is_none(seconds: Any, error: type[Exception]) -> None:
    """Seconds above 0; NaN is not."""
    module = await Module.compile("(module)")
    with pytest.raises(error, match="start_timeout must be "):
        await module.snapshot(start_timeout=seconds)
    with pytest.raises(ValueError, match="above 0"):
        await module.snapshot(start_timeout=math.nan)


async def test_a_setup_that_yields() -> None:
    """Nothing of it would run."""

    async def setup(_instance: Instance) -> Any:
        yield

    with pytest.raises(TypeError, match="setup must not yield"):
        await (await Module.compile("(module)")).snapshot(setup)


async def test_a_start_that_is_long() -> None:
    """It finishes in a thread, as that of any instance, and the loop goes on."""
    text = """(module (global $n (mut i32) (i32.const 0)) (func $s (loop $l
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (global.get $n) (i32.const 20000000)))))
      (start $s) (func (export "_initialize") (call $s)) (func (export "n") (result i32)
        (global.get $n)))"""
    ready = await (await Module.compile(text)).snapshot()
    assert await answers(ready, ("n",)) == [20_000_001]
