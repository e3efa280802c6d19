"""Queued calls of long exports: they begin in a worker thread, and their tasks sleep on meanwhile.

The exports are marked as long, so it needs no time to find that out.
"""

from __future__ import annotations

import contextlib
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.seams import check_invariants, retired, workers_hold
from trio.testing import wait_all_tasks_blocked

from wasmpool import LeaseRevoked, open_pool
from wasmpool_host import Caller, CallTimeout, GuestTrap, Limits, Module, host_function

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wasmpool import Pool

GUEST = """(module $guest
  (import "env" "pause" (func $pause))
  (memory (export "memory") 1)
  (global $uses (mut i32) (i32.const 0))
  (func (export "malloc") (param i32) (result i32) i32.const 1024)
  (func (export "copy") (param i64) (result i64) local.get 0)
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "pause") (result i32) (call $pause) (i32.const 7))
  (func (export "trap") unreachable)
  (func (export "forever") (loop $l (br $l))))"""

EXPORTS = ("add", "copy", "pause", "trap", "forever", "malloc")


@host_function("env", "pause")
async def pause(_caller: Caller) -> None:
    """Let other tasks run."""
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_busy(limits: Limits | None = None) -> AsyncGenerator[tuple[Pool, trio.CancelScope]]:
    """A pool whose only instance is in an endless call, and the scope that ends it."""
    module = await Module.compile(GUEST, imports=[pause], limits=limits or Limits())
    async with open_pool(module, size=1) as pool, trio.open_nursery() as nursery:
        for name in EXPORTS:
            module._linked.history(name).seconds = 1.0
        scope = trio.CancelScope()

        async def hold() -> None:
            with scope, contextlib.suppress(CallTimeout):
                await pool.call("forever")

        nursery.start_soon(hold)
        await wait_all_tasks_blocked()
        yield pool, scope
        nursery.cancel_scope.cancel()


async def make(pool: Pool, ended: list[Any], name: str, *args: Any) -> None:
    """Make a call, or an exchange, and note what it came to."""
    try:
        ended.append(await (pool.exchange if name == "copy" else pool.call)(name, *args))
    except Exception as error:  # noqa: BLE001 - it is looked at
        ended.append(error)


async def test_each_gets_its_own_result_in_order_of_arrival() -> None:
    """Calls, exchanges, and calls that wait in a host function."""
    ended: list[Any] = []
    async with open_busy() as (pool, scope), trio.open_nursery() as nursery:
        for call in (("add", 1, 2), ("copy", b"bytes"), ("pause",), ("add", 3, 4), ("copy", b"")):
            nursery.start_soon(partial(make, pool, ended, *call))
            await wait_all_tasks_blocked()
        scope.cancel()
    assert ended == [3, b"bytes", 7, 7, b""]
    assert pool.statistics().granted == 6


async def test_a_trap_is_raised_in_the_task_whose_call_it_was() -> None:
    """The next call has a new instance."""
    ended: list[Any] = []
    async with open_busy() as (pool, scope), trio.open_nursery() as nursery:
        for call in (("add", 1, 2), ("trap",), ("add", 3, 4)):
            nursery.start_soon(partial(make, pool, ended, *call))
            await wait_all_tasks_blocked()
        scope.cancel()
    assert ended[0::2] == [3, 7]
    assert isinstance(ended[1], GuestTrap)
    check_invariants(pool)


async def test_a_cancel_ends_the_call_of_a_task_that_sleeps_on() -> None:
    """A worker has it; the tasks after it are served."""
    ended: list[Any] = []
    async with open_busy() as (pool, scope), trio.open_nursery() as nursery:
        second = trio.CancelScope()
        nursery.start_soon(cancelled, second, pool)
        await wait_all_tasks_blocked()
        nursery.start_soon(make, pool, ended, "add", 1, 2)
        await wait_all_tasks_blocked()
        scope.cancel()
        while not workers_hold(pool):
            await trio.lowlevel.checkpoint()
        check_invariants(pool)
        second.cancel()
    assert ended == [3]
    assert retired(pool)["cancelled"] == 2


async def cancelled(scope: trio.CancelScope, pool: Pool) -> None:
    """Call without end, within a scope."""
    with scope:
        await pool.call("forever")
        pytest.fail("it has no end")


async def test_a_revocation_ends_the_call_of_a_task_that_sleeps_on() -> None:
    """The grace of a close is over."""
    ended: list[Any] = []
    async with open_busy() as (pool, scope), trio.open_nursery() as nursery:
        nursery.start_soon(make, pool, ended, "forever")
        await wait_all_tasks_blocked()
        scope.cancel()
        while not workers_hold(pool):
            await trio.lowlevel.checkpoint()
        await pool.aclose(grace=0)
    assert [type(each) for each in ended] == [LeaseRevoked]
    check_invariants(pool)


async def test_a_limit_of_time_holds_in_a_worker() -> None:
    """The task does not sleep on then, as it looks at the clock."""
    ended: list[Any] = []
    async with (
        open_busy(Limits(call_seconds=0.3)) as (pool, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(make, pool, ended, "forever")
    assert [type(each) for each in ended] == [CallTimeout]


async def test_no_thread_computes_after_the_block() -> None:
    """Also where the block is cancelled while workers have calls whose tasks sleep on."""
    with trio.move_on_after(0.1):
        async with open_busy() as (pool, scope), trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pool.call, "forever")
            await wait_all_tasks_blocked()
            scope.cancel()
            await trio.sleep_forever()
    assert "wasmpool ticker" not in {each.name for each in threading.enumerate()}
