"""Bytes that a host function is given, and returns: they go from memory to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import wasmtime

from wasmpool import open_pool
from wasmpool_host import (
    CallTimeout,
    Component,
    Err,
    GuestMemoryError,
    GuestTrap,
    InstanceClosed,
    Limits,
    Ok,
    Record,
    Variant,
    host_function,
)
from wasmpool_host._component.augment import augment

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool_host import ComponentInstance

LIBRARY = """
  (core module $library
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (global $calls (mut i32) (i32.const 0))
    (func (export "calls") (result i32) (global.get $calls))
    (func (export "realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      REALLOC
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (block $fits
        (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (drop (memory.grow (i32.add (i32.const 1)
          (i32.shr_u (local.get $size) (i32.const 16))))))
      local.get $at))
  (core instance $library (instantiate $library))
  (alias core export $library "memory" (core memory $memory))
  (alias core export $library "realloc" (core func $realloc))"""
"""A memory, and an allocator that only counts up."""


def component(realloc: str = "", start: str = "") -> str:
    """A component whose exports call the functions of ``test:host/bytes``.

    Args:
        realloc: instructions at the beginning of the allocator.
        start: a start function of the module that calls.
    """
    lowered = "".join(
        f'(alias export $host "{name}" (func ${name}))'
        f"(core func ${name}-core (canon lower (func ${name}) (memory $memory) (realloc $realloc)))"
        for name in ("take", "say", "get", "many", "read")
    )
    given = "".join(
        f'(export "{name}" (func ${name}-core))' for name in ("take", "say", "get", "many", "read")
    )
    return f"""(component
  (import "test:host/bytes" (instance $host
    (export "file" (type $file (sub resource)))
    (export "error" (type $error (sub resource)))
    (type $failure-own (variant (case "failed" (own $error)) (case "closed")))
    (export "failure" (type $failure (eq $failure-own)))
    (type $chunk-own (record (field "name" string) (field "data" (list u8)) (field "last" bool)))
    (export "chunk" (type $chunk (eq $chunk-own)))
    (export "open" (func (result (own $file))))
    (export "take" (func (param "data" (list u8))))
    (export "say" (func (param "text" string) (result string)))
    (export "get" (func (param "size" u32) (result (list u8))))
    (export "many" (func (param "chunks" (list $chunk)) (result (list (list u8)))))
    (export "read" (func (param "self" (borrow $file)) (result
      (result $chunk (error $failure)))))))
  (alias export $host "file" (type $file))
  (alias export $host "chunk" (type $chunk))
{LIBRARY.replace("REALLOC", realloc)}
  {lowered}
  (alias export $host "open" (func $open))
  (core func $open-core (canon lower (func $open)))
  (core func $drop (canon resource.drop $file))
  (core module $main
    (import "" "memory" (memory 0))
    (import "" "take" (func $take (param i32 i32)))
    (import "" "say" (func $say (param i32 i32 i32)))
    (import "" "get" (func $get (param i32 i32)))
    (import "" "many" (func $many (param i32 i32 i32)))
    (import "" "read" (func $read (param i32 i32)))
    (import "" "open" (func $open (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (data (i32.const 200) "hello")
    {start}
    (func (export "take") (param i32 i32) (call $take (local.get 0) (local.get 1)))
    (func (export "say") (param i32 i32) (result i32)
      (call $say (local.get 0) (local.get 1) (i32.const 64)) (i32.const 64))
    (func (export "get") (param i32) (result i32)
      (call $get (local.get 0) (i32.const 64)) (i32.const 64))
    (func (export "many") (param i32 i32) (result i32)
      (call $many (local.get 0) (local.get 1) (i32.const 64)) (i32.const 64))
    (func (export "read") (result i32) (local $file i32)
      (local.set $file (call $open))
      (call $read (local.get $file) (i32.const 64))
      (call $drop (local.get $file))
      (if (result i32) (i32.load8_u (i32.const 64))
        (then (i32.const -1))
        (else (i32.load (i32.const 80))))))
  (core instance $main (instantiate $main (with "" (instance {given}
    (export "memory" (memory $memory)) (export "open" (func $open-core))
    (export "drop" (func $drop))))))
  (func (export "take") (param "at" u32) (param "size" u32) (canon lift (core func $main "take")))
  (func (export "say") (param "at" u32) (param "size" u32) (result string)
    (canon lift (core func $main "say") (memory $memory)))
  (func (export "get") (param "size" u32) (result (list u8))
    (canon lift (core func $main "get") (memory $memory)))
  (func (export "many") (param "chunks" (list $chunk)) (result (list (list u8)))
    (canon lift (core func $main "many") (memory $memory) (realloc $realloc)))
  (func (export "read") (result u32) (canon lift (core func $main "read")))
  (func (export "calls") (result u32) (canon lift (core func $library "calls"))))"""


class Host:
    """The host functions, and what they were given."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.reply: Callable[[Any], Any] = lambda value: value
        functions: dict[str, Any] = {
            "open": lambda _: self,
            "take": self._take,
            "say": self._echo,
            "get": lambda _, size: self.reply(bytes(range(256)) * (size // 256)),
            "many": lambda _, chunks: self._many(chunks),
            "read": lambda _, file: self.reply(file),
        }
        self.functions = [
            host_function("test:host/bytes", name)(each) for name, each in functions.items()
        ]

    def _take(self, _: object, data: bytes) -> None:
        self.given.append(data)

    def _echo(self, _: object, text: str) -> Any:
        self.given.append(text)
        return self.reply(text)

    def _many(self, chunks: list[Record]) -> Any:
        self.given += chunks
        return self.reply([chunk.data for chunk in chunks])


async def started(host: Host, text: str = "", **limits: float) -> ComponentInstance:
    made = await Component.compile(
        text or component(),
        imports=host.functions,
        limits=Limits(**limits),  # type: ignore[arg-type]  # by name
    )
    return await made.instantiate()


async def test_bytes_of_any_length_come_and_go() -> None:
    host = Host()
    instance = await started(host)
    for size in (0, 256, 65_536, 1 << 20):
        assert await instance.call("get", size) == bytes(range(256)) * (size // 256)
    await instance.call("take", 200, 5)
    await instance.call("take", 0, 0)
    assert await instance.call("say", 200, 5) == "hello"
    assert host.given == [b"hello", b"", "hello"]
    assert instance.poisoned is None
    await instance.aclose()


async def test_lists_of_records_with_bytes_come_and_go() -> None:
    """More of them than one call of the allocator is for."""
    host = Host()
    instance = await started(host)
    for count, size in ((0, 0), (1, 100_000), (40, 3), (33, 2_000)):
        chunks = [
            {"name": f"{k}é", "data": bytes([k]) * (size - k % 2), "last": k == 7}
            for k in range(count)
        ]
        assert await instance.call("many", chunks) == [chunk["data"] for chunk in chunks]
        assert [chunk.name for chunk in host.given] == [f"{k}é" for k in range(count)]
        assert [chunk.last for chunk in host.given] == [k == 7 for k in range(count)]
        host.given.clear()
    await instance.aclose()


async def test_a_result_has_bytes_or_a_resource() -> None:
    """Handles are Wasmtime's, bytes are the host's, and both are in one value."""
    host = Host()
    instance = await started(host)
    host.reply = lambda _: Ok({"name": "a", "data": bytes(5_000), "last": True})
    assert await instance.call("read") == 5_000
    host.reply = lambda _: Err(Variant("failed", object()))
    assert await instance.call("read") == (1 << 32) - 1
    host.reply = lambda _: Err(Variant("closed"))
    assert await instance.call("read") == (1 << 32) - 1
    await instance.aclose()


async def test_a_start_function_calls_with_bytes() -> None:
    """Then the memory is there, and the component is not yet."""
    host = Host()
    start = """(func $start (call $take (i32.const 200) (i32.const 4))
      (call $get (i32.const 512) (i32.const 64))
      (call $take (i32.load (i32.const 64)) (i32.load (i32.const 68)))
      (call $many (i32.const 0) (i32.const 0) (i32.const 64))) (start $start)"""
    host.reply = lambda value: value or [b"a", b"bc"]
    instance = await started(host, component(start=start))
    assert host.given == [b"hell", bytes(range(256)) * 2]
    assert await instance.call("get", 256) == bytes(range(256))
    await instance.aclose()


async def test_the_allocator_is_called_once_for_each_list() -> None:
    """A guest frees each on its own."""
    host = Host()
    instance = await started(host)
    before = await instance.call("calls")
    host.reply = lambda _: [b"", b"a", bytes(3_000)] * 10
    assert await instance.call("many", []) == [b"", b"a", bytes(3_000)] * 10
    # One for the argument, one for the list itself, and one for each of its items.
    assert await instance.call("calls") == before + 32
    await instance.aclose()


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("take", (65_530, 100), "100 bytes at 0xfffa, is outside"),
        ("take", (0xFFFF_FFFF, 1), "is outside the guest's memory"),
        ("take", (0xFFFF_FFFF, 0xFFFF_FFFF), "above limits.payload=1,000"),
        ("take", (0, 1_001), "of 1,001 bytes, is above limits.payload=1,000"),
        ("say", (65_535, 2), "is outside the guest's memory"),
        ("say", (0, 1_001), "above limits.payload=1,000"),
    ],
)
async def test_hostile_pointers_end_in_an_error(
    name: str, args: tuple[int, ...], message: str
) -> None:
    host = Host()
    instance = await started(host, payload=1_000)
    with pytest.raises(GuestMemoryError, match=f"the call of host function .*{message}"):
        await instance.call(name, *args)
    assert instance.poisoned == "bad-pointer"
    assert host.given == []
    await instance.aclose()


async def test_text_that_is_no_utf_8_is_an_error() -> None:
    host = Host()
    instance = await started(host, component().replace('"hello"', '"hel\\ffo"'), payload=1_000)
    with pytest.raises(GuestMemoryError, match="is no UTF-8"):
        await instance.call("say", 200, 5)
    assert instance.poisoned == "bad-pointer"
    await instance.aclose()


async def test_all_that_one_call_is_given_is_counted_together() -> None:
    host = Host()
    instance = await started(host, payload=10_000)
    chunk = {"name": "", "data": bytes(4_000), "last": False}
    assert len(await instance.call("many", [chunk] * 2)) == 2
    with pytest.raises(GuestMemoryError, match="more than limits.payload=10,000 bytes"):
        await instance.call("many", [chunk] * 3)
    await instance.aclose()


@pytest.mark.parametrize("several", [1, 3])
async def test_an_allocator_that_returns_a_bad_pointer_ends_in_an_error(several: int) -> None:
    host = Host()
    instance = await started(
        host,
        component("(if (i32.eq (local.get $align) (i32.const 1)) (then (return (i32.const -8))))"),
    )
    host.reply = lambda _: [bytes(100)] * several
    with pytest.raises(GuestMemoryError, match="from the guest's allocator, are outside"):
        await instance.call("many", [])
    assert instance.poisoned == "bad-pointer"
    await instance.aclose()


@pytest.mark.parametrize("several", [1, 3])
async def test_an_allocator_that_traps_is_a_trap(several: int) -> None:
    host = Host()
    instance = await started(
        host, component("(if (i32.gt_u (local.get $size) (i32.const 50)) (then unreachable))")
    )
    host.reply = lambda _: [bytes(100)] * several
    with pytest.raises(GuestTrap, match="the guest's allocator trapped"):
        await instance.call("many", [])
    assert instance.poisoned == "trap"
    await instance.aclose()


SPINNING = "(if (i32.gt_u (local.get $size) (i32.const 50)) (then (loop (br 0))))"


async def test_a_call_is_cancelled_while_the_allocator_runs() -> None:
    host = Host()
    instance = await started(host, component(SPINNING))
    with trio.move_on_after(0.02) as scope:
        await instance.call("get", 256)
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"
    await instance.aclose()


async def test_a_time_limit_ends_the_allocator() -> None:
    host = Host()
    instance = await started(host, component(SPINNING), call_seconds=0.5)
    with pytest.raises(CallTimeout):
        await instance.call("get", 256)
    assert instance.poisoned == "timeout"
    await instance.aclose()


async def test_an_instance_is_closed_while_the_allocator_runs() -> None:
    host = Host()
    instance = await started(host, component(SPINNING))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            with pytest.raises(InstanceClosed):
                await instance.call("get", 256)

        await trio.testing.wait_all_tasks_blocked(0.005)
        await instance.aclose()


async def test_a_result_that_does_not_fit_is_a_type_error() -> None:
    """Before the allocator is called."""
    host = Host()
    instance = await started(host)
    host.reply = lambda _: [b"abc", "text"]
    with pytest.raises(TypeError, match=r"the result of host function .*\[1\]: give bytes"):
        await instance.call("many", [])
    assert instance.poisoned == "host-error"
    await instance.aclose()


async def test_many_instances_wait_and_are_cancelled_with_bytes_under_way() -> None:
    host = Host()

    async def reply(value: Any) -> Any:
        await trio.sleep(0.002)
        return value

    host.reply = reply
    made = await Component.compile(component(), imports=host.functions)
    done = 0

    async def call(pool: Any, k: int) -> None:
        nonlocal done
        with trio.move_on_after(0.001 if k % 3 == 0 else 30):
            assert len(await pool.call("get", 256 * k)) == 256 * k
            done += 1

    async with open_pool(made, size=8) as pool:
        async with trio.open_nursery() as nursery:
            for k in range(90):
                nursery.start_soon(call, pool, k)
        assert pool.statistics().leased == 0
    assert done >= 60


def test_the_imports_are_those_of_the_component() -> None:
    """What was added to it does not show."""

    async def main() -> None:
        made = await Component.compile(component(), imports=Host().functions)
        world = await Component.inspect(component())
        for names in (made.imports, made.exports, world.imports, world.exports, world.missing):
            assert not [name for name in names if "wasmpool" in name]
        assert len(world.missing) == 6

    trio.run(main)


NAMED = f"""(component
  (import "test:host/named" (instance $host
    (type $byte-own u8) (export "byte" (type $byte (eq $byte-own)))
    (type $blob-own (list $byte)) (export "blob" (type $blob (eq $blob-own)))
    (type $text-own string) (export "text" (type $text (eq $text-own)))
    (type $pair-own (record (field "a" $blob) (field "b" $text) (field "c" $byte)))
    (export "pair" (type $pair (eq $pair-own)))
    (export "f" (func (param "x" $pair) (result (option $pair))))))
  (alias export $host "pair" (type $pair))
{LIBRARY.replace("REALLOC", "")}
  (alias export $host "f" (func $f))
  (core func $f-core (canon lower (func $f) (memory $memory) (realloc $realloc)))
  (core module $main (import "" "f" (func $f (param i32 i32 i32 i32 i32 i32)))
    (func (export "f") (param i32 i32 i32 i32 i32) (result i32)
      (call $f (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
        (i32.const 64))
      (i32.const 64)))
  (core instance $main (instantiate $main (with "" (instance (export "f" (func $f-core))))))
  (func (export "f") (param "x" $pair) (result (option $pair))
    (canon lift (core func $main "f") (memory $memory) (realloc $realloc))))"""


async def test_types_with_names_of_their_own() -> None:
    """``type blob = list<byte>`` is a ``list<u8>``."""

    @host_function("test:host/named", "f")
    def f(_: object, pair: Any) -> Any:
        assert (type(pair.a), type(pair.b)) == (bytes, str)
        return {"a": pair.a[::-1], "b": pair.b.upper(), "c": pair.c + 1}

    instance = await (await Component.compile(NAMED, imports=[f])).instantiate()
    for size in (0, 3, 100_000):
        value = {"a": bytes(range(256))[:size] * 400, "b": "é" * size, "c": 7}
        found = await instance.call("f", value)
        assert (found.a, found.b, found.c) == (value["a"][::-1], "É" * size, 8)  # type: ignore[index]
    await instance.aclose()


ROOT = f"""(component
  (import "file" (type $file (sub resource)))
  (type $same (func (param "x" (list u8)) (result (list u8))))
  (import "a" (func $a (type $same)))
  (import "test:host/one" (instance $one (export "f" (func (param "x" u32) (result u32)))))
  (import "b" (func $b (type $same)))
  (import "open" (func $open (result (own $file))))
  (import "read" (func $read (param "self" (borrow $file)) (result (list u8))))
  (import "test:host/two" (instance $two (export "g" (func (param "x" string) (result (list u8))))))
  (alias export $one "f" (func $f))
  (alias export $two "g" (func $g))
{LIBRARY.replace("REALLOC", "")}
  (core func $a-core (canon lower (func $a) (memory $memory) (realloc $realloc)))
  (core func $b-core (canon lower (func $b) (memory $memory) (realloc $realloc)))
  (core func $g-core (canon lower (func $g) (memory $memory) (realloc $realloc)))
  (core func $read-core (canon lower (func $read) (memory $memory) (realloc $realloc)))
  (core func $f-core (canon lower (func $f)))
  (core func $open-core (canon lower (func $open)))
  (core func $drop (canon resource.drop $file))
  (core module $main
    (import "" "a" (func $a (param i32 i32 i32)))
    (import "" "b" (func $b (param i32 i32 i32)))
    (import "" "g" (func $g (param i32 i32 i32)))
    (import "" "read" (func $read (param i32 i32)))
    (import "" "f" (func $f (param i32) (result i32)))
    (import "" "open" (func $open (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "a") (param i32 i32) (result i32)
      (call $a (local.get 0) (local.get 1) (i32.const 64)) (i32.const 64))
    (func (export "b") (param i32 i32) (result i32)
      (call $b (local.get 0) (local.get 1) (i32.const 64)) (i32.const 64))
    (func (export "g") (param i32 i32) (result i32)
      (call $g (local.get 0) (local.get 1) (i32.const 64)) (i32.const 64))
    (func (export "read") (result i32) (local $file i32)
      (local.set $file (call $open))
      (call $read (local.get $file) (i32.const 64))
      (call $drop (local.get $file))
      (i32.const 64))
    (func (export "f") (param i32) (result i32) (call $f (local.get 0))))
  (core instance $main (instantiate $main (with "" (instance
    (export "a" (func $a-core)) (export "b" (func $b-core)) (export "g" (func $g-core))
    (export "read" (func $read-core)) (export "f" (func $f-core))
    (export "open" (func $open-core)) (export "drop" (func $drop))))))
  (func (export "a") (param "x" (list u8)) (result (list u8))
    (canon lift (core func $main "a") (memory $memory) (realloc $realloc)))
  (func (export "b") (param "x" (list u8)) (result (list u8))
    (canon lift (core func $main "b") (memory $memory) (realloc $realloc)))
  (func (export "g") (param "x" string) (result (list u8))
    (canon lift (core func $main "g") (memory $memory) (realloc $realloc)))
  (func (export "read") (result (list u8)) (canon lift (core func $main "read") (memory $memory)))
  (func (export "f") (param "x" u32) (result u32) (canon lift (core func $main "f")))
  (component $inner
    (import "two" (instance (export "g" (func (param "x" string) (result (list u8)))))))
  (instance (instantiate $inner (with "two" (instance $two)))))"""


async def test_functions_at_the_root_between_instances() -> None:
    """Other instances get other indices, and all that refers to them with them."""
    found = augment(bytes(wasmtime.wat2wasm(ROOT)))
    assert found is not None
    assert {each.name for each in found.imports.values()} == {"a", "b", "read", "g"}
    functions: dict[tuple[str, str], Any] = {
        ("", "a"): lambda _, data: data[::-1],
        ("", "b"): lambda _, data: data + b"b",
        ("", "open"): lambda _: "a file",
        ("", "read"): lambda _, file: file.encode() * 1_000,
        ("test:host/one", "f"): lambda _, number: number + 1,
        ("test:host/two", "g"): lambda _, text: text.encode() * 2,
    }
    imports = [host_function(*name)(function) for name, function in functions.items()]
    component = await Component.compile(ROOT, imports=imports)
    at_root = [name for name in component.imports if "#" not in name]
    assert at_root == ["file", "a", "b", "open", "read"]
    instance = await component.instantiate()
    data = bytes(range(256)) * 500
    assert await instance.call("a", data) == data[::-1]
    assert await instance.call("b", data) == data + b"b"
    assert await instance.call("g", "é" * 5_000) == "é".encode() * 10_000
    assert await instance.call("read") == b"a file" * 1_000
    assert await instance.call("f", 41) == 42
    await instance.aclose()
