from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
import trio

from wasmpool._batch.dask.asyncio_thread import open_asyncio_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


async def test_calls_run_side_by_side_in_one_other_thread() -> None:
    """A hundred calls that wait for each other take one thread."""
    async with open_asyncio_thread() as thread:
        meeting: list[asyncio.Future[int]] = []
        threads: set[int] = set()

        async def meet(number: int) -> int:
            threads.add(threading.get_ident())
            mine: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            meeting.append(mine)
            if len(meeting) == 100:
                for each in meeting:
                    each.set_result(len(meeting))
            return number + await mine

        results: set[int] = set()

        async def call(number: int) -> None:
            results.add(await thread.run(meet, number))

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(call, number)
    assert results == set(range(100, 200))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_an_exception_comes_out_of_the_call() -> None:
    """As itself, and the loop goes on."""

    async def fail() -> None:
        raise KeyError("here")

    async def work() -> str:
        return "works"

    async with open_asyncio_thread() as thread:
        with pytest.raises(KeyError, match="here"):
            await thread.run(fail)
        assert await thread.run(work) == "works"


async def test_a_cancel_has_ended_the_coroutine_when_it_is_raised() -> None:
    """Its `finally` has run, although it takes several steps."""
    steps: list[str] = []
    started = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def linger() -> None:
        token.run_sync_soon(started.set)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    async with open_asyncio_thread() as thread, trio.open_nursery() as nursery:
        nursery.start_soon(thread.run, linger)
        await started.wait()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught
    assert steps == ["ended"]


async def test_a_call_that_is_cancelled_already_does_not_begin() -> None:
    """Nothing of it runs."""
    began: list[str] = []

    async def begin() -> None:
        began.append("began")

    async with open_asyncio_thread() as thread:
        with trio.CancelScope() as scope:
            scope.cancel()
            await thread.run(begin)
    assert scope.cancelled_caught
    assert not began


async def test_a_result_in_spite_of_a_cancel_is_returned() -> None:
    """It is not lost; the cancel is raised at the next checkpoint."""
    started = trio.Event()
    token = trio.lowlevel.current_trio_token()
    got: list[str] = []

    async def insist() -> str:
        token.run_sync_soon(started.set)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        raise AssertionError

    async with open_asyncio_thread() as thread, trio.open_nursery() as nursery:

        async def call() -> None:
            got.append(await thread.run(insist))

        nursery.start_soon(call)
        await started.wait()
        nursery.cancel_scope.cancel()
    assert got == ["done all the same"]


async def test_a_coroutine_that_the_loop_cancels_is_an_error() -> None:
    """It is not taken for a cancel of trio."""

    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with open_asyncio_thread() as thread:
        with pytest.raises(RuntimeError, match="cancelled by the loop"):
            await thread.run(cancel_itself)


async def test_the_error_of_the_block_is_raised_as_it_is_and_no_task_is_left() -> None:
    """What was left in the loop is cancelled, and has ended."""
    ended = threading.Event()

    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    tasks: list[asyncio.Task[None]] = []

    async def leave_behind() -> None:
        tasks.append(asyncio.get_running_loop().create_task(linger()))
        await asyncio.sleep(0)

    async def fail() -> None:
        async with open_asyncio_thread() as thread:
            await thread.run(leave_behind)
            raise KeyError("of the block")

    with pytest.raises(KeyError, match="of the block"):
        await fail()
    assert ended.is_set()


@pytest.mark.parametrize("step", range(1, 12))
async def test_a_cancel_at_any_step_of_the_opening_leaves_nothing(
    step: int, cancelled_at: Callable[[int], AbstractContextManager[trio.CancelScope]]
) -> None:
    """The block ends, and its loop with it."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    with trio.fail_after(30):
        with cancelled_at(step):
            async with open_asyncio_thread() as thread:
                await thread.run(note)
                await trio.lowlevel.checkpoint()
    assert all(loop.is_closed() for loop in loops)
