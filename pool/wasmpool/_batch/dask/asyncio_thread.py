"""A loop of asyncio in a thread, for a library that needs one.

Dask's client is written for asyncio. Its synchronous form keeps a loop in a thread as well, and
blocks one more thread for each call; here each call is a task of the loop, so any number of them
takes one thread. A call can be cancelled: its task in the loop is cancelled, and has ended when the
call raises.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, final

import outcome
import trio

from wasmpool._plain_nursery import open_plain_nursery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

__all__ = ["AsyncioThread", "open_asyncio_thread"]

P = ParamSpec("P")
T = TypeVar("T")


@final
class AsyncioThread:
    """The running loop. `open_asyncio_thread` makes one."""

    def __init__(self) -> None:
        self._trio = trio.lowlevel.current_trio_token()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None

    async def run(
        self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a coroutine function in the loop, and return what it returns.

        A cancel cancels it there, and is raised when it has ended. If it returns all the same, its
        result is returned, and the cancel is raised at the next checkpoint.
        """
        assert self._loop is not None
        await trio.lowlevel.checkpoint_if_cancelled()
        call = _Call(self._loop, self._trio, partial(function, *args, **kwargs))
        self._loop.call_soon_threadsafe(call.start)
        try:
            return cast("T", await trio.lowlevel.wait_task_rescheduled(call.abort))
        except asyncio.CancelledError as cancelled:
            if call.raise_cancel is None:
                raise RuntimeError("a task was cancelled by the loop of asyncio") from cancelled
            call.raise_cancel()

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run the loop in a thread until `end`. A cancel does not end it."""

        def run() -> None:
            asyncio.run(self._main(task_status.started))

        # A limiter of its own: the thread lives as long as the block, and other threads wait for
        # none of the common places meanwhile.
        await trio.to_thread.run_sync(run, limiter=trio.CapacityLimiter(1))

    async def _main(self, started: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._trio.run_sync_soon(started)
        await self._ending.wait()

    def end(self) -> None:
        """Have the loop cancel the tasks that are left, and end."""
        assert self._loop is not None
        assert self._ending is not None
        self._loop.call_soon_threadsafe(self._ending.set)


@final
class _Call(Generic[T]):
    """A coroutine in the loop, and the task of trio that waits for it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        token: trio.lowlevel.TrioToken,
        function: Callable[[], Coroutine[Any, Any, T]],
    ) -> None:
        self._loop = loop
        self._trio = token
        self._function = function
        self._caller = trio.lowlevel.current_task()
        self._task: asyncio.Task[T] | None = None
        self.raise_cancel: trio.lowlevel.RaiseCancelT | None = None

    def abort(self, raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        """Begin a cancel, in the thread of trio; the caller goes on waiting."""
        self.raise_cancel = raise_cancel
        self._loop.call_soon_threadsafe(self._cancel)
        return trio.lowlevel.Abort.FAILED

    # --- in the loop ---

    def start(self) -> None:
        """Start the coroutine."""
        self._task = self._loop.create_task(self._function())
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        assert self._task is not None  # `start` was called before
        self._task.cancel()

    def _finish(self, done: asyncio.Task[T]) -> None:
        result = outcome.capture(done.result)
        self._trio.run_sync_soon(trio.lowlevel.reschedule, self._caller, result)


@asynccontextmanager
async def open_asyncio_thread() -> AsyncGenerator[AsyncioThread]:
    """Run a loop while a block lasts; its thread has ended when the block has."""
    async with open_plain_nursery() as nursery:
        thread = AsyncioThread()
        with trio.CancelScope(
            shield=True
        ):  # milliseconds; cancelled half-way, nothing would end it
            await nursery.start(thread.serve)
        try:
            yield thread
        finally:
            thread.end()
