"""A trio run in a thread of its own, whose functions are awaited as if they were of this run.

Python without the GIL computes in as many threads as there are CPUs, but a trio run stays in one of
them. So who wants all CPUs for short calls needs several threads, each with a run. Here such a
thread is a block: it ends with the block, and a function that is called in it is awaited and
cancelled, and raises, as one of the caller's run.

The two runs tell each other of the beginning, the cancel and the end of a call by `run_sync_soon`
alone. Each attribute is written in one thread, before the other one is told to read it.

A cancel is passed on, and the caller waits for the function to end. If the function returns or
raises all the same, that counts, as for a task that is cancelled too late.
"""

from __future__ import annotations

import contextlib
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import outcome  # trio's own, and part of its interface for rescheduling
import trio
from trio.lowlevel import Abort, enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import NoReturn

__all__ = ["TrioThread", "open_trio_thread"]

T = TypeVar("T")


@contextlib.asynccontextmanager
async def open_trio_thread(name: str) -> AsyncGenerator[TrioThread]:
    """Yield a thread with a trio run of its own.

    The end of the block cancels what still runs in the thread, and waits until it has ended. A
    cancel does not make it end earlier.

    Args:
        name: the thread's, for debuggers.

    Raises:
        RuntimeError: the system has no thread left; or the thread's run could not begin.
    """
    thread = TrioThread()
    trio.lowlevel.start_thread_soon(thread.work, thread.note_end, name)
    try:
        await thread.wait_begun()
        yield thread
    finally:
        with trio.CancelScope(shield=True):
            await thread.end()


@final
class TrioThread:
    """A thread with a trio run; `open_trio_thread` makes it. It is used by the run that did."""

    # Invariants:
    # - `_calls` has each call whose task waits.
    # - The other thread writes `_nursery` and `_their_token` once, before `_begun` is set.
    # - No call is begun once `_is_ending` is set, so each begins while `_nursery` is open.

    def __init__(self) -> None:
        self._our_token = trio.lowlevel.current_trio_token()
        self._begun = trio.Event()
        self._is_ending = False
        self._ended = trio.Event()
        self._failure: BaseException | None = None
        self._calls: set[_Call[Any]] = set()
        self._nursery: trio.Nursery
        self._their_token: trio.lowlevel.TrioToken

    @enable_ki_protection
    async def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call an async function in the thread; return its result, or raise its error.

        It has a copy of the caller's context variables.

        Raises:
            RuntimeError: the thread's run has ended, by the block's end or by an error of its own.
            BaseException: what the function raises.

        A cancel is passed on to the function, and waits for its end. It is a checkpoint.
        """
        if self._is_ending or self._ended.is_set():
            raise self._why_ended()
        call = _Call(self._our_token, function, args)
        self._calls.add(call)
        try:
            scope = self._nursery.cancel_scope
            work = partial(call.work, lambda: scope.cancel_called)
            self._tell(copy_context().run, self._nursery.start_soon, work)
            await trio.lowlevel.wait_task_rescheduled(self._aborter(call))
        finally:
            self._calls.discard(call)
        return call.unwrap()

    def _aborter(self, call: _Call[Any]) -> Callable[[Callable[[], NoReturn]], Abort]:
        @enable_ki_protection
        def abort(raise_cancel: Callable[[], NoReturn]) -> Abort:
            call.raise_cancel = raise_cancel
            self._tell(call.scope.cancel)
            return Abort.FAILED

        return abort

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # `_note_end` is on its way
            self._their_token.run_sync_soon(function, *args)

    async def wait_begun(self) -> None:
        """Wait until functions can be called.

        Raises:
            RuntimeError: the thread's run has ended with an error.
        """
        await self._begun.wait()
        if self._ended.is_set():
            raise self._why_ended()

    async def end(self) -> None:
        """Cancel all that runs in the thread, and wait for its end."""
        await self._begun.wait()
        if not self._ended.is_set():
            self._is_ending = True
            self._tell(self._nursery.cancel_scope.cancel)
            await self._ended.wait()

    # --- in the other thread ---

    def work(self) -> None:
        """Run until `end` is called."""
        trio.run(self._main)

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._their_token = trio.lowlevel.current_trio_token()
            self._our_token.run_sync_soon(self._begun.set)
            await trio.sleep_forever()

    def note_end(self, result: outcome.Outcome[None]) -> None:
        """Tell the run that has opened this of the thread's end; called at its end."""
        self._our_token.run_sync_soon(self._note_end, result)

    # --- in this one again ---

    def _note_end(self, result: outcome.Outcome[None]) -> None:
        if isinstance(result, outcome.Error):
            self._failure = result.error
        self._ended.set()
        self._begun.set()
        for call in self._calls:
            call.wake(outcome.Error(self._why_ended()))

    def _why_ended(self) -> RuntimeError:
        error = RuntimeError("the trio run of this thread has ended, and what ran in it")
        error.__cause__ = self._failure
        return error


@final
class _Call(Generic[T]):
    """A function's call in the other thread, and the task that waits for it.

    Attributes:
        scope: of the other run; cancels the call.
        raise_cancel: raises the cancel of the task that waits; None while it is not cancelled.
    """

    def __init__(
        self,
        token: trio.lowlevel.TrioToken,
        function: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
    ) -> None:
        self.scope = trio.CancelScope()
        self.raise_cancel: Callable[[], NoReturn] | None = None
        self._token = token
        self._task = trio.lowlevel.current_task()
        self._function = function
        self._args = args
        self._is_awake = False
        self._result: outcome.Outcome[T] | None = None
        """None for a call that a cancel has ended."""

    async def work(self, is_ending: Callable[[], bool]) -> None:
        """Make the call, in the other thread, and tell the task. What it raises is its result.

        ``is_ending`` tells whether all of the other run is cancelled: the task is told of that.
        """
        result: outcome.Outcome[T] | None = None
        try:
            with self.scope:
                result = outcome.Value(await self._function(*self._args))
        except BaseException as error:
            if is_ending():
                raise
            result = outcome.Error(error)
        self._token.run_sync_soon(self.wake, result)

    def wake(self, result: outcome.Outcome[T] | None) -> None:
        """Have the task continue, with what the call has come to."""
        if not self._is_awake:
            self._is_awake = True
            self._result = result
            trio.lowlevel.reschedule(self._task)

    def unwrap(self) -> T:
        """Return what the call has returned, or raise what it has raised."""
        if self._result is None:
            assert self.raise_cancel is not None
            self.raise_cancel()
        return self._result.unwrap()
