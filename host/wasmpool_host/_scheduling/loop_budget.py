"""The time on the trio thread that guests may use in one scheduler pass.

A call starts on the trio thread, and the epoch ticker bounds each of its slices there. But one pass
of the scheduler runs every task that is ready: thirty-two calls of a millisecond each would block
the loop for thirty-two milliseconds. So the times of the slices are added up, and once the sum
exceeds `BUDGET`, a task that is about to start another slice waits for the next pass. (It does not
move to a worker thread: its own slice may be short.)

Trio does not report where a pass begins. It is found in two ways:

1. From half of the budget on (`SOFT_LIMIT`), a callback is requested (`run_sync_soon`). It runs in
   the next pass and resets the sum, so many passes of short calls never add up to a full one.
2. A task that returns from a checkpoint is in the next pass. The first task that has to wait does
   this, and begins the pass for all: it is the *leader*. Tasks that have to wait meanwhile stand in
   a queue, first in, first out. The leader wakes as many of them as will probably fit into one
   pass, since they run in the pass after this one, and makes the last of them the next leader.

How many will fit is learned from the time of the previous ones, without the time that the kernel
gave to other threads meanwhile: where the loop's thread shares its CPU, a pass often takes too
long, and with only one guest in each pass the queue would take far too many passes. A task that is
woken in a pass that is full already goes back to the front of the queue. While there is a queue,
new tasks go to its end.

A call that has started nothing yet (`Pool.call`, before it takes an instance) first yields a few
passes (`yield_passes`): if one slice took too long, perhaps because the kernel or another thread
had the CPU, the next pass starts from zero again. Otherwise the calls that follow in the same pass
would each wait while holding an instance, and more instances would be started for the calls after
them, on a loop that has no time. Only some calls do this, and only for some passes: they have not
asked the pool yet, so they are in no queue and no bound counts them.

Rejected: every waiting task checks for itself whether the next pass has room. Two thousand tasks
would go through the scheduler in each pass, for thirty of them to continue.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from time import thread_time
from typing import Final, final

import trio
from trio.lowlevel import Abort, RunVar, current_task, enable_ki_protection

from .headroom import headroom

__all__ = ["BUDGET", "SOFT_LIMIT", "LoopBudget", "budget_of_this_run"]

BUDGET: Final = 0.001
"""Seconds of guests in one pass, after which further slices wait for the next pass: one slice."""

SOFT_LIMIT: Final = BUDGET / 2
"""Seconds in one pass from which on `LoopBudget.is_exhausted` must be asked."""

_MAX_TASKS: Final = 128
"""Tasks that are woken for one pass, or that yield passes: Python's own time is not counted."""

_MAX_PASSES: Final = 3
"""Passes that a task yields: with one, useless starts of instances were halved; with three, none
was left."""

FRAMES_TO_WAIT: Final = 20
"""Python frames that a task needs to be parked, and to wake others."""

_SATURATED: Final = 1e6
"""The start of ``spent`` while there is a queue: above `BUDGET`, so that new tasks wait."""


@final
class LoopBudget:
    """The loop's time that the guests of one trio run have used in this pass."""

    # Invariants:
    # - every task in `_queue` is parked; while the queue is not empty, there is a leader
    # - the leader always reaches `_begin_pass`, also when it is cancelled

    __slots__ = (
        "_batch_size", "_cpu", "_leader", "_queue", "_reset_requested", "_spent_from", "_token",
        "_yielding", "spent",
    )  # fmt: skip

    def __init__(self) -> None:
        self._queue: OrderedDict[trio.lowlevel.Task, None] = OrderedDict()
        self._leader: trio.lowlevel.Task | None = None
        self._batch_size = 1
        self._spent_from = 0.0
        self._cpu = 0.0
        self._reset_requested = False
        self._yielding = 0
        self._token = trio.lowlevel.current_trio_token()
        self.spent: float = 0.0
        """Seconds in this pass. The code that runs a guest on the trio thread adds its time."""

    def is_exhausted(self) -> bool:
        """Return True if a slice has to `wait` now. Ask once ``spent`` is above `SOFT_LIMIT`."""
        if not self._reset_requested:
            self._reset_requested = True
            self._token.run_sync_soon(self._reset)
        return self.spent > BUDGET

    def _reset(self) -> None:
        """A pass has begun. If there is a leader, it begins the pass instead."""
        self._reset_requested = False
        if self._leader is None:
            self.spent = 0.0

    @enable_ki_protection
    async def yield_passes(self) -> None:
        """Wait for a pass that has room, for a few passes at most. Call it when `is_exhausted`.

        Only for a task that has started nothing yet and holds nothing. This is a checkpoint, unless
        many other tasks are waiting here already: then it returns at once.
        """
        if self._yielding == _MAX_TASKS:
            return
        self._yielding += 1
        try:
            for _ in range(_MAX_PASSES):
                await trio.lowlevel.checkpoint()
                if not (self.spent > SOFT_LIMIT and self.is_exhausted()):
                    return
        finally:
            self._yielding -= 1

    @enable_ki_protection
    async def wait(self) -> None:
        """Wait until a pass has room for this task. Call it when `is_exhausted`.

        Raises:
            RecursionError: too little is left of the Python stack. The task is not in the queue.
            trio.Cancelled: this is a checkpoint.
        """
        headroom(FRAMES_TO_WAIT)  # a task in the queue must be able to park, too
        task = current_task()
        to_the_front = False
        while self._leader is not None:
            # 1. There is a leader: queue until it wakes this task.
            self._queue[task] = None
            if to_the_front:
                self._queue.move_to_end(task, last=False)
            await trio.lowlevel.wait_task_rescheduled(partial(self._leave, task))
            # 2. Woken: as the next leader, or in a pass with room; otherwise queue again.
            if self._leader is task:
                self._begin_pass()
                return
            if self.spent - self._spent_from <= BUDGET:
                return
            to_the_front = True
        # 3. There is none: become the leader, and begin the next pass.
        self._leader = task
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._begin_pass()

    @enable_ki_protection  # once for all tasks: to protect a closure of each takes longer than this
    def _leave(self, task: trio.lowlevel.Task, _: object) -> Abort:
        """Take a cancelled task out of the queue."""
        del self._queue[task]
        return Abort.SUCCEEDED

    def _begin_pass(self) -> None:
        cpu = thread_time()
        self._adapt_batch_size(min(self.spent - self._spent_from, cpu - self._cpu))
        self._cpu = cpu
        self._leader = None
        queue = self._queue
        for _ in range(min(self._batch_size, len(queue))):
            self._leader, _ = queue.popitem(last=False)
            trio.lowlevel.reschedule(self._leader)
        self.spent = self._spent_from = 0.0 if self._leader is None else _SATURATED

    def _adapt_batch_size(self, took: float) -> None:
        if took > BUDGET:
            self._batch_size = max(1, self._batch_size // 2)
        elif 2 * took < BUDGET:
            self._batch_size = min(_MAX_TASKS, self._batch_size * 2)


_of_this_run: RunVar[LoopBudget] = RunVar("wasmpool_loop_budget")


def budget_of_this_run() -> LoopBudget:
    """The budget of the current trio run."""
    try:
        return _of_this_run.get()
    except LookupError:
        value = LoopBudget()
        _of_this_run.set(value)
        return value
