"""The event loop's time that a long piece of work in Python may take at once.

What a guest asks the host for can take long: the parser of HTTP turns 64 KiB of one-byte chunks
into ten thousand events, which take a tenth of a second, and a run of a program may leave 100,000
files. So the time of such work counts against the budget that guests have in a scheduler pass, and
work above the budget waits for a later pass. All work and all guests of a trio run share one
budget, so 32 plugins block the loop no longer than one.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, final

import trio

from .loop_budget import SOFT_LIMIT, budget_of_this_run

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LoopShare", "run_shielded"]

_NOTICED: Final = 0.0001  # seconds; counting less is not worth the effort


@final
class LoopShare:
    """Counts the time that one piece of work takes, and waits when the budget is used up.

    The task calls `pause` before it waits for something, and `resume` or `begin` afterwards.
    """

    def __init__(self) -> None:
        self._budget = budget_of_this_run()
        self._since = perf_counter()

    async def step(self) -> None:
        """Wait for a later pass if the budget is used up; to be called between pieces of work."""
        if perf_counter() - self._since > _NOTICED:
            self.pause()
            await self.begin()

    async def begin(self) -> None:
        """Start to count, in a pass with budget left; to be called after the task has waited."""
        if self._budget.spent > SOFT_LIMIT and self._budget.is_exhausted():
            await self._budget.wait()
        self.resume()

    def pause(self) -> None:
        """Count the time so far; to be called before the task waits for something."""
        self._budget.spent += perf_counter() - self._since

    def resume(self) -> None:
        """Start to count; to be called after the task has waited."""
        self._since = perf_counter()


async def run_shielded(steps: Iterator[None]) -> None:
    """Take all steps of some work, each of them short, in as many passes as they need.

    A cancel is not delivered here. It is a checkpoint only where the budget is used up.
    """
    share = LoopShare()
    with trio.CancelScope(shield=True):
        for _ in steps:
            await share.step()
    share.pause()
