"""Where a call of medium length runs: on the trio thread, or in a worker.

Such a call computes for a few tenths of a millisecond. The way to a worker and back takes about as
long as the shortest of them, some of it on the loop itself. So a thread pays only if a CPU is idle,
and if the loop has something else to do meanwhile. The trio thread then counts as the worker of one
CPU: a thread more would make the kernel choose between the loop and a guest, for milliseconds.

- No CPU is idle: the call runs here, slice by slice, with a pass of the loop after each.
- A guest computes in a worker: so there are several calls at once. This one goes to a worker, too.
- None does: there are several calls at once if another task's guest has just computed here. A task
  that calls alone, one call after the other, keeps its guests on the trio thread.

A worker that hands a job back while a guest computes here ends this guest's slice. So the next call
is on its way to that worker at once, and not after the rest of the slice (`ReadyQueue.hand_back`).

Rejected: all these calls in workers, one for each CPU. Traces with two CPUs showed that a worker,
once woken, stood behind the other one, while the first CPU was idle.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, final

from trio.lowlevel import RunVar, current_task

from .ready_queue import ready_queue

if TYPE_CHECKING:
    from .ready_queue import ReadyQueue

__all__ = ["Placement", "placement_of_this_run"]

RECENT: Final = 0.0002
"""Seconds: a guest that ended here so long ago was followed by nothing but a pass or two."""


WORTH_ONE_CPU: Final = 0.00025
"""Seconds from which a call is worth its way to the only other CPU, which costs some 100 us of
computing: below, the trio thread alone does nearly as much."""

WORTH_SEVERAL: Final = 0.00015
"""The same with several other CPUs: the way costs the trio thread some 80 us, and nothing else
counts."""


@final
class Placement:
    """Decides for the guests of one trio run, from what the others do."""

    __slots__ = ("_ended", "_task", "_worth", "queue")

    def __init__(self, queue: ReadyQueue) -> None:
        self.queue: ReadyQueue = queue
        self._worth = WORTH_ONE_CPU if queue.size == 2 else WORTH_SEVERAL
        self._task = 0
        self._ended = 0.0

    def prefers_worker(self, seconds: float) -> bool:
        """Return True if a call that computes for ``seconds`` should start in a worker."""
        queue = self.queue
        if seconds < self._worth or not queue.has_idle_cpu:
            return False
        return queue.is_busy or (
            self._task != id(current_task()) and perf_counter() - self._ended < RECENT
        )

    def note_end(self, now: float) -> None:
        """Note that a slice of such a call has ended here."""
        self._task = id(current_task())
        self._ended = now


_of_this_run: RunVar[Placement] = RunVar("wasmpool_placement")


def placement_of_this_run() -> Placement:
    """The placement of the current trio run."""
    try:
        return _of_this_run.get()
    except LookupError:
        placement = Placement(ready_queue())
        _of_this_run.set(placement)
        return placement
