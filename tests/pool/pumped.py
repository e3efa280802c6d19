"""A trio run that advances only when told to: a state machine's steps happen inside it.

Hypothesis calls a state machine's rules one by one, from outside of any event loop. The run is a
guest of a loop that is nothing but a queue, pumped until a step is done and all tasks are blocked.
Its clock stands still between steps; time passes by `jump`.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import outcome
import trio
import trio.testing
from trio._core import _run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["PumpedRun"]

_PATIENCE = 5  # seconds: only a hang takes as long


class PumpedRun:
    """Runs async functions to their end, and on until all tasks are blocked."""

    def __init__(self) -> None:
        self.clock = trio.testing.MockClock()
        self._todo: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._ended: outcome.Outcome[None] | None = None
        self._result: outcome.Outcome[Any] | None = None
        self._steps, self._receive = trio.open_memory_channel[Any](10)
        self._token: trio.lowlevel.TrioToken | None = None
        self.nursery: trio.Nursery
        self._before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
        _run._r.seed(0)
        _set_deterministic(allowed=True)  # a failure is found again
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._todo.put,
            run_sync_soon_not_threadsafe=self._todo.put,
            done_callback=self._done,
            clock=self.clock,
        )
        self._pump(lambda: self._token is not None)

    def _done(self, result: outcome.Outcome[None]) -> None:
        self._ended = result

    async def _main(self) -> None:
        async with trio.open_nursery() as self.nursery:
            self._token = trio.lowlevel.current_trio_token()
            async for step in self._receive:
                self._result = await outcome.acapture(self._step, step)

    @staticmethod
    async def _step(function: Callable[[], Awaitable[Any]]) -> Any:
        result = await function()
        await trio.testing.wait_all_tasks_blocked()
        return result

    def step(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Run an async function in the run's main task, then until all tasks are blocked."""
        assert self._token is not None
        self._result = None
        self._token.run_sync_soon(self._steps.send_nowait, function)
        self._pump(lambda: self._result is not None)
        assert self._result is not None
        return self._result.unwrap()

    def jump(self, seconds: float) -> None:
        """Let time pass, in strides: timers that are set by timers go off in their order."""

        async def stride() -> None:
            self.clock.jump(seconds / 8)

        for _ in range(8):
            self.step(stride)

    def end(self, last: Callable[[], object]) -> None:
        """Cancel what is left after a last step, and end the run; what it raises comes out.

        Trio schedules as it did before.
        """
        try:
            self._end(last)
        finally:
            allowed, state = self._before
            _set_deterministic(allowed=allowed)
            _run._r.setstate(state)

    def _end(self, last: Callable[[], object]) -> None:
        assert self._token is not None
        if self._ended is None:
            self._token.run_sync_soon(last)
            self._token.run_sync_soon(self.nursery.cancel_scope.cancel)
            self._pump(lambda: self._ended is not None)
            assert self._ended is not None
            self._ended.unwrap()

    def _pump(self, until: Callable[[], bool]) -> None:
        while not until():
            if self._ended is not None:
                self._ended.unwrap()
                raise AssertionError("the run has ended")
            try:
                self._todo.get(timeout=_PATIENCE)()
            except queue.Empty:
                raise AssertionError("the run hangs") from None


def _set_deterministic(*, allowed: bool) -> None:
    """A private switch of trio's: tasks are scheduled in the order of their starts, or shuffled."""
    _run.__dict__["_ALLOW_DETERMINISTIC_SCHEDULING"] = allowed
