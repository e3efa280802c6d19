"""Fibers that compute for a long time: a ready queue, first in, first out, with worker threads.

A guest that has used up its slice on the trio thread continues here. Each worker takes the first
fiber of the queue and runs it slice by slice; a slice ends after a millisecond, or earlier when it
is hastened. After each slice the worker checks whether the call is done, the guest waits in a host
function, or the call is cancelled. After `QUANTUM`, if another fiber waits, the worker puts its own
at the end of the queue and takes the first one. A fiber may change threads at each yield, so an
endless loop in one guest delays the others but does not starve them.

A job is submitted in one step, and a task may wait for it later. Until one does, its fiber is told
when the job comes back (`Steppable.come_back`).

The threads come from trio's own cache (`trio.lowlevel.start_thread_soon`) and return to it when the
queue is empty: no thread outlives its work.

There is one queue for each trio run, shared by all pools, so that the machine is divided once. The
number of workers is the number of CPUs that the process may use: guests compute, so one more thread
would only make the others wait.

Rejected: `trio.to_thread.run_sync` for each call. Each hand-over would cost a context copy, a
limiter and two trips through the loop, where a worker here just takes the next fiber; and a guest
that keeps its thread for the whole call could not be made to give way to another.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from functools import partial
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Final, Protocol, final

import outcome  # trio's own, and part of its interface for rescheduling
import trio
from trio.lowlevel import Abort, RunVar, enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from .epoch_ticker import Ticker

__all__ = ["Job", "ReadyQueue", "ready_queue"]


QUANTUM: Final = 0.010
"""Seconds that a fiber keeps a worker while others wait: ten slices, so moving is cheap."""


_MOST_INTERRUPTED: Final = 4
"""Workers up to which a guest on the trio thread is interrupted for a job that is handed back. The
tick that does it interrupts the workers' guests, too, for some 15 us each."""


_MOMENT: Final = 0.0001
"""Seconds between two looks at a job that is reclaimed."""


class Steppable(Protocol):
    """Work that can be run slice by slice, on any thread."""

    def step(self) -> bool:
        """Run one slice; return True if the job is done for now."""
        ...

    def hasten(self) -> None:
        """Make the current slice end at once; one that is about to run lasts as usual."""
        ...

    def come_back(self) -> None:
        """Note on the trio thread that no worker has it any more, if no task waits for it."""
        ...


@final
class Job:
    """One fiber in the queue, and the task that waits for it, if one does already.

    Attributes:
        stop_requested: asks the worker to hand the fiber back at the end of its slice.
        released: no worker has the fiber any more.
        returned: the trio thread knows that.
    """

    __slots__ = ("error", "fiber", "raise_cancel", "released", "returned", "stop_requested", "task")

    def __init__(self, fiber: Steppable) -> None:
        self.fiber: Steppable = fiber
        self.task: trio.lowlevel.Task | None = None
        self.stop_requested: bool = False
        self.released: bool = False
        self.returned: bool = False
        self.raise_cancel: Callable[[], NoReturn] | None = None
        self.error: BaseException | None = None

    @property
    def is_unclaimed(self) -> bool:
        """True if it was handed back, and no task has waited for it yet."""
        return self.returned and self.task is None


