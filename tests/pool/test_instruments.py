"""Instruments hear of each call: in the task that makes it, once, however it ends."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from tests.pool.fakes import FakeModule, Trap
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool import PoolClosed, PoolSaturated, PoolTimeout
from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from wasmpool import LeaseInfo

ARGS: Any = (1,)
"""Of a fake's program: its result is the return code."""
CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")


@attrs.define(eq=False)
class Notes:
    """What it was told, in order."""

    notes: list[tuple[Any, ...]] = attrs.field(factory=list[Any])
    errors: list[BaseException] = attrs.field(factory=list[BaseException])

    def call_started(self, pool: Pool, export: str, tool: str | None) -> None:
        self.notes.append(("started", export, CALLER.get()))

    def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
        self.notes.append(("granted", waited, CALLER.get()))

    def call_ended(
        self, pool: Pool, export: str, seconds: float, error: BaseException | None
    ) -> None:
        assert pool.name == "fake"
        if error is not None:
            self.errors.append(error)
        self.notes.append(("ended", export, seconds, type(error).__name__, CALLER.get()))


async def test_each_call_is_told_once(module: FakeModule) -> None:
    """By the pool or on a lease, of a number, of bytes or of a program."""
    notes = Notes()
    async with open_pool(module, instruments=[notes]) as pool:
        await pool.call("echo", 1)
        await pool.call("step")
        await pool.exchange("bytes")
        await pool.run(ARGS, export="echo")
        async with pool.lease() as lease:
            await lease.call("echo", 1)
            await lease.exchange("bytes")
            await lease.run(ARGS, export="echo")
    begun = [note[1] for note in notes.notes if note[0] == "started"]
    assert begun == ["echo", "step", "bytes", "echo", "echo", "bytes", "echo"]
    ended = [note[1:2] + note[3:4] for note in notes.notes if note[0] == "ended"]
    assert ended == [(each, "NoneType") for each in begun]


async def test_the_seconds_include_the_wait(module: FakeModule, autojump_clock: MockClock) -> None:
    """They are what the caller has waited for its answer."""
    notes = Notes()
    async with open_pool(module, size=1, instruments=[notes]) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pool.call, "sleep", 2)
        ended = [note[2] for note in notes.notes if note[0] == "ended"]
        assert ended == pytest.approx([2.0, 4.0, 6.0])


async def test_an_error_is_told_as_it_is_raised(module: FakeModule) -> None:
    """The exception itself, for calls on the pool and on a lease."""
    notes = Notes()
    async with open_pool(module, instruments=[notes]) as pool:
        with pytest.raises(Trap) as raised:
            await pool.call("trap")
        async with pool.lease() as lease:
            with pytest.raises(Trap) as on_lease:
                await lease.call("trap")
        with pytest.raises(ValueError, match="no export") as unknown:
            await pool.call("unknown")
    assert notes.errors == [raised.value, on_lease.value, unknown.value]


async def test_a_cancel_is_the_end_of_a_call(module: FakeModule) -> None:
    """While it runs, and while it waits."""
    notes = Notes()
    async with (
        open_pool(module, size=1, instruments=[notes]) as pool,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(pool.call, "spin")
        nursery.start_soon(pool.call, "spin")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [note[3] for note in notes.notes if note[0] == "ended"] == ["Cancelled"] * 2


async def test_a_refusal_is_the_end_of_a_call(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """No instance was granted, and the call has ended all the same."""
    notes = Notes()
    async with open_pool(module, size=1, max_waiting=1, max_wait=1, instruments=[notes]) as pool:
        async with pool.lease(), trio.open_nursery() as nursery:

            async def time_out() -> None:
                with pytest.raises(PoolTimeout):
                    await pool.call("echo", 1)

            nursery.start_soon(time_out)
            await wait_all_tasks_blocked()
            with pytest.raises(PoolSaturated):
                await pool.call("echo", 1)
        await pool.aclose()
        with pytest.raises(PoolClosed):
            await pool.call("echo", 1)
    ended = [note[3] for note in notes.notes if note[0] == "ended"]
    assert ended == ["PoolSaturated", "PoolTimeout", "PoolClosed"]


@pytest.mark.parametrize("export", ["number", "step"])
async def test_the_hooks_of_a_call_run_in_its_context(module: FakeModule, export: str) -> None:
    """Also the grant, which another task makes, and whose first slice that task runs."""
    notes = Notes()

    async def call(name: str) -> None:
        CALLER.set(name)
        await pool.call(export)

    async with open_pool(module, size=1, instruments=[notes]) as pool:
        CALLER.set("the holder")
        async with trio.open_nursery() as nursery, pool.lease():
            for name in "a", "b":
                nursery.start_soon(call, name)
            await wait_all_tasks_blocked()
    granted = [note[-1] for note in notes.notes if note[0] == "granted"]
    assert granted[0] == "the holder"
    assert sorted(granted[1:]) == ["a", "b"]
    for hook in "started", "ended":
        assert sorted(note[-1] for note in notes.notes if note[0] == hook) == ["a", "b"]


async def test_a_host_function_sees_what_the_start_of_its_call_set(module: FakeModule) -> None:
    """The hook runs in the caller's task, and so does the host function."""

    class Span:
        def call_started(self, pool: Pool, export: str, tool: str | None) -> None:
            CALLER.set(f"in {export}")

    async def host() -> str:
        return CALLER.get()

    async with open_pool(module, instruments=[Span()]) as pool:
        assert await pool.call("host", host) == "in host"


async def test_tasks_with_one_context_are_told_as_well(module: FakeModule) -> None:
    """A context that is in use cannot be entered, and need not be."""
    notes = Notes()
    context = copy_context()
    done = trio.Event()

    waits = trio.Event()

    async def hold() -> None:
        async with pool.lease():
            await waits.wait()

    async def wait() -> None:
        await pool.call("number")
        done.set()

    async with open_pool(module, size=1, instruments=[notes]) as pool:
        trio.lowlevel.spawn_system_task(hold, context=context)
        await wait_all_tasks_blocked()
        trio.lowlevel.spawn_system_task(wait, context=context)
        await wait_all_tasks_blocked()
        waits.set()
        await done.wait()
    assert [note[0] for note in notes.notes] == ["granted", "started", "granted", "ended"]


async def test_an_instrument_that_raises_takes_nothing_from_the_others(
    module: FakeModule,
) -> None:
    """It is dropped, and the call ends as it would have."""

    class Broken:
        def call_started(self, *args: object) -> None:
            raise ValueError("broken")

        def call_ended(self, *args: object) -> None:
            raise AssertionError("dropped instruments are not called")

    notes = Notes()
    async with open_pool(module, instruments=[Broken(), notes]) as pool:
        assert await pool.call("echo", 5) == 5
    assert [note[0] for note in notes.notes] == ["started", "granted", "ended"]
