"""WebAssembly 3.0: what it has beyond numbers, one memory and functions runs, and is bounded."""

from __future__ import annotations

import gc
import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio

from wasmpool_host import (
    CompileError,
    FunctionType,
    GuestMemoryError,
    GuestTrap,
    InstanceClosed,
    Limits,
    LinkError,
    MemoryType,
    Module,
    host_function,
)
from wasmpool_host._types import PAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.host.instance_of import DrivenInstanceOf, InstanceOf

    from wasmpool_host import Caller

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

FEATURES = {
    "exceptions": """(module (tag $t (param i32))
      (func $throw (throw $t (i32.const 42)))
      (func (export "go") (result i32)
        (block $caught (result i32)
          (try_table (catch $t $caught) (call $throw)) (i32.const 0))))""",
    "memory64": """(module (memory i64 1)
      (func (export "go") (result i32)
        (i32.store (i64.const 8) (i32.const 42)) (i32.load (i64.const 8))))""",
    "several memories": """(module (memory $a 1) (memory $b 1)
      (func (export "go") (result i32)
        (i32.store $a (i32.const 0) (i32.const 1)) (i32.store $b (i32.const 0) (i32.const 42))
        (i32.load $b (i32.const 0))))""",
    "function references": """(module (type $f (func (result i32)))
      (func $answer (type $f) (i32.const 42)) (elem declare func $answer)
      (func (export "go") (result i32) (call_ref $f (ref.func $answer))))""",
    "structures and arrays": """(module
      (rec (type $s (struct (field (mut i8)) (field (ref $a)))) (type $a (array (mut i16))))
      (type $t (sub (struct (field i32)))) (type $u (sub final $t (struct (field i32 f32))))
      (global (export "s") (ref $s) (struct.new $s (i32.const 1)
        (array.new_fixed $a 2 (i32.const 40) (i32.const 2))))
      (func (export "go") (result i32)
        (local $a (ref $a)) (local.set $a (struct.get $s 1 (global.get 0)))
        (i32.add (array.get_u $a (local.get $a) (i32.const 0))
                 (array.get_u $a (local.get $a) (i32.const 1)))))""",
    "tail calls": """(module
      (func $loop (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (return_call $loop (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 42))))
      (func (export "go") (result i32) (call $loop (i32.const 1000000))))""",
    "relaxed vectors": """(module (func (export "go") (result i32)
      (i32x4.extract_lane 0 (i32x4.relaxed_trunc_f32x4_s (f32x4.splat (f32.const 42.5))))))""",
    "extended constants": """(module
      (global $base i32 (i32.const 40))
      (global (export "g") i32 (i32.add (global.get $base) (i32.const 2)))
      (func (export "go") (result i32) (global.get 1)))""",
    "small references": """(module (func (export "go") (result i32)
      (i31.get_s (ref.i31 (i32.const 42)))))""",
    "tables with elements from the start": """(module (type $f (func (result i32)))
      (table $t 2 (ref $f) (ref.func $answer)) (table $wide i64 1 funcref)
      (func $answer (type $f) (i32.const 42))
      (func (export "go") (result i32) (call_ref $f (table.get $t (i32.const 1)))))""",
    "wide arithmetic": """(module (func (export "go") (result i32)
      (i64.add128 (i64.const 40) (i64.const 0) (i64.const 2) (i64.const 0))
      (drop) (i32.wrap_i64)))""",
}


@pytest.mark.parametrize("source", FEATURES.values(), ids=FEATURES)
async def test_a_feature_runs(instance_of: InstanceOf, source: str) -> None:
    """Its outline is read, too."""
    instance = await instance_of(source)
    assert await instance.call("go") == 42
    await instance.aclose()


