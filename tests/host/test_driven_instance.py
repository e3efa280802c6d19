"""An instance that is driven step by step, by code that may get the steps wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.host.seams import set_history

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
  (func (export "count") (param i64)
    (loop $l (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
      (br_if $l (i64.gt_s (local.get 0) (i64.const 0)))))
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


@pytest.mark.parametrize("claim", ["at once", "late", "never"])
async def test_a_call_that_begins_in_a_worker_is_interrupted(
    driven_instance_of: DrivenInstanceOf, claim: str
) -> None:
    """Whether a task awaits it already, does so later, or never does."""
    instance = await driven_instance_of(GUEST)
    set_history(instance, "spin", 1)
    assert instance.start_call("spin", ()) is PENDING
    error = ZeroDivisionError()
    if claim == "at once":

        async def interrupt() -> None:
            instance.interrupt(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt)
            with pytest.raises(ZeroDivisionError):
                await instance.finish()
    else:
        instance.interrupt(error)
    if claim == "late":
        with pytest.raises(ZeroDivisionError):
            await instance.finish()
    assert instance.poisoned == "cancelled"
    await instance.aclose()


async def test_a_close_ends_a_call_in_a_worker_that_no_task_awaits(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """It waits until the worker has let go of the guest."""
    instance = await driven_instance_of(GUEST)
    set_history(instance, "spin", 1)
    assert instance.start_call("spin", ()) is PENDING
    await instance.aclose()
    assert instance.memory_size == 0


async def test_a_call_in_a_worker_that_cannot_go_on_is_taken_back(
    driven_instance_of: DrivenInstanceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no stack left to await it: it ends in this step, and no worker has the guest."""
    instance = await driven_instance_of(GUEST)
    assert await instance.call("count", 1) is None
    set_history(instance, "count", 1)

    def refuse(_: int) -> None:
        raise RecursionError

    with monkeypatch.context() as patch:
        patch.setattr("wasmpool_host._instance.instance.headroom", refuse)
        with pytest.raises(RecursionError):
            instance.start_call("count", (10**15,))
    assert instance.poisoned is not None
    assert instance.close_now()


@pytest.mark.parametrize("call", CALLS, ids=["call", "exchange"])
async def test_a_call_that_a_worker_has_ended_is_finished_in_one_step(
    driven_instance_of: DrivenInstanceOf, call: Callable[[DrivenInstance], object]
) -> None:
    """The caller is told when; before that, it is PENDING."""
    instance = await driven_instance_of(GUEST)
    expected = 7 if call is CALLS[0] else b"bytes"
    await instance.exchange("copy", b"first")
    set_history(instance, "f", 1)
    set_history(instance, "copy", 1)
    back = trio.Event()
    assert call(instance) is PENDING
    assert instance.call_when_back(back.set)
    assert instance.finish_now() is PENDING
    await back.wait()
    assert instance.finish_now() == expected
    assert await instance.call("f") == 7
    assert not instance.call_when_back(back.set)


async def test_a_caller_that_awaits_the_call_is_not_told(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """`finish` has the result."""
    instance = await driven_instance_of(GUEST)
    set_history(instance, "f", 1)
    assert instance.start_call("f", ()) is PENDING
    assert instance.call_when_back(lambda: pytest.fail("not to be called"))
    assert await instance.finish() == 7
    for _ in range(5):
        await trio.lowlevel.checkpoint()
