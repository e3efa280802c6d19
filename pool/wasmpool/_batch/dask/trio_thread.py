"""A trio run in a thread, which does jobs that other threads give it.

A worker of Dask calls tasks in threads of its own, and a pool belongs to one trio run. So the run
has a thread to itself, is kept between the jobs, and ends with the worker.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["Ended", "Job", "TrioThread"]

Shared = TypeVar("Shared")


class Ended(Exception):
    """The job was cancelled, or its trio run ended before it."""


@final
class Job(Generic[Shared]):
    """One job.

    Attributes:
        result: what the work returns or raises; `Ended` if it was cancelled. Any thread may wait
            for it, and none may cancel it: `TrioThread.cancel` cancels the work.
        scope: around the work.
    """

    def __init__(self, work: Callable[[Shared], Awaitable[Any]]) -> None:
        self.result: Future[Any] = Future()
        self.result.set_running_or_notify_cancel()
        self.scope = trio.CancelScope()
        self._work = work

    async def run(self, shared: Shared) -> None:
        """Work. What this raises is a cancel from around it."""
        try:
            with self.scope:
                self.result.set_result(await self._work(shared))
        except Exception as error:  # noqa: BLE001 - it is the result
            self.result.set_exception(error)
        finally:
            self.end()

    def end(self) -> None:
        """See that there is a result."""
        if not self.result.done():
            self.result.set_exception(Ended("the work was ended before it was done"))


@final
class TrioThread(Generic[Shared]):
    """A thread with a trio run.

    Args:
        name: of the thread.
        open_shared: opens what all jobs share, in the trio run.
    """

    def __init__(
        self, name: str, open_shared: Callable[[], AbstractAsyncContextManager[Shared]]
    ) -> None:
        self._open_shared = open_shared
        self._begun = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None  # these three only while it runs
        self._nursery: trio.Nursery | None = None
        self._shared: Shared | None = None
        self._lock = threading.Lock()  # around the two below
        self._jobs: set[Job[Shared]] = set()
        self._is_over = False
        # A daemon, so that a worker which ends without a word does not wait for it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._begun.wait()

    @property
    def is_over(self) -> bool:
        """True if it does no more jobs."""
        return self._is_over

    def begin(self, work: Callable[[Shared], Awaitable[Any]]) -> Job[Shared]:
        """Begin a job, from any thread. Its result is `Ended` if the run is over."""
        job = Job(work)
        with self._lock:
            if self._is_over:
                job.end()
                return job
            self._jobs.add(job)
        job.result.add_done_callback(lambda _: self._forget(job))
        self._soon(self._start, job)
        return job

    def cancel(self, job: Job[Shared]) -> None:
        """Cancel a job, from any thread; returns before it has ended."""
        self._soon(job.scope.cancel)

    def stop(self) -> None:
        """Cancel all jobs, and return when the thread has ended. Not from the thread itself."""
        self._soon(self._cancel_all)
        self._thread.join()

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):  # then all jobs have ended
            self._token.run_sync_soon(function, *args)

    def _forget(self, job: Job[Shared]) -> None:
        with self._lock:
            self._jobs.discard(job)

    # --- in the thread ---

    def _run(self) -> None:
        try:
            trio.run(self._main)
        finally:
            with self._lock:
                self._is_over = True
                left = list(self._jobs)
            for job in left:
                job.end()
            self._begun.set()  # if it could not even begin

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with self._open_shared() as self._shared, trio.open_nursery() as nursery:
            self._nursery = nursery
            self._begun.set()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def _start(self, job: Job[Shared]) -> None:
        if self._nursery is not None:  # otherwise the end of the thread ends the job
            assert self._shared is not None
            self._nursery.start_soon(job.run, self._shared)

    def _cancel_all(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
