"""An interrupt, a close or a timeout that comes at a bad moment of a call."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.host.seams import has_returned_in_thread

from wasmpool_host import (
    Caller,
    CallTimeout,
    Instance,
    InstanceClosed,
    Limits,
    host_function,
)

if TYPE_CHECKING:
    from tests.host.instance_of import DrivenInstanceOf, InstanceOf

NEST = """(module $m (import "env" "host" (func $host)) (memory (export "memory") 1)
  (func (export "go") (call $host))
  (func (export "forever") (loop $l (br $l))))"""

EXCHANGE = """(module $m (memory (export "memory") 1)
  (func (export "malloc") (param i32) (result i32)
    (local.set 0 (i32.const 40000000))
    (loop $l (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (i32.const 1024))
  (func (export "forever") (param i64) (result i64) (loop $l (br $l)) (unreachable)))"""


class Revoked(Exception):
    """What the tests interrupt with."""


async def until_malloc_has_returned(instance: Instance) -> None:
    """Its thread is done with it; the task that waits for it does not know yet."""
    while not has_returned_in_thread(instance):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("close", [False, True])
async def test_an_interrupt_between_two_crossings_of_an_exchange_is_not_lost(
    driven_instance_of: DrivenInstanceOf, *, close: bool
) -> None:
    """Malloc returns; the export, which would never end, is not called."""
    instance = await driven_instance_of(EXCHANGE)

    async def use() -> None:
        with pytest.raises(InstanceClosed if close else Revoked):
            await instance.exchange("forever", b"payload")

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            await until_malloc_has_returned(instance)
            if close:
                await instance.aclose()
            else:
                instance.interrupt(Revoked())
    assert instance.poisoned == "cancelled"


async def test_an_interrupted_instance_is_poisoned_for_the_cancel(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """Whatever the error is that it was interrupted with."""

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        del caller
        await trio.sleep_forever()

    instance = await driven_instance_of(NEST, imports=[host])

    async def use() -> None:
        with pytest.raises(Revoked):
            await instance.call("go")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        await trio.testing.wait_all_tasks_blocked()
        instance.interrupt(Revoked())
    assert instance.poisoned == "cancelled"


async def test_an_interrupt_comes_out_of_a_nursery_of_a_host_function_as_itself(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """And not in a group, where it is raised in a child task that is in the guest."""
    error = Revoked()

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.call, "inner")

    @host_function("env", "stop")
    def stop(caller: Caller) -> None:
        del caller
        instance.interrupt(error)

    instance = await driven_instance_of(
        """(module (import "env" "host" (func $host)) (import "env" "stop" (func $stop))
        (func (export "go") (call $host)) (func (export "inner") (call $stop)))""",
        imports=[host, stop],
    )
    with pytest.raises(Revoked) as caught:
        await instance.call("go")
    assert caught.value is error
    assert instance.poisoned == "cancelled"


@pytest.mark.parametrize("again", [False, True])
async def test_closing_does_not_wait_for_a_host_function_whose_nested_call_it_ended(
    instance_of: InstanceOf, *, again: bool
) -> None:
    """It shields itself, and does something else then, or calls the guest again."""
    leave = trio.Event()
    caught: list[str] = []

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        with trio.CancelScope(shield=True):
            for _ in range(1 + again):
                try:
                    await caller.call("forever")
                except InstanceClosed:
                    caught.append("closed")
            await leave.wait()

    instance = await instance_of(NEST, imports=[host])

    async def use() -> None:
        with pytest.raises(InstanceClosed):
            await instance.call("go")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        await trio.testing.wait_all_tasks_blocked()  # the guest is in a thread
        with trio.fail_after(30):
            await instance.aclose()
        assert not leave.is_set()
        leave.set()
    assert caught == ["closed"] * (1 + again)


@pytest.mark.parametrize("in_nursery", [False, True])
async def test_a_timeout_in_a_nested_call_is_a_timeout(
    instance_of: InstanceOf, *, in_nursery: bool
) -> None:
    """By its error, also where the host function has a nursery, and by the poison."""

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        if in_nursery:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(caller.call, "forever")
        else:
            await caller.call("forever")

    instance = await instance_of(NEST, imports=[host], limits=Limits(call_seconds=0.02))
    with pytest.raises(CallTimeout):
        await instance.call("go")
    assert instance.poisoned == "timeout"


async def test_a_cancelled_nursery_of_a_host_function_is_a_cancel(instance_of: InstanceOf) -> None:
    """Though its tasks' cancels may come in a group."""

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        del caller
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    instance = await instance_of(NEST, imports=[host])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(instance.call, "go")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert instance.poisoned == "cancelled"


async def test_another_thread_can_neither_interrupt_nor_close(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """Two threads in one store would end the process; the call continues."""
    instance = await driven_instance_of(
        NEST.replace('(import "env" "host" (func $host))', "(func $host)")
    )
    errors: list[str] = []

    def misuse() -> None:
        assert threading.current_thread() is not threading.main_thread()
        with pytest.raises(RuntimeError, match="belongs to another thread") as caught:
            instance.interrupt(Revoked())
        errors.append(str(caught.value))
        with pytest.raises(RuntimeError, match="belongs to another thread") as caught:
            trio.run(instance.aclose)
        errors.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.call, "forever")
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(misuse)
        assert instance.poisoned is None
        nursery.cancel_scope.cancel()
    assert len(errors) == 2