async def test_types_are_named_as_in_the_text_format() -> None:
    """In the order of the module, whatever groups and kinds of types come before."""
    module = await Module.compile("""(module
      (rec (type $s (struct (field (mut i8) i64 (ref null $s)))) (type $f (func (param i32))))
      (type $a (array (mut (ref null extern))))
      (memory (export "wide") i64 2 3)
      (table (export "t") 1 (ref null $f))
      (global (export "g") (mut (ref null $s)) (ref.null $s))
      (global (export "e") exnref (ref.null exn))
      (func (export "f") (type $f))
      (func (export "r") (param (ref $a) anyref i31ref) (result (ref null none) v128)
        (unreachable)))""")
    assert {name: str(type_) for name, type_ in module.exports.items()} == {
        "wide": "memory of 2 pages, at most 3, addressed by i64",
        "t": "table of (ref null 1)",
        "g": "mutable global (ref null 0)",
        "e": "global exnref",
        "f": "(i32) -> ()",
        "r": "((ref 2), anyref, i31ref) -> (nullref, v128)",
    }
    assert module.exports["wide"] == MemoryType(2, 3, "i64")
    assert module.exports["f"] == FunctionType(("i32",), ())


# --- vectors --------------------------------------------------------------------------------

VECTORS = """(module
  (import "env" "swap" (func $swap (param v128 i32) (result v128 f32)))
  (global (export "g") (mut v128) (v128.const i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15))
  (func (export "same") (param v128) (result v128) (local.get 0))
  (func (export "add") (param v128 v128) (result v128) (i32x4.add (local.get 0) (local.get 1)))
  (func (export "host") (param v128) (result v128 f32) (call $swap (local.get 0) (i32.const 7))))"""


async def test_a_vector_passes_as_16_bytes(instance_of: InstanceOf) -> None:
    """Both ways, to the guest and to the host function, among other values."""
    seen: list[object] = []

    @host_function("env", "swap", ("v128", "i32"), ("v128", "f32"))
    def swap(_caller: Caller, vector: bytes, number: int) -> tuple[bytes, float]:
        seen.append((vector, number))
        return vector[::-1], 1.5

    instance = await instance_of(VECTORS, imports=[swap])
    counted = bytes(range(16))
    assert await instance.call("same", counted) == counted
    for same in (bytearray(counted), memoryview(counted)):
        assert await instance.call("same", same) == counted  # type: ignore[arg-type]  # buffers, too
    four = struct.pack("<4i", 1, -2, 3, 2**31 - 1)
    assert await instance.call("add", four, four) == struct.pack("<4i", 2, -4, 6, -2)
    assert await instance.call("host", counted) == (counted[::-1], 1.5)
    assert seen == [(counted, 7)]
    assert instance.globals["g"] == counted
    instance.globals["g"] = counted[::-1]
    assert instance.globals["g"] == counted[::-1]
    for wrong in (b"", counted[:15], counted + b"x"):
        with pytest.raises(ValueError, match=f"is a v128: give 16 bytes, not {len(wrong)}"):
            await instance.call("same", wrong)
    for wrong_kind in (1, 1.5):
        with pytest.raises(TypeError, match="is a v128: give 16 bytes, not 1"):
            await instance.call("same", wrong_kind)
    assert instance.poisoned is None
    await instance.aclose()


async def test_a_host_function_that_returns_no_vector_is_a_type_error(
    instance_of: InstanceOf,
) -> None:
    """Named, as for a number."""

    @host_function("env", "swap", ("v128", "i32"), ("v128", "f32"))
    def swap(_caller: Caller, _vector: bytes, _number: int) -> tuple[str, float]:
        return "text", 1.5

    instance = await instance_of(VECTORS, imports=[swap])
    with pytest.raises(TypeError, match="result 1 of host function env.swap is a v128: give 16"):
        await instance.call("host", bytes(16))
    await instance.aclose()


async def test_a_reference_at_the_border_is_refused_by_name(instance_of: InstanceOf) -> None:
    """In a function's type and in a global; the instance serves on."""
    instance = await instance_of("""(module (type $s (struct))
      (global (export "r") externref (ref.null extern))
      (func (export "f") (param (ref null $s)))
      (func (export "one") (result i32) (i32.const 1)))""")
    with pytest.raises(TypeError, match=r"\(ref null 0\) cannot be passed between host and guest"):
        await instance.call("f", 0)
    with pytest.raises(TypeError, match="is of type externref: references cannot be passed"):
        instance.globals["r"]
    assert await instance.call("one") == 1
    await instance.aclose()


async def test_a_function_type_of_a_group_cannot_be_imported() -> None:
    """No host function has it, though its parameters and results are the same."""

    @host_function("env", "f")
    def function(_caller: Caller) -> None: ...

    text = '(module (rec (type $f (func)) (type (struct))) (import "env" "f" (func (type $f))))'
    with pytest.raises(LinkError, match="cannot be linked: incompatible import type for .*env::f"):
        await Module.compile(text, imports=[function])


