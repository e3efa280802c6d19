"""What a guest prints is its caller's: no line has two of them, and none is lost or late."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wasmpool import LeaseRevoked, open_pool
from wasmpool_host import Caller, GuestExit, GuestTrap, Module, host_function

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.host.instance_of import InstanceOf

    from wasmpool_host import Instance

SAY = """(module $say
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "env" "wait" (func $wait))
  (memory (export "memory") 1)
  (data (i32.const 64) "no end") (data (i32.const 80) "end\\0a")
  (func $print (param $fd i32) (param $at i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $size))
    (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 16))))
  (func $say (export "say") (param $fd i32)
    (call $print (local.get $fd) (i32.const 64) (i32.const 6)))
  (func (export "end") (param $fd i32)
    (call $print (local.get $fd) (i32.const 80) (i32.const 4)))
  (func (export "trap") (call $say (i32.const 1)) unreachable)
  (func (export "exit") (call $say (i32.const 1)) (call $exit (i32.const 3)))
  (func (export "wait") (call $say (i32.const 1)) (call $wait))
  (func (export "spin") (call $say (i32.const 1)) (loop $l (br $l)))
  (func (export "nothing"))
  (func (export "exchange") (result i64) (call $say (i32.const 2)) (i64.const 0))
  (func $start (;start;)))"""
PRINTS_AT_START = SAY.replace("(;start;)", "(call $say (i32.const 1))").removesuffix(")") + (
    "(start $start))"
)

who: ContextVar[str] = ContextVar("who", default="nobody")


class Records(logging.Handler):
    """Whose context each record was logged in, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.error: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((who.get(), record.getMessage()))
        if self.error is not None:
            raise self.error


@pytest.fixture
def records() -> Iterator[Records]:
    logger = logging.getLogger("wasmpool.guest")
    handler, level = Records(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@host_function("env", "wait")
async def _wait(_caller: Caller) -> None:
    await trio.sleep_forever()


async def compiled(text: str = SAY) -> Module:
    return await Module.compile(text, imports=[_wait])


async def _as(name: str, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
    who.set(name)
    await function(*args)


@pytest.mark.parametrize("fd", [1, 2])
async def test_two_callers_of_a_pool_have_a_record_each(records: Records, fd: int) -> None:
    """It is there when the call is over, in the context of its caller; of both streams."""
    async with open_pool(await compiled(), size=1) as pool:
        for name in ("one", "two"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_as, name, pool.call, "say", fd)
            assert records.seen[-1] == (name, "no end")
    assert records.seen == [("one", "no end"), ("two", "no end")]


async def test_an_exchange_ends_its_output_too(records: Records) -> None:
    """As a call does, in a pool and without one."""
    module = await compiled()
    async with open_pool(module, size=1) as pool:
        await pool.exchange("exchange")
        await pool.exchange("exchange")
    instance = await module.instantiate()
    await instance.exchange("exchange")
    assert records.seen == [("nobody", "no end")] * 3
    await instance.aclose()


async def test_calls_in_line_print_in_their_own_contexts(records: Records) -> None:
    """Also where another task gives them the instance, and begins their guest."""
    async with open_pool(await compiled(), size=1) as pool, trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(_as, name, pool.call, "say", 1)
    assert sorted(records.seen) == [("one", "no end"), ("three", "no end"), ("two", "no end")]


async def test_calls_of_an_instance_without_a_pool_end_their_output(
    instance_of: InstanceOf, records: Records
) -> None:
    """Each outermost one does."""
    instance = await instance_of(await compiled())
    for name in ("one", "two"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_as, name, instance.call, "say", 1)
    await instance.call("end", 1)
    await instance.call("nothing")
    assert records.seen == [("one", "no end"), ("two", "no end"), ("nobody", "end")]


async def test_the_calls_of_a_lease_share_a_line_which_ends_with_it(records: Records) -> None:
    """What one call begins the next may end; the rest is given out when the block is left."""
    async with open_pool(await compiled(), size=1) as pool:
        async with pool.lease() as lease:
            await lease.call("say", 1)
            await lease.call("end", 1)
            assert records.seen == [("nobody", "no endend")]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_as, "child", lease.call, "say", 2)
            await lease.call("nothing")
            assert len(records.seen) == 1
        assert records.seen[1:] == [("child", "no end")]
        await pool.call("say", 2)
        assert records.seen[2:] == [("nobody", "no end")]


@pytest.mark.parametrize("how", ["trap", "exit", "cancel", "cancel a computing one"])
async def test_a_call_that_ends_badly_gives_out_its_output(
    instance_of: InstanceOf, records: Records, how: str
) -> None:
    """It is there when the error is, in the caller's context."""
    instance = await instance_of(await compiled())
    who.set("caller")
    if how in {"trap", "exit"}:
        with pytest.raises((GuestTrap, GuestExit)):
            await instance.call(how)
    else:
        with trio.move_on_after(0.02):
            await instance.call("wait" if how == "cancel" else "spin")
    assert instance.poisoned is not None
    assert records.seen == [("caller", "no end")]


async def test_a_start_function_ends_its_output(records: Records) -> None:
    """What is printed while an instance is made is not the first caller's."""
    module = await compiled(PRINTS_AT_START)
    instance = await module.instantiate()
    assert records.seen == [("nobody", "no end")]
    await instance.call("say", 1)
    assert records.seen == [("nobody", "no end")] * 2
    await instance.aclose()


async def test_setup_and_check_end_their_output(records: Records) -> None:
    """What they make a guest print is not the first caller's."""

    async def setup(instance: Instance) -> None:
        who.set("setup")
        await instance.call("say", 1)

    async def check(instance: Instance) -> bool:
        who.set("check")
        await instance.call("say", 2)
        return True

    module = await compiled()
    async with open_pool(module, size=1, setup=setup, check=check) as pool:
        assert records.seen == [("setup", "no end")]
        await pool.reload(module, force=True)
        assert records.seen[1:] == [("setup", "no end"), ("check", "no end")]
        await pool.call("end", 2)
        assert records.seen[3:] == [("nobody", "end")]


@pytest.mark.parametrize("how", ["closed in the midst of it", "revoked in the holder's own code"])
async def test_what_another_task_ends_is_logged_in_the_caller_s_context(
    records: Records, how: str
) -> None:
    """A pool that closes an instance gives out what it holds back as its caller's."""
    async with open_pool(await compiled(), size=1, name="p") as pool:

        async def hold(*, task_status: trio.TaskStatus[None]) -> None:
            who.set("holder")
            async with pool.lease() as lease:
                await lease.call("say", 1)
                task_status.started()
                if how == "closed in the midst of it":
                    with pytest.raises(LeaseRevoked):
                        await lease.call("wait")
                else:
                    await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            await nursery.start(hold)
            await wait_all_tasks_blocked()
            who.set("closer")
            await pool.aclose(grace=0)
            nursery.cancel_scope.cancel()
    assert records.seen == [("holder", "no end" * (2 if "midst" in how else 1))]


async def test_a_log_handler_that_raises_at_the_end_of_a_lease_takes_no_place(
    records: Records,
) -> None:
    """The block raises its error, and the instance serves the next lease."""
    async with open_pool(await compiled(), size=1) as pool:
        lease = pool.lease()
        await lease.__aenter__()
        await lease.call("say", 1)
        records.error = RuntimeError("the disk is full")
        with pytest.raises(RuntimeError, match="the disk is full"):
            await lease.__aexit__(None, None, None)
        records.error = None
        await pool.call("say", 1)
        assert records.seen == [("nobody", "no end")] * 2
        assert pool.statistics().leased == 0
