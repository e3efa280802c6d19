"""A trio run in a thread: its functions are awaited and cancelled as those of the caller's run."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wasmpool._trio_thread import open_trio_thread

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="none")


def ours() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("trio thread")}


async def test_a_function_runs_in_a_trio_run_of_its_own() -> None:
    """In another thread, with the caller's context; what it returns comes back."""

    async def look(number: int) -> tuple[int, int, str, object]:
        await trio.lowlevel.checkpoint()
        token = trio.lowlevel.current_trio_token()
        return number, threading.get_ident(), VARIABLE.get(), token

    VARIABLE.set("given")
    async with open_trio_thread("trio thread 1") as thread:
        number, ident, variable, token = await thread.run(look, 7)
        assert (number, variable) == (7, "given")
        assert ident != threading.get_ident()
        assert token is not trio.lowlevel.current_trio_token()
        _, again, _, same = await thread.run(look, 8)
        assert (again, same) == (ident, token)
    assert not ours()


async def test_an_error_comes_out_as_itself() -> None:
    """With the frames of the function, and the thread goes on."""

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("x")

    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 1

    async with open_trio_thread("trio thread 2") as thread:
        with pytest.raises(KeyError) as caught:
            await thread.run(fail)
        assert caught.traceback[-1].name == "fail"
        assert await thread.run(work) == 1


async def test_a_cancel_is_passed_on() -> None:
    """The function sees it, and has ended when the caller continues."""
    ended: list[str] = []
    begun = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def wait() -> None:
        token.run_sync_soon(begun.set)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            ended.append("ended")

    async with open_trio_thread("trio thread 3") as thread, trio.open_nursery() as nursery:
        nursery.start_soon(thread.run, wait)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert ended == ["ended"]


async def test_a_cancel_that_comes_too_late_is_none() -> None:
    """What the function returned counts, and the next checkpoint raises the cancel."""
    begun = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def finish_anyway() -> str:
        token.run_sync_soon(begun.set)
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
        return "done"

    results: list[str] = []

    async def call() -> None:
        results.append(await thread.run(finish_anyway))

    async with open_trio_thread("trio thread 4") as thread, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert results == ["done"]


async def test_a_call_that_is_cancelled_from_the_start_ends() -> None:
    """At its first checkpoint."""

    async def wait() -> None:
        await trio.sleep_forever()

    async with open_trio_thread("trio thread 5") as thread:
        with trio.CancelScope() as scope:
            scope.cancel()
            await thread.run(wait)
        assert scope.cancelled_caught


async def test_many_calls_run_at_once() -> None:
    """In one thread, as tasks."""
    together = 0

    async def meet(event: trio.Event) -> None:
        nonlocal together
        together += 1
        if together == 20:
            event.set()
        await event.wait()

    async def make() -> trio.Event:
        await trio.lowlevel.checkpoint()
        return trio.Event()

    async with open_trio_thread("trio thread 6") as thread:
        event = await thread.run(make)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(thread.run, meet, event)
    assert together == 20


async def test_a_call_ends_with_the_block() -> None:
    """Its task is told so; and no call begins after that."""

    async def wait() -> None:
        await trio.sleep_forever()

    async def call() -> None:
        with pytest.raises(RuntimeError, match="has ended"):
            await thread.run(wait)

    async with trio.open_nursery() as nursery, open_trio_thread("trio thread 7") as thread:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
    with pytest.raises(RuntimeError, match="has ended"):
        await thread.run(wait)


async def test_a_run_that_crashes_tells_its_callers() -> None:
    """With the crash as the cause, in each task that waits, and in later ones."""

    async def crash() -> None:
        async def system() -> None:
            await trio.lowlevel.checkpoint()
            raise ValueError("broken")

        trio.lowlevel.spawn_system_task(system)
        await trio.sleep_forever()

    async with open_trio_thread("trio thread 8") as thread:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="has ended") as caught:
                await thread.run(crash)
            assert isinstance(caught.value.__cause__, trio.TrioInternalError)


async def test_a_cancel_around_the_block_ends_the_thread() -> None:
    """Also one that is there before it begins."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_trio_thread("trio thread 9"):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not ours()