@final
class ReadyQueue:
    """The fibers of one trio run that compute on worker threads."""

    # Invariants, under `_lock`:
    # - a job is in `_waiting` or with one worker, never both
    # - `_waiting` is empty while fewer than `size` workers run
    # - each worker has one job
    #
    # What several threads read and write without `_lock`, also where no other lock orders them:
    # - `Job.stop_requested` is set once. A worker that misses it runs one slice more: the tick that
    #   follows ends that, or the timer does.
    # - `Job.released` is set once, as the worker's last step but for `_returned`, which is a queue
    #   between threads. The trio thread reads what the worker has written to the fiber after it has
    #   seen one of the two.
    # - `on_loop` and `_workers` are hints here: an old value costs a tick, or a slice in another
    #   place.

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Job, None] = OrderedDict()  # to remove any job takes O(1)
        self._workers = 0
        self._returned: deque[Job] = deque()
        """Jobs that no worker has any more, and whose tasks have not been woken yet."""
        self._token = trio.lowlevel.current_trio_token()
        self.on_loop: Ticker | None = None
        """Ends the slice of a guest on the trio thread when a job is handed back; None for none."""

    @property
    def has_idle_cpu(self) -> bool:
        """True if there is a CPU for one more worker, beside the trio thread's own."""
        return self._workers < self.size - 1

    @property
    def is_busy(self) -> bool:
        """True while a worker runs."""
        return self._workers > 0

    @property
    def has_returned(self) -> bool:
        """True if a worker has handed back a job, and the trio thread has not taken it yet."""
        return bool(self._returned)

    def __repr__(self) -> str:
        return f"<ReadyQueue: {self._workers}/{self.size} workers, {len(self._waiting)} waiting>"

    @enable_ki_protection
    async def wait(self, job: Job) -> None:
        """Wait until a submitted job's step returns True, or it is asked to stop.

        A cancel takes the job out of the queue, or asks its worker to hand it back; the task
        continues only when no worker has the job. In the second case ``job.raise_cancel`` is set
        and the caller has to call it: the guest may have finished meanwhile.

        It is no checkpoint where the job has been handed back already.

        Raises:
            trio.Cancelled: cancelled while the job waited in the queue.
        """
        if not job.returned:
            job.task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(partial(self._abort, job))
        elif job.error is not None:
            raise job.error

    def stop(self, job: Job) -> None:
        """Ask for the job back, on the trio thread; its task continues as soon as possible."""
        job.stop_requested = True
        if self._remove(job):
            self._take_back(job)
        elif not job.released:
            job.fiber.hasten()

    def reclaim(self, job: Job) -> None:
        """Get the job back now, which blocks this thread for a moment: it must be rare."""
        job.stop_requested = True
        if not self._remove(job):
            job.fiber.hasten()
            while not job.released:
                sleep(_MOMENT)
        job.returned = True

    @enable_ki_protection
    def _abort(self, job: Job, raise_cancel: Callable[[], NoReturn]) -> Abort:
        """Get a job back whose task is cancelled, or ask its worker for it."""
        job.stop_requested = True
        if self._remove(job):
            job.returned = True
            return Abort.SUCCEEDED
        job.raise_cancel = raise_cancel
        job.fiber.hasten()
        return Abort.FAILED

    def _remove(self, job: Job) -> bool:
        """Take a job out of the queue; return True if it was there."""
        with self._lock:
            if job not in self._waiting:
                return False
            del self._waiting[job]
            return True

    def submit(self, job: Job) -> None:
        """Have a worker run a job, on the trio thread."""
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

    # --- on a worker thread ---

    def _work(self, job: Job) -> Job:
        """Serve until the queue is empty; return the last job, hand the others back from here.

        The last job goes back through trio's ``deliver``, which marks this thread as idle first: so
        the task's next hand-over reuses it instead of creating a second thread.
        """
        while True:
            done = self._serve(job)
            # One critical section to put the job back, to take the next one, or to end: otherwise
            # a job could be added between these steps, and no worker would take it.
            with self._lock:
                # A stop may have been requested since, when the job was not in the queue yet.
                done = done or job.stop_requested
                if not done:
                    self._waiting[job] = None
                if not self._waiting:
                    self._workers -= 1
                    return job
                following, _ = self._waiting.popitem(last=False)
            if done:
                self._give_back(job)
            job = following

    def _serve(self, job: Job) -> bool:
        """Run a job's slices; return False if it has to give way to another job."""
        until = perf_counter() + QUANTUM
        try:
            while not job.stop_requested:
                if job.fiber.step():
                    return True
                if self._waiting and perf_counter() > until:
                    return False
        except BaseException as error:  # noqa: BLE001 - raised in the task that waits
            job.error = error
        return True

    def _hand_back(self, last: outcome.Outcome[Job]) -> None:
        self._give_back(last.unwrap())

    def _give_back(self, job: Job) -> None:
        job.released = True
        self._returned.append(job)
        ticker = self.on_loop
        if ticker is not None and self._workers <= _MOST_INTERRUPTED:
            ticker.tick()
        self._token.run_sync_soon(self.take_back, idempotent=True)

    # --- on the trio thread ---

    def take_back(self) -> None:
        """Take what the workers have handed back: wake the tasks, or tell the fibers."""
        while self._returned:
            job = self._returned.popleft()
            if not job.returned:
                self._take_back(job)

    def _take_back(self, job: Job) -> None:
        job.returned = True
        if job.task is None:
            job.fiber.come_back()
        else:
            result = outcome.Value(None) if job.error is None else outcome.Error(job.error)
            trio.lowlevel.reschedule(job.task, result)


def _cpu_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_of_this_run: RunVar[ReadyQueue] = RunVar("wasmpool_ready_queue")


def ready_queue() -> ReadyQueue:
    """The queue of the current trio run."""
    try:
        return _of_this_run.get()
    except LookupError:
        queue = ReadyQueue(_cpu_count())
        _of_this_run.set(queue)
        return queue
