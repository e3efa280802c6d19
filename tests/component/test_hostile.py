"""Components that break the rules, and components that are none: an error of ours in each case."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.component.echo import LIBRARY, echo_component

from wasmpool import open_pool
from wasmpool_host import (
    CallTimeout,
    CompileError,
    Component,
    GuestMemoryError,
    GuestTrap,
    InstancePoisoned,
    Limits,
    LinkError,
    Module,
    WasmpoolError,
    host_function,
)
from wasmpool_host import _wit as wit
from wasmpool_host._compile.encoding import sized, unsigned, vector
from wasmpool_host._component.anatomy import Unreadable, read_anatomy
from wasmpool_host._component.augment import augment
from wasmpool_host._component.paired_types import Paired, PairedTypes
from wasmpool_host._component.type_space import TypeSpace, VariantType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path
    from typing import TypeAlias

    from wasmpool_host import ComponentInstance

    Start: TypeAlias = Callable[[Component], Awaitable[ComponentInstance]]


def returning(type_: str, named: str, *words: int) -> str:
    """A component whose ``get`` returns a pointer to these words, as a value of the type."""
    stores = "".join(
        f"(i32.store (i32.const {64 + 4 * k}) (i32.const {w}))" for k, w in enumerate(words)
    )
    return f"""(component
{LIBRARY}
  (alias core export $library "memory" (core memory $memory))
  (core module $main (import "" "memory" (memory 0))
    (func (export "get") (result i32) {stores} (i32.const 64)))
  (core instance $main (instantiate $main (with "" (instance
    (export "memory" (memory $memory))))))
  {named}
  (func (export "get") (result {type_})
    (canon lift (core func $main "get") (memory $memory))))"""


VARIANT = """(type $v' (variant (case "a") (case "b" u64)))
  (import "v" (type $v (eq $v')))"""


@pytest.fixture
async def start() -> AsyncGenerator[Start]:
    """Makes instances, and closes them in the end."""
    made: list[ComponentInstance] = []

    async def make(component: Component) -> ComponentInstance:
        made.append(await component.instantiate())
        return made[-1]

    yield make
    for instance in made:
        await instance.aclose()


@pytest.mark.parametrize(
    ("type_", "named", "words", "code"),
    [
        ("$v", VARIANT, (7,), "invalid-discriminant"),
        ("string", "", (0, 0x7FFF_FFFF), "string-out-of-bounds"),
        ("(list u64)", "", (0, 0x7FFF_FFF8), "list-out-of-bounds"),
        ("(list u64)", "", (0, 0x1FFF_FFFF), "list-out-of-bounds"),
        ("(tuple char u8)", "", (0xD800, 0), "invalid-char"),
        ("(tuple char u8)", "", (0x110000, 0), "invalid-char"),
    ],
)
async def test_a_value_that_breaks_the_rules_is_a_trap(
    type_: str, named: str, words: tuple[int, ...], code: str
) -> None:
    instance = await (await Component.compile(returning(type_, named, *words))).instantiate()
    with pytest.raises(GuestTrap) as info:
        await instance.call("get")
    assert info.value.code == code
    assert "get" in str(info.value)
    assert instance.poisoned == "trap"
    with pytest.raises(InstancePoisoned):
        await instance.call("get")
    await instance.aclose()


async def test_text_that_is_no_utf_8_is_a_trap() -> None:
    instance = await (await Component.compile(returning("string", "", 72, 2, 0xFFFF))).instantiate()
    with pytest.raises(GuestTrap, match="utf-8") as info:
        await instance.call("get")
    assert info.value.code == "invalid-string"
    await instance.aclose()


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        ("string", (4_096, 1_001)),
        ("(list bool)", (4_096, 1_001)),
        ("(list u32)", (4_096, 251)),
        ("(list string)", (4_096, 126)),
        ("(list (tuple string string))", (4_096, 63)),
    ],
)
async def test_a_result_above_the_limit_is_refused(type_: str, words: tuple[int, ...]) -> None:
    component = await Component.compile(returning(type_, "", *words), limits=Limits(payload=1_000))
    instance = await component.instantiate()
    with pytest.raises(GuestMemoryError, match=r"more than limits\.payload=1,000 bytes"):
        await instance.call("get")
    assert instance.poisoned == "bad-pointer"
    await instance.aclose()


async def test_arguments_of_a_host_function_are_bounded_too() -> None:
    @host_function("", "host")
    def host(_: object, x: Any) -> Any:
        return x

    component = await Component.compile(
        echo_component(wit.List(wit.Primitive("u32"))), imports=[host], limits=Limits(payload=999)
    )
    instance = await component.instantiate()
    with pytest.raises(GuestMemoryError, match="the call of host function host has more than"):
        await instance.call("echo", [0] * 250)
    assert instance.poisoned == "bad-pointer"
    await instance.aclose()


async def test_a_large_list_does_not_end_the_process(start: Start) -> None:
    """Wasmtime refuses what would take gigabytes of the host."""
    component = await Component.compile(returning("(list bool)", "", 0, 60_000))
    assert len(await (await start(component)).call("get")) == 60_000
    text = returning("(list bool)", "", 0, 200 << 20).replace(
        '(memory (export "memory") 1)', '(memory (export "memory") 3300)'
    )
    instance = await start(await Component.compile(text))
    with pytest.raises(GuestTrap) as info:
        await instance.call("get")
    assert info.value.code == "too-much-data"
    await instance.aclose()


# --- the host function's side -----------------------------------------------------------------


async def test_an_instance_is_not_entered_again(start: Start) -> None:
    """The component model forbids it; a host function is told so, and the guest goes on."""

    @host_function("", "host")
    async def host(caller: Any, x: int) -> int:
        with pytest.raises(RuntimeError, match=r"cannot be called by its host function"):
            await caller.call("echo", 1)
        with pytest.raises(RuntimeError, match=r"cannot be looked into by its host function"):
            _ = caller.memory
        with pytest.raises(trio.BusyResourceError):
            await instance.call("echo", 1)
        caller.state["seen"] = x
        return x

    component = await Component.compile(echo_component(wit.Primitive("u8")), imports=[host])
    instance = await start(component)
    assert await instance.call("echo", 3) == 3


async def test_an_error_of_a_host_function_comes_out_as_itself(start: Start) -> None:
    error = LookupError("nothing")

    @host_function("", "host")
    async def host(_: object, x: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise error

    text = wit.Tuple((wit.Primitive("string"), wit.List(wit.Primitive("string"))))
    component = await Component.compile(echo_component(text), imports=[host])
    instance = await start(component)
    with pytest.raises(LookupError) as info:
        await instance.call("echo", ("a" * 1_000, ["b" * 1_000] * 10))
    assert info.value is error
    assert instance.poisoned == "host-error"


async def test_a_call_is_cancelled_while_it_waits_and_before_its_host_function_runs() -> None:
    """At each pass of the loop, one after another: nothing is left behind."""

    @host_function("", "host")
    async def host(_: object, x: Any) -> Any:
        await trio.sleep_forever()

    text = wit.List(wit.Primitive("string"))
    component = await Component.compile(echo_component(text), imports=[host])
    for passes in range(6):
        instance = await component.instantiate()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(instance.call, "echo", ["a" * 100] * 100)
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await instance.aclose()


async def test_a_time_limit_ends_a_call(start: Start) -> None:
    @host_function("", "host")
    async def host(_: object, x: Any) -> Any:
        await trio.sleep_forever()

    component = await Component.compile(
        echo_component(wit.Primitive("u8")), imports=[host], limits=Limits(call_seconds=0.02)
    )
    instance = await start(component)
    with pytest.raises(CallTimeout, match="echo took longer than"):
        await instance.call("echo", 1)
    assert instance.poisoned == "timeout"


async def test_exchange_and_memory_are_for_modules(start: Start) -> None:
    instance = await start(await Component.compile("(component)"))
    with pytest.raises(TypeError, match="has no packed ABI"):
        await instance.exchange("f", b"")
    with pytest.raises(TypeError, match="shows no memory"):
        _ = instance.memory


# --- what is no component, and what cannot be run ----------------------------------------------


async def test_modules_and_components_are_told_apart() -> None:
    with pytest.raises(CompileError, match=r"is a WebAssembly component, .* Component\.compile"):
        await Module.compile("(component)")
    with pytest.raises(CompileError, match=r"is a WebAssembly module, .* Module\.compile"):
        await Component.compile("(module)")
    with pytest.raises(CompileError, match="is no valid WebAssembly component: it begins with"):
        await Component.compile(b"nonsense")
    with pytest.raises(CompileError, match="is no valid WebAssembly component"):
        await Component.compile(bytes(wasmtime.wat2wasm("(component)")) + b"\7\3abc")


async def test_what_nobody_provides_is_listed_with_its_interface() -> None:
    text = """(component
      (import "a:b/c@1.0.0" (instance
        (export "r" (type (sub resource)))
        (export "f" (func (param "x" (list string)) (result (option u8))))))
      (import "m" (core module)))"""
    with pytest.raises(LinkError) as info:
        await Component.compile(text)
    assert "a:b/c@1.0.0#f: func(x: list<string>) -> option<u8>" in str(info.value)
    assert "m: no function or resource" in str(info.value)


async def test_names_of_a_guest_are_escaped() -> None:
    component = await Component.compile(echo_component(wit.Enum(("a", "b"))), imports=[_host()])
    assert str(component.exports["echo"]) == "func(x: enum { a, b }) -> enum { a, b }"
    assert repr(component).startswith("<Component '")


def _host(interface: str = "") -> Any:
    @host_function(interface, "host")
    def host(_: object, x: Any) -> Any:
        return x

    return host


async def test_compiled_code_is_kept(tmp_path: Path, start: Start) -> None:
    text = echo_component(wit.List(wit.Primitive("u8")))
    for _ in range(2):
        component = await Component.compile(text, imports=[_host()], cache=tmp_path)
        instance = await start(component)
        assert await instance.call("echo", b"abc") == b"abc"
        assert len(list(tmp_path.iterdir())) == 1
    entry = next(tmp_path.iterdir())
    entry.write_bytes(entry.read_bytes()[:-1])
    component = await Component.compile(text, imports=[_host()], cache=tmp_path)
    assert await (await start(component)).call("echo", b"abc") == b"abc"


async def test_a_large_component_is_compiled_by_another_process(start: Start) -> None:
    """While instances are open: its code is the same."""
    small = echo_component(wit.Primitive("u8"))
    instance = await start(await Component.compile(small, imports=[_host()]))
    padding = "x" * 20_000
    large = small.replace("(component\n", f'(component (@custom "padding" "{padding}")\n', 1)
    component = await Component.compile(large, imports=[_host()])
    assert await (await start(component)).call("echo", 7) == 7
    assert await instance.call("echo", 8) == 8


SHAPE = wit.List(wit.Record((("a", wit.Flags(("b",))), ("c", wit.List(wit.Primitive("u8"))))))
BINARY = bytes(wasmtime.wat2wasm(echo_component(SHAPE)))
BINARIES = [BINARY, bytes(wasmtime.wat2wasm(echo_component(SHAPE, "test:host/host")))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_components_end_in_an_error_of_ours(data: st.DataObject) -> None:
    """Whatever byte is another one: refused, or a component that links or does not."""
    damaged = bytearray(data.draw(st.sampled_from(BINARIES)))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    async def main() -> None:
        try:
            functions = [_host(), _host("test:host/host")]
            component = await Component.compile(bytes(damaged), imports=functions)
            await (await component.instantiate()).aclose()
        except (WasmpoolError, MemoryError):
            pass

    trio.run(main)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_reader_of_components_only_says_that_it_cannot_read(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(BINARIES)))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_anatomy(bytes(damaged))
    except Unreadable:
        return
    augment(bytes(damaged))


def test_a_function_that_is_itself_is_not_looked_for_for_ever() -> None:
    """Nor is one that comes later; Wasmtime refuses both."""
    for index in (0, 1, 7):
        export = bytes((11, 7, 1, 0, 1, ord("f"), 1, index, 0))
        with pytest.raises(Unreadable, match="before itself"):
            read_anatomy(BINARY[:8] + export)
        alias = bytes((5, 8, 1, 1, 1, 0, 1, ord("f"), 1, index)) + bytes(
            (6, 6, 1, 1, 0, 0, 1, ord("f"))
        )
        with pytest.raises(Unreadable, match="before itself"):
            read_anatomy(BINARY[:8] + alias)


def test_types_that_double_at_each_level_are_read_once() -> None:
    """As values there would be more of them than the process can have: Wasmtime refuses that."""
    doubled = "\n".join(f"(type $t{k} (tuple $t{k - 1} $t{k - 1}))" for k in range(1, 45))
    text = f"""(component
      (type $t0 (list u8)) {doubled}
      (import "a:b/c" (instance $i (alias outer 1 $t44 (type $t))
        (export "f" (func (param "x" $t) (result $t)))))
      {LIBRARY}
      (alias core export $library "memory" (core memory $memory))
      (alias core export $library "realloc" (core func $realloc))
      (alias export $i "f" (func $f))
      (core func (canon lower (func $f) (memory $memory) (realloc $realloc))))"""
    augmented = augment(bytes(wasmtime.wat2wasm(text)))
    assert augmented is not None
    assert len(augmented.imports) == 1


def test_components_in_components_are_read_to_a_depth() -> None:
    nested = BINARY[:8]
    for _ in range(60):
        size = len(nested)
        nested = BINARY[:8] + b"\4" + bytes((size & 127 | 128, size >> 7)) + nested
    assert read_anatomy(nested).count("component") == 1


# --- small components that would take the host hours -------------------------------------------

HEADER = BINARY[:8]


def section(number: int, *items: bytes) -> bytes:
    return bytes((number,)) + sized(vector(items))


def named(name: str) -> bytes:
    return b"\0" + sized(name.encode())


def test_components_that_reach_out_of_each_other_are_not_read() -> None:
    """Each level would read the rest of the file once more."""
    rest = b""
    for _ in range(40):
        inner = HEADER + b"\4" + unsigned(len(rest) + 8) + HEADER
        rest = b"\4" + sized(inner) + rest
    assert read_anatomy(HEADER + rest).count("component") == 40


def test_an_index_without_an_end_is_not_read() -> None:
    """Its sum would take longer with each byte."""
    with pytest.raises(Unreadable, match="an index is too long"):
        read_anatomy(HEADER + section(7, b"\x70" + b"\xff" * 1_000_000))


def test_many_instances_of_many_functions_are_not_read() -> None:
    """Their names are as many as the product of both."""
    function = section(7, b"\x40\0\1\0")
    given = section(10, named("f") + b"\1\0")
    exports = section(11, *(named(f"f{k}") + b"\1\0\0" for k in range(1_000)))
    inner = b"\4" + sized(HEADER + function + given + exports)
    instance = b"\0\0" + vector([sized(b"f") + b"\1\0"])
    outer = HEADER + function + given + inner
    assert read_anatomy(outer + section(5, *[instance] * 50)).count("instance") == 50
    with pytest.raises(Unreadable, match="too many functions"):
        read_anatomy(outer + section(5, *[instance] * 1_000))


def test_a_function_under_many_names_is_found_at_once() -> None:
    """Each export is the one before it: no name goes all the way back."""
    exports = (named(f"f{k}") + b"\1" + unsigned(k) + b"\0" for k in range(100_000))
    binary = HEADER + section(7, b"\x40\0\1\0") + section(10, named("f") + b"\1\0")
    found = read_anatomy(binary + section(11, *exports)).functions
    assert len(found) == 100_000
    assert set(found.values()) == {0}


def test_a_type_that_very_many_functions_have_is_not_encoded_again_for_each() -> None:
    """What is added would be as large as the product of both."""
    params = vector([sized(f"p{k}".encode()) + b"\x73" for k in range(1_000)])
    types = section(7, b"\x40" + params + b"\1\0")
    lifted = section(8, *[b"\0\0\0\0\0"] * 1_000)
    exports = section(11, *(named(f"f{k}") + b"\1" + unsigned(k) + b"\0" for k in range(1_000)))
    assert augment(HEADER + types + lifted + exports) is None


def test_a_type_under_very_many_indices_is_looked_at_once() -> None:
    """Also where each is another name of the one before."""
    space = TypeSpace()
    index = space.add(VariantType(tuple((f"c{k}", -13) for k in range(1_000))))
    used: list[list[str]] = []
    types = PairedTypes(
        space,
        use=lambda names: used.append(list(names)),
        define=lambda _: 0,
        name=lambda index: index,
        resource=lambda index: index,
    )
    for _ in range(1_000):
        index = space.add_alias(space, index)
        assert types.has_pairs(space, index, Paired.ALL)
        types.make(space, index, Paired.ALL)
    assert len(used) == 2  # one for each question
    assert [len(names) for names in used] == [1_000, 1_000]


def doubled(times: int) -> str:
    """Types of which each has the one before twice."""
    types = "".join(f"(type $t{k + 1} (tuple $t{k} $t{k}))" for k in range(times))
    return f"(type $t0 (tuple u8 u8)) {types}"


async def test_a_type_of_very_many_parts_is_none_that_can_be_passed() -> None:
    """A few bytes stand for a million parts: they are not read, nor written into a message."""
    wanted = r"x: func\(a: a type of more than 5,000 parts\)"
    with pytest.raises(LinkError, match=wanted) as info:
        await Component.compile(f'(component {doubled(17)} (import "x" (func (param "a" $t17))))')
    assert len(str(info.value)) < 1_000


async def test_a_long_type_is_shortened_in_a_message() -> None:
    with pytest.raises(LinkError, match=r"x: func\(a: tuple<tuple<.* \.\.\.$") as info:
        await Component.compile(f'(component {doubled(10)} (import "x" (func (param "a" $t10))))')
    assert len(str(info.value)) < 1_000


async def test_functions_of_very_many_parts_together_are_refused() -> None:
    functions = "".join(f'(import "x{k}" (func (param "a" $t10)))' for k in range(100))
    with pytest.raises(CompileError, match="more than 200,000 parts"):
        await Component.compile(f"(component {doubled(10)} {functions})")


# --- cancels ---------------------------------------------------------------------------------

ENDLESS = """(component
  (core module $m (func $start (loop (br 0))) (start $start))
  (core instance (instantiate $m)))"""


async def test_a_start_that_never_ends_is_cancelled() -> None:
    """Nothing is left of the instance."""
    component = await Component.compile(ENDLESS)
    with trio.move_on_after(0.02) as scope:
        await component.instantiate()
    assert scope.cancelled_caught
    with trio.move_on_after(0.02) as scope:
        async with open_pool(component):
            raise AssertionError("it does not open")
    assert scope.cancelled_caught


async def test_a_start_that_traps_leaves_nothing() -> None:
    text = ENDLESS.replace("(loop (br 0))", "unreachable")
    with pytest.raises(GuestTrap, match="the start of component"):
        await (await Component.compile(text)).instantiate()


@pytest.mark.parametrize("passes", range(4))
async def test_a_compilation_is_cancelled(passes: int) -> None:
    """It returns at once, and nothing holds up the next one."""
    for compile_ in (Component.compile, Component.inspect):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(compile_, ENDLESS)
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    world = await Component.inspect(ENDLESS)
    assert (dict(world.imports), dict(world.exports), world.missing) == ({}, {}, ())


# --- all at once -------------------------------------------------------------------------------


async def test_calls_of_all_kinds_end_side_by_side() -> None:
    """Short ones, waiting ones, cancelled ones, on a pool that is reloaded meanwhile."""
    pause = 0.0

    @host_function("", "host")
    async def host(_: object, x: Any) -> Any:
        await trio.sleep(pause)
        return x

    type_ = wit.Tuple((wit.Primitive("string"), wit.List(wit.Primitive("u8"))))
    component = await Component.compile(echo_component(type_), imports=[host])
    other = await Component.compile(echo_component(type_) + " ", imports=[host])
    done = 0

    async def call(pool: Any, k: int) -> None:
        nonlocal done
        value = (f"{k}é" * 20, os.urandom(200))
        with trio.move_on_after(0.001 if k % 5 == 0 else 30):
            assert await pool.call("echo", value) == value
            done += 1

    async with open_pool(component, size=8, max_uses=20) as pool:
        for round_ in range(3):
            pause = 0.002 * round_
            async with trio.open_nursery() as nursery:
                for k in range(60):
                    nursery.start_soon(call, pool, k)
                await pool.reload(other if round_ % 2 == 0 else component)
        stats = pool.statistics()
    assert done >= 3 * 48
    assert stats.leased == 0