# --- exceptions -----------------------------------------------------------------------------

THROW = """(module
  (import "env" "host" (func $host))
  (tag $t (param i32))
  (func (export "throw") (throw $t (i32.const 5)))
  (func (export "catch") (result i32)
    (block $caught (result i32) (try_table (catch $t $caught) (throw $t (i32.const 9)))
      (i32.const 0)))
  (func (export "go") (result i32)
    (block $all (try_table (catch_all $all) (call $host)) (return (i32.const 1)))
    (i32.const 2)))"""


async def test_an_exception_that_nothing_catches_is_a_trap(instance_of: InstanceOf) -> None:
    """The name of its kind is part of the error."""

    @host_function("env", "host")
    def host(_caller: Caller) -> None: ...

    instance = await instance_of(THROW, imports=[host])
    assert await instance.call("catch") == 9
    with pytest.raises(GuestTrap, match=r"\.throw trapped: uncaught exception") as caught:
        await instance.call("throw")
    assert caught.value.code == "uncaught-exception"
    assert instance.poisoned == "trap"
    await instance.aclose()


async def test_a_guest_cannot_catch_what_its_host_raises(instance_of: InstanceOf) -> None:
    """The host function's exception comes out as itself, past a guest that catches all."""

    @host_function("env", "host")
    async def host(_caller: Caller) -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("of the host")

    instance = await instance_of(THROW, imports=[host])
    with pytest.raises(LookupError, match="of the host"):
        await instance.call("go")
    await instance.aclose()


async def test_a_nested_exception_ends_the_nested_call_alone(instance_of: InstanceOf) -> None:
    """The outer call may catch others later: nothing is left of the first one in its store."""
    codes: list[str] = []

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        for _ in range(100):
            with pytest.raises(GuestTrap) as caught:
                await caller.call("throw")
            codes.append(caught.value.code)
        assert await caller.call("catch") == 9

    instance = await instance_of(THROW, imports=[host])
    assert await instance.call("go") == 1
    assert codes == ["uncaught-exception"] * 100
    await instance.aclose()


async def test_a_free_that_throws_costs_nothing_but_the_memory(instance_of: InstanceOf) -> None:
    """As one that traps: the exchange is good, and the instance serves on."""
    instance = await instance_of("""(module (tag $t)
      (memory (export "memory") 1)
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func (export "free") (param i32) (throw $t))
      (func (export "echo") (param i64) (result i64)
        (i64.or (i64.shl (i64.const 8192) (i64.const 32)) (i64.const 3)))
      (data (i32.const 8192) "abc"))""")
    for _ in range(5):
        assert await instance.exchange("echo", b"x") == b"abc"
    assert instance.poisoned is None
    await instance.aclose()


# --- what bounds it -------------------------------------------------------------------------

HEAP = """(module
  (type $a (array (mut i64))) (type $n (struct (field (ref null $n)) (field (ref null $a))))
  (global $g (mut (ref null $n)) (ref.null $n))
  (func (export "keep") (param i32)
    (loop $l
      (global.set $g (struct.new $n (global.get $g) (array.new_default $a (i32.const 1000))))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $l (local.get 0))))
  (func (export "drop") (param i32)
    (loop $l
      (drop (array.new_default $a (i32.const 1000)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $l (local.get 0))))
  (func (export "huge") (drop (array.new_default $a (i32.const 0x7fffffff)))))"""


async def test_the_heap_of_objects_is_bounded(instance_of: InstanceOf) -> None:
    """By ``limits.memory``; what the guest has dropped is collected."""
    limits = Limits(memory=8 << 20)
    instance = await instance_of(HEAP, limits=limits)
    await instance.call("drop", 20_000)  # 160 MB in all
    await instance.call("keep", 200)
    with pytest.raises(GuestTrap, match="GC heap out of memory") as caught:
        await instance.call("keep", 20_000)
    assert caught.value.code == "out-of-memory"
    await instance.aclose()
    instance = await instance_of(HEAP, limits=limits)
    with pytest.raises(GuestTrap) as caught:
        await instance.call("huge")
    assert caught.value.code in {"out-of-memory", "allocation-too-large"}
    await instance.aclose()


