"""A task in line for an instance.

The hand-over is the subtle moment of every pool: a waiter may be cancelled while it is handed an
instance. Here both are synchronous. Whoever settles a waiter first takes it out of the line;
from then on a cancellation finds nothing to abort, so the waiter wakes up with what it was given,
owns it, and meets the cancellation at its next checkpoint. Between "in line" and "settled" there
is no checkpoint.

Who wants no more than a call leaves that with the waiter (`Pool.call`), and whoever gives an
instance to it runs the call's first slice as well. Most calls are over then, in one plain step,
and the instance is free for the next in line. Were it handed from task to task, each would first
have to come round in the scheduler, with as many calls in a pass as there are instances, though
none of these is busy; and as everybody joins the end of a line while there is one, it would stay.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, final

import trio

from wasmpool_host.lowlevel import PENDING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call_site import Place
    from .slot import Slot

__all__ = ["Waiter"]


@final
class Waiter:
    """One task's place in line.

    Invariant: until it is ``settled`` it is in line, or its call is being run.
    """

    __slots__ = (
        "_begin", "_error", "_give_up", "_parked", "_slot", "arrived", "place", "result",
        "settled", "task",
    )  # fmt: skip

    def __init__(
        self,
        task: trio.lowlevel.Task,
        arrived: float,
        place: Place | None,
        give_up: Callable[[Waiter], bool],
        begin: Callable[[Any], Any] | None,
    ) -> None:
        self.task = task
        self.arrived = arrived
        self.place = place
        self.settled = False
        """Whether it has what it waited for."""
        self.result: Any = None
        """What its call returned, or PENDING."""
        self._slot: Slot | None = None
        self._error: BaseException | None = None
        self._give_up = give_up
        """Takes it out of the line, if it is in it."""
        self._begin = begin
        """Runs the first slice of its call in an instance; None for a lease."""
        self._parked = False

    def call_ends_in(self, slot: Slot) -> bool:
        """Begin its call in an instance that it was granted; whether the call is over."""
        if self._begin is None:
            return False
        handled = sys.exception()
        try:
            self.result = self._begin(slot.instance)
        except BaseException as error:  # noqa: BLE001 - it is raised in the task
            _forget_giver(error, handled)
            self._error = error
            return True
        return self.result is not PENDING

    def settle(self, slot: Slot | None, error: Exception | None = None) -> None:
        """Give it an instance, an error, or the end of its call; once."""
        assert not self.settled
        self.settled = True
        self._slot = slot
        self._error = error or self._error
        if self._parked:
            trio.lowlevel.reschedule(self.task)

    @trio.lowlevel.enable_ki_protection
    async def wait(self) -> Slot | None:
        """Sleep until settled; the instance that it was granted, or None if its call is over."""
        if not self.settled:
            self._parked = True
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it has this frame in its traceback
        return self._slot

    @trio.lowlevel.enable_ki_protection  # runs in the midst of whatever task cancels
    def _abort(self, _: object) -> trio.lowlevel.Abort:
        left = self._give_up(self)
        return trio.lowlevel.Abort.SUCCEEDED if left else trio.lowlevel.Abort.FAILED


def _forget_giver(error: BaseException, handled: BaseException | None) -> None:
    """Have an error know nothing of the giver: its stack, or an exception that it just handles."""
    error.with_traceback(None)
    while error.__context__ is not None and error.__context__ is not handled:
        error = error.__context__
    error.__context__ = None
