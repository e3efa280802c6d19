"""A manifest with several modules: they are linked by name, in each instance anew."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from wasmpool import (
    Caller,
    ExtismError,
    GuestMemoryError,
    Limits,
    LinkError,
    PoolUnavailable,
    SnapshotError,
    Wasi,
    host_function,
    open_extism,
)

UPPER = """(module
  (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (global $calls (export "calls") (mut i32) (i32.const 0))
  (memory (export "memory") 1)
  (func (export "_initialize") (global.set $calls (i32.const 100)))
  (func (export "upper") (param $at i64)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (call $store (local.get $at) (i32.sub (call $load (local.get $at)) (i32.const 32)))))"""
MAIN = """(module
  (import "extism:host/env" "input_offset" (func $at (result i64)))
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "output_set" (func $set (param i64 i64)))
  (import "letters" "upper" (func $upper (param i64)))
  (import "letters" "calls" (global $calls (mut i32)))
  (func (export "shout")
    (call $upper (call $at))
    (call $set (call $at) (call $length)))
  (func (export "calls") (result i32) (global.get $calls)))"""


def manifest(*modules: tuple[str, str]) -> dict[str, Any]:
    """A manifest of modules by name, the last one the main one."""
    return {"wasm": [{"name": name, "data": text.encode()} for name, text in modules]}


BOTH = manifest(("letters", UPPER), ("main", MAIN))


async def test_a_library() -> None:
    """The main module calls it; both use the blocks, and each instance has its own of it."""
    async with open_extism(BOTH, size=2) as plugin:
        assert plugin.exports == ("shout", "calls")
        assert await plugin.call("shout", b"abc") == b"Abc"
        with pytest.raises(ExtismError, match="returned 101"):
            await plugin.call("calls")
        async with plugin.pool.lease() as first, plugin.pool.lease() as second:
            assert await first.exchange("shout", b"x") == await second.exchange("shout", b"x")
            counts = {await first.call("calls"), await second.call("calls")}
        assert counts == {101, 102}


@pytest.mark.parametrize("last", ["main", "anything"])
async def test_the_last_is_the_main_one(last: str) -> None:
    """A module that is named main, or else the last one; libraries may stand in any order."""
    middle = """(module (import "letters" "upper" (func $upper (param i64)))
      (func (export "upper") (param i64) (call $upper (local.get 0))))"""
    main = MAIN.replace('"letters" "upper"', '"middle" "upper"')
    async with open_extism(
        manifest(("middle", middle), ("letters", UPPER), (last, main))
    ) as plugin:
        assert await plugin.call("shout", b"abc") == b"Abc"
        assert await plugin.reload(BOTH) == 2
        assert await plugin.reload(BOTH) == 2
        assert await plugin.call("shout", b"abc") == b"Abc"
        changed = manifest(("letters", UPPER.replace("100", "101")), ("main", MAIN))
        assert await plugin.reload(changed) == 3


async def test_host_functions_of_a_library() -> None:
    """A library imports host functions, and a read by its caller is of its own memory."""
    seen: list[bytes] = []

    @host_function("extism:host/user", "look", params=("i32",))
    def look(caller: Caller, ptr: int) -> None:
        seen.append(caller.memory.read(ptr, 7))

    library = """(module
      (import "extism:host/user" "look" (func $look (param i32)))
      (memory (export "memory") 1)
      (data (i32.const 5) "library")
      (func (export "go") (call $look (i32.const 5))))"""
    main = """(module
      (import "lib" "go" (func $go)) (memory (export "memory") 1)
      (func (export "go") (call $go)))"""
    async with open_extism(manifest(("lib", library), ("main", main)), functions=[look]) as plugin:
        await plugin.call("go")
    assert seen == [b"library"]


async def test_wasi_of_a_library(caplog: pytest.LogCaptureFixture) -> None:
    """WASI, too, reads the memory of the module that calls it."""
    library = r"""(module
      (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 8) "\10\00\00\00\06\00\00\00hello\0a")
      (func (export "go")
        (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"""
    main = """(module
      (import "lib" "go" (func $go))
      (memory (export "memory") 1)
      (export "go" (func $go)))"""
    caplog.set_level(logging.INFO, "wasmpool.guest.stdout")
    async with open_extism(manifest(("lib", library), ("main", main)), wasi=Wasi()) as plugin:
        await plugin.call("go")
    assert [each.getMessage() for each in caplog.records] == ["hello"]


async def test_wrong_libraries() -> None:
    """What is missing, a circle and a program are named; a snapshot is refused."""
    with pytest.raises(LinkError, match=r"letters.upper: \(i64\) -> \(\)"):
        async with open_extism(manifest(("other", UPPER), ("main", MAIN))):
            pass
    broken = """(module (import "a" "b" (func))
      (global (export "calls") (mut i32) (i32.const 0)) (func (export "upper") (param i64)))"""
    with pytest.raises(LinkError, match=r"module 'letters' beside .*:\n  a.b"):
        async with open_extism(manifest(("letters", broken), ("main", MAIN))):
            pass
    a, b = '(module (import "b" "f" (func)))', '(module (import "a" "f" (func)))'
    with pytest.raises(LinkError, match="in a circle: a, b"):
        async with open_extism(manifest(("a", a), ("b", b), ("main", MAIN))):
            pass
    program = '(module (func (export "_start")))'
    with pytest.raises(LinkError, match="module 'p' is a program"):
        async with open_extism(manifest(("p", program), ("main", MAIN))):
            pass
    with pytest.raises(LinkError, match="a module is named 'extism:host/env'"):
        async with open_extism(manifest(("extism:host/env", UPPER), ("main", MAIN))):
            pass
    with pytest.raises(SnapshotError, match="linked to other modules"):
        async with open_extism(BOTH, pristine=True):
            pass


async def test_a_library_that_does_not_fit() -> None:
    """A type that only Wasmtime compares, a start that traps, and memory above the limits."""
    other = UPPER.replace("(mut i32) (i32.const 0)", "i32 (i32.const 0)").replace(
        "(global.set $calls", "(drop"
    )
    traps = UPPER.replace("(global.set $calls (i32.const 100))", "unreachable")
    for library in (other, traps):
        with pytest.raises(PoolUnavailable):
            async with open_extism(manifest(("letters", library), ("main", MAIN))):
                pass
    big = UPPER.replace('(memory (export "memory") 1)', '(memory (export "memory") 100)')
    with pytest.raises(GuestMemoryError, match="starts with 6,553,600 bytes"):
        async with open_extism(
            manifest(("letters", big), ("main", MAIN)), limits=Limits(memory=4 << 20)
        ):
            pass
