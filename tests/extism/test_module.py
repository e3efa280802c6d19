"""A module with a kernel, without a plugin around it: instances, pools and snapshots of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from tests.extism.script_guest import guest

from wasmpool import (
    Caller,
    ExtismError,
    GuestTrap,
    Instance,
    InstanceClosed,
    LeaseRevoked,
    Limits,
    Module,
    host_function,
    open_extism,
    open_pool,
)
from wasmpool_host.lowlevel import KernelAccess, compile_extism

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

COUNTS = """(module
  (import "extism:host/env" "input_offset" (func $at (result i64)))
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "output_set" (func $set (param i64 i64)))
  (global $calls (mut i32) (i32.const 0))
  (memory (export "memory") 1)
  (func (export "echo")
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (call $set (call $at) (call $length)))
  (func (export "calls") (result i32) (global.get $calls)))"""


async def test_an_instance() -> None:
    """`Instance.exchange` is a call with an input; the instance serves until it is closed."""
    instance = await (await compile_extism(COUNTS)).instantiate()
    assert await instance.exchange("echo", b"abc") == b"abc"
    assert await instance.exchange("echo") == b""
    with pytest.raises(ExtismError, match="calls returned 2"):
        await instance.exchange("calls")
    assert await instance.call("calls") == 2
    assert instance.memory.size == 1 << 16
    assert instance.poisoned is None
    await instance.aclose()
    with pytest.raises(InstanceClosed):
        await instance.exchange("echo", b"abc")


async def test_a_snapshot_after_calls() -> None:
    """Its instances begin with the state of the guest, each with a kernel that is empty."""
    module = await compile_extism(COUNTS)

    async def warm_up(instance: Instance) -> None:
        for _ in range(5):
            await instance.exchange("echo", b"x" * 100_000)

    async with open_pool(await module.snapshot(warm_up), size=1, max_uses=1) as pool:
        for _ in range(2):
            with pytest.raises(ExtismError, match="calls returned 5"):
                await pool.exchange("calls")
            assert await pool.exchange("echo", b"abc") == b"abc"


async def test_a_trap_poisons() -> None:
    """An instance whose guest trapped in a call does not serve again."""
    instance = await (
        await compile_extism('(module (func (export "f") unreachable))')
    ).instantiate()
    with pytest.raises(GuestTrap):
        await instance.exchange("f", b"x")
    assert instance.poisoned == "trap"
    await instance.aclose()


async def test_a_large_input_after_a_large_one() -> None:
    """The memory of the blocks grows once, and is cleared each time."""
    instance = await (await compile_extism(COUNTS, limits=Limits(payload=1 << 24))).instantiate()
    for size in (0, 1 << 23, 1, 1 << 23, 1 << 16, 1 << 22):
        data = bytes([size % 251]) * size
        assert await instance.exchange("echo", data) == data
    await instance.aclose()


async def test_modules_are_compared_with_their_kernels() -> None:
    """A pool takes a module with a kernel and one without for two, and a reload switches."""
    module: Module = await compile_extism('(module (func (export "f")))')
    plain = await Module.compile('(module (func (export "f")))')
    async with open_pool(module) as pool:
        assert await pool.reload(plain) == 2
        with pytest.raises(TypeError, match="an exchange without a payload needs"):
            await pool.exchange("f")
        assert await pool.reload(module) == 3
        assert await pool.exchange("f") == b""


async def test_no_kernel() -> None:
    """The blocks of a guest without a kernel cannot be had."""

    @host_function("env", "f")
    def f(caller: Caller) -> None:
        KernelAccess(caller)

    module = await Module.compile(
        '(module (import "env" "f" (func $f)) (func (export "f") (call $f)))', imports=[f]
    )
    instance = await module.instantiate()
    with pytest.raises(TypeError, match="for Extism plugins"):
        await instance.call("f")
    await instance.aclose()


@pytest.mark.parametrize("change", ["close", "reload"])
async def test_the_end_of_a_grace(change: str, until: Until) -> None:
    """A call that goes on beyond the grace of a close or a reload is ended by LeaseRevoked."""
    async with open_extism(guest(), size=1, grace=0) as plugin, trio.open_nursery() as nursery:

        async def spin() -> None:
            with pytest.raises(LeaseRevoked):
                await plugin.call("spin")

        nursery.start_soon(spin)
        await until(lambda: plugin.statistics().leased == 1)
        if change == "close":
            await plugin.aclose()
        else:
            await plugin.reload(guest(start="(global i32 (i32.const 1))"))
            assert await plugin.call("echo", b"on") == b"on"
