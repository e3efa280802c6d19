from __future__ import annotations

import errno
import logging
import threading
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool_host._scheduling.blocking_calls import BlockingCalls, TooManyAbandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Silent:
    """A resource that does not answer until ``answer`` is set."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.asked = 0
        self._lock = threading.Lock()
        self._token: trio.lowlevel.TrioToken | None = None
        self._changed: trio.Event = trio.Event()

    def ask(self, value: object = "answer") -> object:
        with self._lock:
            self.asked += 1
        trio.from_thread.run_sync(self._tell, trio_token=self._token)
        self.answer.wait()
        return value

    def _tell(self) -> None:
        self._changed.set()

    async def was_asked(self, times: int) -> None:
        """Wait until it was asked this many times."""
        while self.asked < times:
            await self._changed.wait()
            self._changed = trio.Event()

    def begin(self) -> Silent:
        self._token = trio.lowlevel.current_trio_token()
        return self


@pytest.fixture
def silent() -> Iterator[Silent]:
    """It answers at the end, so that no thread is left."""
    silent = Silent()
    yield silent
    silent.answer.set()


async def ended(calls: BlockingCalls) -> None:
    """Wait until no abandoned call runs any more."""
    while calls.abandoned:
        await trio.lowlevel.checkpoint()


async def abandon(
    calls: BlockingCalls,
    silent: Silent,
    count: int,
    dropped: Callable[[object], object] | None = None,
) -> None:
    """Start this many calls, and cancel them while they block."""

    async def ask(number: int) -> None:
        await calls.run(silent.ask, number, discard=dropped)

    before = silent.asked
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(ask, number)
        await silent.was_asked(before + count)
        nursery.cancel_scope.cancel()


async def test_results_and_exceptions_come_through() -> None:
    """Arguments, result and exception are those of the function."""
    calls = BlockingCalls("tests")
    assert await calls.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await calls.run(divmod, 1, 0)
    assert calls.abandoned == 0


async def test_a_cancelled_task_is_free_while_its_thread_blocks(silent: Silent) -> None:
    """The call is abandoned, and counted until it ends."""
    calls = BlockingCalls("tests")
    await abandon(calls, silent.begin(), 3)
    assert calls.abandoned == 3
    silent.answer.set()
    await ended(calls)


async def test_abandoned_calls_keep_no_place(silent: Silent) -> None:
    """With a limit of two and two abandoned calls, the next call still runs."""
    calls = BlockingCalls("tests", limit=2)
    await abandon(calls, silent.begin(), 2)
    assert await calls.run(int, "7") == 7


async def test_over_the_cap_a_call_fails_at_once(
    silent: Silent, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the kind and the number, is EAGAIN, and is logged once, not for each refusal."""
    calls = BlockingCalls("looks into the void", max_abandoned=2)
    refusals: list[TooManyAbandoned] = []
    with caplog.at_level(logging.WARNING, logger="wasmpool.blocking"):
        await abandon(calls, silent.begin(), 2)
        for _ in range(5):
            with pytest.raises(TooManyAbandoned, match="2 looks into the void") as caught:
                await calls.run(pytest.fail, "begun over the cap")
            refusals.append(caught.value)
    assert [refusal.errno for refusal in refusals] == [errno.EAGAIN] * 5
    assert [record.getMessage() for record in caplog.records] == [refusals[0].strerror]
    silent.answer.set()
    await ended(calls)
    assert await calls.run(int, "7") == 7


async def test_a_call_that_waits_for_a_place_fails_once_the_cap_is_reached(silent: Silent) -> None:
    """It is checked again when it gets a token: a waiting call does not exceed the cap."""
    calls = BlockingCalls("tests", limit=1, max_abandoned=1)
    silent.begin()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def first() -> None:
            with scope:
                await calls.run(silent.ask)

        async def second() -> None:
            with pytest.raises(TooManyAbandoned):
                await calls.run(pytest.fail, "begun over the cap")

        nursery.start_soon(first)
        await silent.was_asked(1)
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()


async def test_a_call_cancelled_in_line_is_never_begun(silent: Silent) -> None:
    """It does not count as abandoned either."""
    calls = BlockingCalls("tests", limit=1)
    silent.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.run, silent.ask, 0)
        await silent.was_asked(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await calls.run(silent.ask)
        assert scope.cancelled_caught
        assert calls.abandoned == 0
        silent.answer.set()
    assert silent.asked == 1


async def test_one_kind_does_not_hold_up_another(silent: Silent) -> None:
    """All tokens of one kind are taken, but none of trio's own limiter: other calls still run."""
    calls, others = BlockingCalls("tests", limit=50, max_abandoned=50), BlockingCalls("others")
    await abandon(calls, silent.begin(), 50)
    assert calls.abandoned == 50
    assert await others.run(int, "7") == 7
    assert await trio.to_thread.run_sync(int, "7") == 7
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


async def test_the_result_of_an_abandoned_call_is_discarded(silent: Silent) -> None:
    """A file that was opened too late is closed by the thread; one that the task takes is not."""
    calls = BlockingCalls("tests")
    dropped: list[object] = []
    await abandon(calls, silent.begin(), 2, dropped.append)
    assert dropped == []
    silent.answer.set()
    await ended(calls)
    assert sorted(dropped, key=str) == [0, 1]
    assert await calls.run(int, "7", discard=dropped.append) == 7
    assert len(dropped) == 2


async def test_a_result_that_comes_with_the_cancel_is_dropped() -> None:
    """The thread has ended, and the task is cancelled before it resumes."""
    calls = BlockingCalls("tests")
    dropped: list[object] = []
    scope = trio.CancelScope()

    def answer() -> str:
        trio.from_thread.run_sync(scope.cancel)
        return "late"

    with scope:
        await calls.run(answer, discard=dropped.append)
    await ended(calls)
    assert scope.cancelled_caught
    assert dropped == ["late"]


def test_a_run_that_is_over_leaves_no_trace(silent: Silent) -> None:
    """An abandoned call outlives its trio run; another run sees the count, and its end."""
    calls = BlockingCalls("tests", max_abandoned=1)

    async def first() -> None:
        await abandon(calls, silent.begin(), 1)

    async def second() -> None:
        with pytest.raises(TooManyAbandoned):
            await calls.run(int, "7")
        silent.answer.set()
        await ended(calls)
        assert await calls.run(int, "7") == 7

    trio.run(first)
    trio.run(second)
