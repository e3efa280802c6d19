"""The trio thread's time that guests may take before the loop gets its turn.

A call starts on the trio thread, and a slice there is bounded by the ticker. But a scheduler
pass runs every task that is ready: thirty-two calls of a millisecond each would hold up the
loop for thirty-two. So the slices of a pass are added up, and once they exceed `BUDGET` a call
that would start goes through a checkpoint first, into the next pass. (It does not take a thread
for that: its own slice may be short.)

Trio does not say where a pass begins. But a checkpoint that began in one pass ends in the next,
so a task that comes back from a checkpoint, and finds that nobody has noticed a new pass since
it left, has noticed one.
"""

from __future__ import annotations

from typing import Final, final

import trio
from trio.lowlevel import RunVar

__all__ = ["BUDGET", "Turn", "turn"]

BUDGET: Final = 0.001
"""Seconds of guests in a pass after which others wait for the next: as much as one slice."""


@final
class Turn:
    """What the guests of one trio run have taken of the loop's time in this pass."""

    __slots__ = ("passes", "spent")

    def __init__(self) -> None:
        self.passes = 0
        self.spent = 0.0
        """Seconds in this pass. Whoever runs a guest on the trio thread adds its time."""

    async def wait(self) -> None:
        """Go on in a pass with time left; call it when ``spent`` exceeds `BUDGET`.

        Raises:
            trio.Cancelled: it is a checkpoint.
        """
        while self.spent > BUDGET:
            noticed = self.passes
            await trio.lowlevel.checkpoint()
            if self.passes == noticed:
                self.passes += 1
                self.spent = 0.0


_of_this_run: RunVar[Turn] = RunVar("wasmpool_turn")


def turn() -> Turn:
    """The one of the trio run that is under way."""
    try:
        return _of_this_run.get()
    except LookupError:
        value = Turn()
        _of_this_run.set(value)
        return value
