"""A task in line for a lease.

The hand-over is the subtle moment of every pool: a waiter may be cancelled while it is handed an
instance. Here both are synchronous. Whoever settles a waiter first takes it out of the line;
from then on a cancellation finds nothing to abort, so the waiter wakes up with what it was given,
owns it, and meets the cancellation at its next checkpoint. There is no state between "in line"
and "settled".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._place import Place
    from ._slot import Slot

__all__ = ["Waiter"]


@final
class Waiter:
    """One task's place in line.

    Invariant: ``slot`` and ``error`` are both None exactly as long as it is in line.
    """

    __slots__ = ("_give_up", "_parked", "arrived", "error", "place", "slot", "task")

    def __init__(
        self,
        task: trio.lowlevel.Task,
        arrived: float,
        place: Place,
        give_up: Callable[[Waiter], None],
    ) -> None:
        self.task = task
        self.arrived = arrived
        self.place = place
        self.slot: Slot | None = None
        self.error: Exception | None = None
        self._give_up = give_up
        """Takes it out of the line."""
        self._parked = False

    @property
    def settled(self) -> bool:
        """Whether it has what it waited for."""
        return self.slot is not None or self.error is not None

    def settle(self, slot: Slot | None, error: Exception | None) -> None:
        """Give it an instance or an error, once."""
        assert not self.settled
        self.slot = slot
        self.error = error
        if self._parked:
            trio.lowlevel.reschedule(self.task)

    @trio.lowlevel.enable_ki_protection
    async def wait(self) -> Slot:
        """Sleep until settled."""
        if not self.settled:
            self._parked = True
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self.error is not None:
            raise self.error
        assert self.slot is not None
        return self.slot

    @trio.lowlevel.enable_ki_protection  # runs in the midst of whatever task cancels
    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._give_up(self)
        return trio.lowlevel.Abort.SUCCEEDED
