"""Fibers that compute for long: a ready queue, served by a few worker threads, first in first out.

A guest that has used up its slice on the trio thread goes on here. Each worker takes the first
fiber in line and runs it slice by slice; a slice ends after a millisecond, or when it is
hastened. Its end is a moment to look: is the call done, does the guest wait in a host function,
is it cancelled? And after `QUANTUM`, if another fiber waits, the worker puts its own at the end
of the line and takes the first: a fiber may change threads at each yield, so an endless loop in
one guest delays the others and starves nobody.

Why not `trio.to_thread.run_sync` for each call: it costs a context copy, a limiter and two
trips through the loop for each hand-over, where a worker here just takes the next fiber; and a
guest in a thread of its own for as long as it runs could not be asked to give way. The threads
do come from trio's own cache, by `trio.lowlevel.start_thread_soon`, and go back to it when the
line is empty: none of them outlives its work.

One queue for each trio run, shared by all pools, so that the machine is divided once. The
number of workers is the number of CPUs that the process may use: guests compute, and a thread
more would only make the others wait.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol, final

import outcome  # trio's own, and part of its interface for rescheduling
import trio
from trio.lowlevel import Abort, RunVar, enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = ["Job", "ReadyQueue", "ready_queue"]


QUANTUM: Final = 0.010
"""Seconds that a fiber keeps a worker while others wait: ten slices, so that moving is cheap."""


class Steps(Protocol):
    """What can be run slice by slice, on any thread."""

    def step(self) -> bool:
        """Run a slice; whether it is enough."""
        ...

    def hasten(self) -> None:
        """Have the slice that runs, or is about to run, end at once."""
        ...


@final
class Job:
    """One fiber in the queue, and the task that waits for it.

    ``stop`` asks the worker to hand the fiber back at the slice's end.
    """

    __slots__ = ("error", "raise_cancel", "steps", "stop", "task")

    def __init__(self, steps: Steps, task: trio.lowlevel.Task) -> None:
        self.steps = steps
        self.task = task
        self.stop = False
        self.raise_cancel: Callable[[], NoReturn] | None = None
        self.error: BaseException | None = None


@final
class ReadyQueue:
    """The fibers of one trio run that compute in threads."""

    # Invariants, under `_lock`:
    # - a job is in `_waiting` or with one worker, never both
    # - `_waiting` is empty while fewer than `size` workers run
    # - each worker has one job

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Job, None] = OrderedDict()  # left anywhere in O(1)
        self._workers = 0
        self._token = trio.lowlevel.current_trio_token()

    def __repr__(self) -> str:
        return f"<ReadyQueue: {self._workers}/{self.size} workers, {len(self._waiting)} waiting>"

    @enable_ki_protection
    async def run(self, job: Job) -> None:
        """Run the current task's job until it says that it is enough, or is asked to stop.

        A cancel takes the job out of the line, or asks its worker for it; the task goes on only
        when no worker has it any more. In the second case ``job.raise_cancel`` is set, and it
        is for the caller to call it, for the guest may have finished meanwhile.

        Raises:
            trio.Cancelled: cancelled while the job stood in line.
        """
        self._submit(job)
        await trio.lowlevel.wait_task_rescheduled(self._aborter(job))

    def stop(self, job: Job) -> None:
        """Ask for the job back, from the trio thread; its task goes on as soon as may be."""
        job.stop = True
        if self._remove(job):
            trio.lowlevel.reschedule(job.task)
        else:
            job.steps.hasten()

    def _aborter(self, job: Job) -> Callable[[Callable[[], NoReturn]], Abort]:
        @enable_ki_protection
        def abort(raise_cancel: Callable[[], NoReturn]) -> Abort:
            job.stop = True
            if self._remove(job):
                return Abort.SUCCEEDED
            job.raise_cancel = raise_cancel
            job.steps.hasten()
            return Abort.FAILED

        return abort

    def _remove(self, job: Job) -> bool:
        """Take a job out of the line; whether it was there."""
        with self._lock:
            if job not in self._waiting:
                return False
            del self._waiting[job]
            return True

    def _submit(self, job: Job) -> None:
        with self._lock:
            if self._workers >= self.size:
                self._waiting[job] = None
                return
            self._workers += 1
        try:
            trio.lowlevel.start_thread_soon(lambda: self._work(job), self._hand_back)
        except BaseException:
            with self._lock:
                self._workers -= 1
            raise

    # --- on a worker's thread ---

    def _work(self, job: Job) -> Job:
        """Serve until the line is empty; the last job is returned, the others are handed back here.

        The last one goes back by trio's ``deliver``, which marks this thread idle first: so the
        task's next hand-over finds it, and no second thread is made.
        """
        while True:
            enough = self._serve(job)
            # To give a fiber up, or to end, is one step with taking the next: none is forgotten.
            with self._lock:
                enough = enough or job.stop  # asked just now, by who did not find it in the line
                if not enough:
                    self._waiting[job] = None
                if not self._waiting:
                    self._workers -= 1
                    return job
                following, _ = self._waiting.popitem(last=False)
            if enough:
                self._resume_soon(job)
            job = following

    def _serve(self, job: Job) -> bool:
        """Run a job's slices; False to give way to another."""
        until = perf_counter() + QUANTUM
        try:
            while not job.stop:
                if job.steps.step():
                    return True
                if self._waiting and perf_counter() > until:
                    return False
        except BaseException as error:  # noqa: BLE001 - it belongs to the task that waits
            job.error = error
        return True

    def _hand_back(self, last: outcome.Outcome[Job]) -> None:
        self._resume_soon(last.unwrap())

    def _resume_soon(self, job: Job) -> None:
        self._token.run_sync_soon(_resume, job)


def _resume(job: Job) -> None:
    result = outcome.Value(None) if job.error is None else outcome.Error(job.error)
    trio.lowlevel.reschedule(job.task, result)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_of_this_run: RunVar[ReadyQueue] = RunVar("wasmpool_ready_queue")


def ready_queue() -> ReadyQueue:
    """The queue of the trio run that is under way."""
    try:
        return _of_this_run.get()
    except LookupError:
        queue = ReadyQueue(_cpus())
        _of_this_run.set(queue)
        return queue
