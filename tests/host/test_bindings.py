"""An instance takes over the buffers of one that has ended, and nothing of its guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.host import seams

from wasmpool_host import GuestTrap, InstanceClosed, Module, host_function
from wasmpool_host.lowlevel import PENDING, DrivenModule

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wasmpool_host import Instance

GUEST = """(module
  (memory (export "memory") 1) (memory (export "second") 2)
  (global (export "count") (mut i32) (i32.const 7))
  (func (export "swap") (param i32 i32) (result i32 i32) local.get 1 local.get 0)
  (func (export "trap") unreachable)
  (func (export "spin") (loop $l (br $l)))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "read") (param i64) (result i64) (i64.const 0x40000000010)))"""


_FAILS = [False]


@host_function("env", "fails", results=["i32"])
def _fails(_: object) -> int:
    return _FAILS[0]


async def test_the_next_instance_takes_them_over() -> None:
    """As long as one is open after the other, a module has one set of them."""
    module = await Module.compile(GUEST)
    for k in range(5):
        instance = await module.instantiate()
        assert seams.spare_bindings(module) == 0
        assert await instance.call("swap", k, k + 1) == (k + 1, k)
        await instance.aclose()
        assert seams.spare_bindings(module) == 1


async def test_each_open_instance_has_its_own() -> None:
    """Calls of several do not mix, in whatever order they are opened and closed."""
    module = await Module.compile(GUEST)
    opened: list[Instance] = []
    for k in range(12):
        if k % 4 == 3:
            await opened.pop(k % len(opened)).aclose()
        opened.append(await module.instantiate())
        for number, instance in enumerate(opened):
            assert await instance.call("swap", number, -number) == (-number, number)
            instance.globals["count"] = number
        assert [each.globals["count"] for each in opened] == list(range(len(opened)))
    for instance in opened:
        await instance.aclose()
    assert seams.spare_bindings(module) == len(opened)


async def test_nothing_of_the_last_guest_is_seen() -> None:
    """Neither its memory by the next one, nor the next one's by what was kept of the last."""
    module = await Module.compile(GUEST)
    first = await module.instantiate()
    await first.exchange("read", b"the first one's key")
    kept = first.memory, first.memories["second"], first.globals
    await first.aclose()
    second = await module.instantiate()
    assert second.memory.read(0, 4096) == bytes(4096)
    assert await second.exchange("read", b"other") == b"other".ljust(16, b"\0")
    for memory in kept[:2]:
        with pytest.raises(InstanceClosed):
            memory.read(1024, 5)
    with pytest.raises(InstanceClosed):
        kept[2]["count"]
    assert (first.poisoned, second.poisoned) == ("closed", None)
    await first.aclose()
    assert await second.call("swap", 1, 2) == (2, 1)
    await second.aclose()


async def _trap(instance: Any) -> None:
    with pytest.raises(GuestTrap):
        await instance.call("trap")


async def _cancel(instance: Any) -> None:
    with trio.move_on_after(0.01):
        await instance.call("spin")


async def _close_in_the_call(instance: Any) -> None:
    async def spin() -> None:
        with pytest.raises(InstanceClosed):
            await instance.call("spin")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(spin)
        await trio.testing.wait_all_tasks_blocked()
        await instance.aclose()


@pytest.mark.parametrize("end", [_trap, _cancel, _close_in_the_call])
async def test_an_instance_that_was_stopped_leaves_none(
    end: Callable[[Any], Awaitable[None]],
) -> None:
    """A task may still look at its errors."""
    module = await Module.compile(GUEST)
    instance = await module.instantiate()
    await end(instance)
    await instance.aclose()
    assert seams.spare_bindings(module) == 0
    instance = await module.instantiate()
    assert await instance.call("swap", 1, 2) == (2, 1)
    await instance.aclose()


async def test_a_failed_start_leaves_nothing_wrong_behind() -> None:
    """An instance that follows on one whose start trapped starts and serves."""
    module = await Module.compile(
        """(module (import "env" "fails" (func $fails (result i32)))
          (func $start (if (call $fails) (then unreachable))) (start $start)
          (func (export "f") (result i32) (i32.const 3)))""",
        imports=[_fails],
    )
    for fails in (True, False, True, False):
        _FAILS[:] = [fails]
        if fails:
            with pytest.raises(GuestTrap):
                await module.instantiate()
            continue
        instance = await module.instantiate()
        assert await instance.call("f") == 3
        await instance.aclose()


async def test_a_close_during_a_call_leaves_none_for_a_driven_instance() -> None:
    """`close_now` refuses while a call is pending, and nothing is handed on."""
    module = await Module.compile(GUEST)
    instance = DrivenModule(module).new_instance()
    if instance.start() is PENDING:
        await instance.finish()
    assert instance.start_call("spin", ()) is PENDING
    assert not instance.close_now()
    assert seams.spare_bindings(module) == 0
    with trio.move_on_after(0.01):
        await instance.finish()
    await instance.aclose()
    assert seams.spare_bindings(module) == 0


_SEEN: list[int] = []


@host_function("env", "add_seven", params=["i32"], results=["i32"])
def _add_seven(_: object, number: int) -> int:
    _SEEN.append(number)
    return number + 7


async def test_a_host_call_that_was_not_made_is_made_by_the_next_guest() -> None:
    """It was prepared by an instance that has ended, and has nothing of that."""
    module = await Module.compile(
        """(module (import "env" "add_seven" (func $add_seven (param i32) (result i32)))
          (func (export "calls") (param i32) (result i32) (call $add_seven (local.get 0)))
          (func (export "calls_not") (param i32) (result i32) (local.get 0)))""",
        imports=[_add_seven],
    )
    _SEEN.clear()
    for number, export, result in (
        (1, "calls_not", 1), (2, "calls", 9), (3, "calls", 10), (4, "calls_not", 4),
        (5, "calls", 12),
    ):  # fmt: skip
        instance = await module.instantiate()
        assert await instance.call(export, number) == result
        assert await instance.call("calls", 100 + number) == 107 + number
        await instance.aclose()
    assert _SEEN == [101, 2, 102, 3, 103, 104, 5, 105]


async def test_guests_that_serve_together_have_host_calls_of_their_own() -> None:
    """Also those that were opened one after the other before."""
    arrived: list[int] = []
    proceed = trio.Event()

    @host_function("env", "wait", params=["i32"], results=["i32"])
    async def wait(_: object, number: int) -> int:
        arrived.append(number)
        await proceed.wait()
        return -number

    module = await Module.compile(
        """(module (import "env" "wait" (func $wait (param i32) (result i32)))
          (func (export "f") (param i32) (result i32) (call $wait (local.get 0))))""",
        imports=[wait],
    )
    for _ in range(3):
        await (await module.instantiate()).aclose()
    instances = [await module.instantiate() for _ in range(3)]
    results: dict[int, object] = {}

    async def call(number: int) -> None:
        results[number] = await instances[number].call("f", number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(call, number)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(arrived) == [0, 1, 2]
        proceed.set()
    assert results == {0: 0, 1: -1, 2: -2}
    for instance in instances:
        await instance.aclose()
