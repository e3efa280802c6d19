"""Calls of components: values, host functions, resources, and how they end."""

from __future__ import annotations

import pytest
import trio

from wasmpool_host import Component, GuestTrap, LinkError, host_function

ADD = """(component
  (core module $m
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "trap") unreachable)
    (func (export "spin") (loop (br 0))))
  (core instance $i (instantiate $m))
  (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
  (export "add" (func $add))
  (instance $docs (export "add" (func $add)))
  (export "docs:adder/add@0.1.0" (instance $docs))
  (func (export "trap") (canon lift (core func $i "trap")))
  (func (export "spin") (canon lift (core func $i "spin"))))"""


async def test_a_function_is_called_at_the_root_and_in_an_interface() -> None:
    component = await Component.compile(ADD)
    instance = await component.instantiate()
    assert await instance.call("add", 20, 22) == 42
    assert await instance.call("docs:adder/add@0.1.0#add", 1, 2) == 3
    await instance.aclose()


async def test_a_trap_poisons() -> None:
    component = await Component.compile(ADD)
    instance = await component.instantiate()
    with pytest.raises(GuestTrap) as info:
        await instance.call("trap")
    assert info.value.code == "unreachable"
    assert instance.poisoned == "trap"
    await instance.aclose()


async def test_an_endless_loop_is_cancelled() -> None:
    component = await Component.compile(ADD)
    instance = await component.instantiate()
    with trio.move_on_after(0.05) as scope:
        await instance.call("spin")
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"
    await instance.aclose()


PAUSE = """(component
  (import "pause" (func $pause (param "ms" u32) (result u32)))
  (core func $pause (canon lower (func $pause)))
  (core module $m
    (import "h" "pause" (func $pause (param i32) (result i32)))
    (func (export "nap") (param i32) (result i32) (call $pause (local.get 0))))
  (core instance $i (instantiate $m (with "h" (instance (export "pause" (func $pause))))))
  (func (export "nap") (param "ms" u32) (result u32) (canon lift (core func $i "nap"))))"""


async def test_a_host_function_is_awaited() -> None:
    @host_function("", "pause")
    async def pause(_: object, ms: int) -> int:
        await trio.sleep(ms / 1000)
        return ms + 1

    component = await Component.compile(PAUSE, imports=[pause])
    instance = await component.instantiate()
    assert await instance.call("nap", 5) == 6
    await instance.aclose()


async def test_what_nobody_provides_is_listed() -> None:
    with pytest.raises(LinkError, match=r"pause: func\(ms: u32\) -> u32"):
        await Component.compile(PAUSE)