DEEP = """(module (func $deep (export "deep") (param i32) (result i32)
  (if (result i32) (local.get 0)
    (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
    (else (i32.const 0)))))"""


async def deepest(instance_of: InstanceOf, stack: int) -> int:
    """The depth of a recursion that fits into this stack, and not into a smaller one, in steps."""
    depth = 64
    while True:
        instance = await instance_of(DEEP, limits=Limits(stack=stack))
        try:
            assert await instance.call("deep", 2 * depth) == 2 * depth
        except GuestTrap as error:
            assert error.code == "stack-overflow"  # noqa: PT017 - either may be
            return depth
        finally:
            await instance.aclose()
        depth *= 2


async def test_the_stack_is_what_the_limits_say(instance_of: InstanceOf, until: Until) -> None:
    """Modules with different stacks run side by side, and are stopped as others are."""
    depths = [await deepest(instance_of, size << 10) for size in (16, 512, 16 << 10)]
    assert depths[0] * 16 <= depths[1]
    assert depths[1] * 16 <= depths[2]
    spinning = 0

    @host_function("env", "begin")
    def begin(caller: Caller) -> None:
        nonlocal spinning
        spinning += 1

    spin = """(module (import "env" "begin" (func $begin))
      (func (export "spin") (call $begin) (loop $l (br $l))))"""
    instances = [
        await instance_of(spin, imports=[begin], limits=Limits(stack=size << 10))
        for size in (64, 512, 8 << 10)
    ]
    async with trio.open_nursery() as nursery:
        for instance in instances:
            nursery.start_soon(instance.call, "spin")
        await until(lambda: spinning == 3)
        nursery.cancel_scope.cancel()
    for instance in instances:
        assert instance.poisoned == "cancelled"
        await instance.aclose()


@pytest.mark.parametrize(
    ("stack", "error", "message"),
    [
        (0, ValueError, "Limits.stack must be from 16,384 to 16,777,216, not 0"),
        (
            (16 << 20) + 1,
            ValueError,
            "Limits.stack must be from 16,384 to 16,777,216, not 16777217",
        ),
        ("1 MB", TypeError, "Limits.stack must be an int, not '1 MB'"),
    ],
)
def test_a_stack_outside_of_its_range_is_refused(
    stack: Any, error: type[Exception], message: str
) -> None:
    """Zero would be no stack at all."""
    with pytest.raises(error, match=message):
        Limits(stack=stack)


GROW = """(module
  (memory (export "a") {a}) (memory (export "b") {b}) (memory 1 1)
  (func (export "a") (result i32) (memory.grow 0 (i32.const 1)))
  (func (export "b") (result i32) (memory.grow 1 (i32.const 1))))"""


@pytest.mark.parametrize(
    ("a", "b", "most"),
    [
        ("1", "1", (49, 49)),  # both without a maximum: they share what the third one leaves
        ("1", "1 9", (90, 9)),  # the first one has what the second one can never take
        ("0", "7 7", (92, 7)),
        ("1 30", "1 30", (30, 30)),
    ],
)
async def test_all_memories_together_stay_within_the_limit(
    driven_instance_of: DrivenInstanceOf, a: str, b: str, most: tuple[int, int]
) -> None:
    """They are counted together, too; and each is reached by its name."""
    text = GROW.format(a=a, b=b).replace('(func (export "a")', '(func (export "grow a")')
    text = text.replace('(func (export "b")', '(func (export "grow b")')
    instance = await driven_instance_of(text, limits=Limits(memory=100 * PAGE))
    for name in ("grow a", "grow b"):
        while await instance.call(name) != -1:
            pass
    sizes = tuple(memory.size // PAGE for memory in instance.memories.values())
    assert sizes == most
    assert instance.memory_size == (sum(most) + 1) * PAGE <= 100 * PAGE
    await instance.aclose()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "(module (memory 60) (memory 1))",
            "starts with 3,932,160 bytes, above limits.memory=6,553,600, of which each of its 2",
        ),
        ("(module (memory i64 0x1000000000000))", "starts with 18,446,744,073,709,551,616 bytes"),
        (f"(module {'(memory 0)' * 17})", "has 17 memories: an instance may have 16 at most"),
    ],
)
async def test_memories_that_start_above_the_limit_are_refused(source: str, message: str) -> None:
    """When the module is compiled, by the numbers."""
    with pytest.raises((GuestMemoryError, CompileError), match=message):
        await Module.compile(source, limits=Limits(memory=100 * PAGE))


