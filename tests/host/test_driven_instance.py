"""An instance that is driven step by step, by code that may get the steps wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool_host import InstanceClosed, Module
from wasmpool_host.lowlevel import PENDING, DrivenInstance, DrivenModule

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.instance_of import DrivenInstanceOf

GUEST = """(module (memory (export "memory") 1)
  (func (export "malloc") (param i32) (result i32) i32.const 1024)
  (func (export "f") (result i32) i32.const 7)
  (func (export "copy") (param i64) (result i64) local.get 0)
  (func (export "spin") (loop $l (br $l)))
  (func (export "spin_packed") (result i64) (loop $l (br $l)) i64.const 0))"""

CALLS = [
    lambda instance: instance.start_call("f", ()),
    lambda instance: instance.start_exchange("copy", b"bytes"),
]


@pytest.mark.parametrize("call", CALLS, ids=["call", "exchange"])
async def test_it_cannot_be_called_before_its_start(
    call: Callable[[DrivenInstance], object],
) -> None:
    """It has no memory then, either. It is as good as before."""
    instance = DrivenModule(await Module.compile(GUEST)).new_instance()
    with pytest.raises(RuntimeError, match="has not been started"):
        call(instance)
    assert instance.memory.size == instance.memory_size == 0
    if instance.start() is PENDING:
        assert await instance.finish() is None
    assert await instance.call("f") == 7
    await instance.aclose()


async def test_it_is_started_once(driven_instance_of: DrivenInstanceOf) -> None:
    """A second start is refused, also after the close."""
    instance = await driven_instance_of(GUEST)
    with pytest.raises(RuntimeError, match="has been started before"):
        instance.start()
    assert await instance.call("f") == 7
    await instance.aclose()
    with pytest.raises(InstanceClosed):
        instance.start()


async def test_it_is_closed_without_a_start() -> None:
    """In one step, as a started one; there is no start after that."""
    instance = DrivenModule(await Module.compile(GUEST)).new_instance()
    assert instance.close_now()
    with pytest.raises(InstanceClosed):
        instance.start()


@pytest.mark.parametrize("export", ["spin", "spin_packed"])
async def test_a_call_is_finished_once(driven_instance_of: DrivenInstanceOf, export: str) -> None:
    """A second finish is refused: before the call, during it, after it, and after the close."""
    instance = await driven_instance_of(GUEST)
    with pytest.raises(RuntimeError, match="has nothing pending"):
        await instance.finish()
    begun = (
        instance.start_call(export, ())
        if export == "spin"
        else instance.start_exchange(export, None)
    )
    assert begun is PENDING
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.finish)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="has nothing pending"):
            await instance.finish()
        assert instance.poisoned is None
        nursery.cancel_scope.cancel()
    assert instance.poisoned == "cancelled"
    with pytest.raises(RuntimeError, match="has nothing pending"):
        await instance.finish()
    await instance.aclose()
    with pytest.raises(InstanceClosed):
        await instance.finish()
