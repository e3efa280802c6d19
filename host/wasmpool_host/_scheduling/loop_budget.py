"""The trio thread's time that guests may take before the loop gets its turn.

A call starts on the trio thread, and a slice there is bounded by the ticker. But a scheduler
pass runs every task that is ready: thirty-two calls of a millisecond each would hold up the
loop for thirty-two. So the slices are added up, and once they exceed `BUDGET` whoever would
start another waits for the next pass. (It does not take a thread for that: its own slice may be
short.)

Trio does not say where a pass begins. So when half of the budget is spent, a callback is asked
for (`run_sync_soon`), which comes in the next pass and forgets what was spent: many passes of
short calls never add up to one that is full. And a task that comes back from a checkpoint is in
the next pass. So the first that has to wait does that, and begins the pass for all: it is the
usher.
Others that have to wait meanwhile stand in line, first come first; the usher lets as many of
them go as will probably fit into a pass, for they run in the one after this, and makes one of
them the next usher. How many will fit is learned from how long the last ones took, without what
the kernel took of it for others: where the loop's thread has to share its CPU a pass often takes
too long, and were it then down to one guest, it would take ever so many passes. Whoever finds that
it took too long this time goes back to the front of the line. As long as there is a line, newcomers
go to its end.

A call that has begun nothing yet (`Pool.call`, before it takes an instance) first yields a few
passes (`yield_passes`): one slice that took too long, perhaps because the kernel or another thread
had the CPU, is forgotten in the next pass. Otherwise the calls that follow in the same pass would
each wait with an instance, and more instances would be started for the calls after them, on the
loop that has no time. Only some calls do this, and only for some passes: they have not asked the
pool yet, so they are in no queue and count for none of its bounds.

Were each to look for itself whether the next pass has room, two thousand tasks would go through
the scheduler in each pass, for thirty of them to go on.
"""

from __future__ import annotations

from collections import OrderedDict
from time import thread_time
from typing import TYPE_CHECKING, Final, final

import trio
from trio.lowlevel import Abort, RunVar, current_task, enable_ki_protection

from .headroom import headroom

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUDGET", "SOFT_LIMIT", "LoopBudget", "budget_of_this_run"]

BUDGET: Final = 0.001
"""Seconds of guests in a pass after which others wait for the next: as much as one slice."""

SOFT_LIMIT: Final = BUDGET / 2

_MOST: Final = 128
"""How many are let go for one pass, or let passes go by: their own time is not counted here."""

_PASSES: Final = 3
"""How many go by at most: with one, starts in vain were halved; with three none was left."""

FRAMES_TO_WAIT: Final = 20
"""To be parked, and to let others go."""

_CROWDED: Final = 1e6
"""What ``spent`` starts from while there is a line, so that it is above `BUDGET` for newcomers."""


@final
class LoopBudget:
    """What the guests of one trio run have taken of the loop's time in this pass."""

    # Invariants:
    # - who is in `_line` is parked; while there is anybody, there is an usher
    # - the usher will come to `_begin_pass`, for nothing can cancel it any more

    __slots__ = (
        "_asked", "_cpu", "_fitting", "_line", "_passing", "_spent_from", "_token", "_usher",
        "spent",
    )  # fmt: skip

    def __init__(self) -> None:
        self._line: OrderedDict[trio.lowlevel.Task, None] = OrderedDict()
        self._usher: trio.lowlevel.Task | None = None
        self._fitting = 1
        self._spent_from = 0.0
        self._cpu = 0.0
        self._asked = False
        self._passing = 0
        self._token = trio.lowlevel.current_trio_token()
        self.spent: float = 0.0
        """Seconds in this pass. Whoever runs a guest on the trio thread adds its time."""

    def is_exhausted(self) -> bool:
        """Whether a slice has to `wait` now; to be asked from `SOFT_LIMIT` on."""
        if not self._asked:
            self._asked = True
            self._token.run_sync_soon(self._forget)
        return self.spent > BUDGET

    def _forget(self) -> None:
        """A pass has begun, unless the usher has said so."""
        self._asked = False
        if self._usher is None:
            self.spent = 0.0

    @enable_ki_protection
    async def yield_passes(self) -> None:
        """Wait for a pass that has room, for a few passes at most. Call it when it `is_exhausted`.

        It is for a task that has begun nothing yet, and holds nothing. It is a checkpoint, unless
        many other tasks are in here: then it returns at once.
        """
        if self._passing == _MOST:
            return
        self._passing += 1
        try:
            for _ in range(_PASSES):
                await trio.lowlevel.checkpoint()
                if not (self.spent > SOFT_LIMIT and self.is_exhausted()):
                    return
        finally:
            self._passing -= 1

    @enable_ki_protection
    async def wait(self) -> None:
        """Go on when it is this task's turn; call it when it `is_exhausted`.

        Raises:
            RecursionError: there is too little left of the Python stack; it is not in line.
            trio.Cancelled: it is a checkpoint.
        """
        headroom(FRAMES_TO_WAIT)  # who is in the line has to be parked, too
        task = current_task()
        to_the_front = False
        while self._usher is not None:
            self._line[task] = None
            if to_the_front:
                self._line.move_to_end(task, last=False)
            await trio.lowlevel.wait_task_rescheduled(self._leaver(task))
            if self._usher is task:
                self._begin_pass()
                return
            if self.spent - self._spent_from <= BUDGET:
                return
            to_the_front = True
        self._usher = task
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._begin_pass()

    def _leaver(self, task: trio.lowlevel.Task) -> Callable[[object], Abort]:
        @enable_ki_protection
        def leave(_: object) -> Abort:
            del self._line[task]
            return Abort.SUCCEEDED

        return leave

    def _begin_pass(self) -> None:
        cpu = thread_time()
        self._learn(min(self.spent - self._spent_from, cpu - self._cpu))
        self._cpu = cpu
        self._usher = None
        line = self._line
        for _ in range(min(self._fitting, len(line))):
            self._usher, _ = line.popitem(last=False)
            trio.lowlevel.reschedule(self._usher)
        self.spent = self._spent_from = 0.0 if self._usher is None else _CROWDED

    def _learn(self, took: float) -> None:
        if took > BUDGET:
            self._fitting = max(1, self._fitting // 2)
        elif 2 * took < BUDGET:
            self._fitting = min(_MOST, self._fitting * 2)


_of_this_run: RunVar[LoopBudget] = RunVar("wasmpool_loop_budget")


def budget_of_this_run() -> LoopBudget:
    """The one of the trio run that is under way."""
    try:
        return _of_this_run.get()
    except LookupError:
        value = LoopBudget()
        _of_this_run.set(value)
        return value