# --- globals and memories by name -----------------------------------------------------------

NAMED = """(module $named
  (memory (export "mem") 1) (memory (export "wide") i64 1) (memory (export "memory") 2)
  (global (export "__stack_pointer") (mut i32) (i32.const 1024))
  (global (export "big") (mut i64) (i64.const -1))
  (global (export "f") (mut f32) (f32.const 1.5))
  (global (export "nan") f64 (f64.const -nan:0x4000000000001))
  (func (export "sp") (result i32) (global.get 0))
  (func (export "load") (param i32) (result i32) (i32.load8_u 0 (local.get 0)))
  (func (export "spin") (loop $l (br $l))))"""


async def test_globals_are_read_and_set_by_name(instance_of: InstanceOf) -> None:
    """Their values as of arguments and results; one that cannot be set says why."""
    instance = await instance_of(NAMED)
    values = instance.globals
    assert list(values) == ["__stack_pointer", "big", "f", "nan"]
    assert len(values) == 4
    assert (values["__stack_pointer"], values["big"], values["f"]) == (1024, -1, 1.5)
    (bits,) = struct.unpack("<Q", struct.pack("<d", values["nan"]))
    assert bits == 0xFFF4_0000_0000_0001
    values["__stack_pointer"] = 2048
    values["big"] = 2**64 - 2
    assert await instance.call("sp") == 2048
    assert values["big"] == -2
    assert "big" in values
    assert "sp" not in values
    for name, value, error, message in (
        ("__stack_pointer", 2**32, ValueError, "global named.__stack_pointer is of type i32: 42"),
        ("f", "1", TypeError, "global named.f is of type f32: give a float or an int, not '1'"),
        ("nan", 1.0, TypeError, "global named.nan cannot be set: it is immutable"),
        ("bigg", 1, KeyError, "module 'named' exports no global 'bigg'; did you mean 'big'"),
        ("mem", 1, KeyError, "module 'named' exports no global 'mem'"),
    ):
        with pytest.raises(error, match=message):
            values[name] = value  # type: ignore[assignment]  # what is wrong, too
    assert values["__stack_pointer"] == 2048
    await instance.aclose()


async def test_memories_are_reached_by_name(instance_of: InstanceOf) -> None:
    """Each has its own bytes, and pointers of its own width."""
    instance = await instance_of(NAMED)
    memories = instance.memories
    assert list(memories) == ["mem", "wide", "memory"]
    assert [memory.size for memory in memories.values()] == [PAGE, PAGE, 2 * PAGE]
    memories["mem"].write(5, b"a")
    memories["memory"].write(5, b"b")
    assert await instance.call("load", 5) == ord("a")
    assert memories["wide"].read(5, 1) == b"\0"
    assert instance.memory.read(5, 1) == b"b"
    with pytest.raises(GuestMemoryError, match="at 0xffffffffffffffff: the guest's memory has"):
        memories["wide"].read(-1, 1)
    with pytest.raises(GuestMemoryError, match="at 0xffffffff: the guest's memory has"):
        memories["mem"].read(-1, 1)
    with pytest.raises(KeyError, match="module 'named' exports no memory 'wid'; did you mean"):
        memories["wid"]
    await instance.aclose()


async def test_globals_and_memories_are_refused_when_the_instance_is(
    instance_of: InstanceOf,
) -> None:
    """During a call and after the end, also those that were taken before."""
    instance = await instance_of(NAMED)
    values, memory = instance.globals, instance.memories["mem"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.call, "spin")
        await trio.testing.wait_all_tasks_blocked()
        for use in (lambda: values["big"], lambda: memory.size, lambda: instance.memories["mem"]):
            with pytest.raises(trio.BusyResourceError, match="is in a call"):
                use()
        with pytest.raises(trio.BusyResourceError, match="is in a call"):
            values["big"] = 1
        nursery.cancel_scope.cancel()
    assert values["big"] == -1  # poisoned, but there
    await instance.aclose()
    gc.collect()
    for use in (lambda: values["big"], lambda: memory.size, lambda: instance.memories["mem"]):
        with pytest.raises(InstanceClosed):
            use()
