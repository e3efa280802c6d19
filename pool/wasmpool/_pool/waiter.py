"""A task in the queue for an instance.

The hand-over is the critical moment of every pool: a waiter may be cancelled while it is handed an
instance. Here both are synchronous. The code that settles a waiter first takes it out of the
queue; from then on a cancellation finds nothing to abort, so the waiting task wakes up with what
it was given, owns it, and meets the cancellation at its next checkpoint. There is no checkpoint
between "in the queue" and "settled".

A task that wants a single call leaves its beginning with the waiter (`Pool.call`), and the task
that hands an instance over runs the call's first slice as well. Most calls are over then, in one
plain step, and the instance is free for the next waiter. If the instance went from task to task
instead, each of them would first have to be scheduled. A scheduler pass would run only as many
calls as there are instances, though none of these is busy; and as new askers join the end of the
queue while there is one, it would never end.

A call that begins in a worker thread is not settled until the worker is done: its task would wake
up only to wait for that. So it sleeps on, and has left the queue (`leave_in_worker`). If it is
cancelled meanwhile, it is settled with the pending call, and the cancel meets it there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, final

import trio

from wasmpool_host.lowlevel import PENDING, DrivenInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call_site import CallSite
    from .protocols import Instance
    from .slot import Slot

__all__ = ["StartCall", "Waiter"]

StartCall: TypeAlias = "Callable[[Instance], Any]"
"""Runs a call's first slice in an instance; returns its result, or PENDING."""


@final
class Waiter:
    """One task's place in the queue.

    Invariant: until it is ``settled`` it is in the queue, or its call is being run.
    """

    __slots__ = (
        "_away", "_error", "_give_up", "_parked", "_slot", "_start_call", "arrived", "call_site",
        "outcome", "settled", "task",
    )  # fmt: skip

    def __init__(
        self,
        task: trio.lowlevel.Task,
        arrived: float,
        call_site: CallSite | None,
        give_up: Callable[[Waiter], bool],
        start_call: StartCall | None,
    ) -> None:
        self.task: trio.lowlevel.Task = task
        self.arrived: float = arrived
        self.call_site: CallSite | None = call_site
        self.settled: bool = False
        """Whether it has what it waited for."""
        self.outcome: Any = None
        """What the first slice of its call returned: the result, or PENDING. None before that."""
        self._slot: Slot | None = None
        self._error: BaseException | None = None
        self._give_up = give_up
        """Takes it out of the queue, if it is in it."""
        self._start_call = start_call
        """None for a lease."""
        self._parked = False
        self._away: Slot | None = None
        """The instance that runs its call in a worker thread while its task sleeps."""

    def run_first_slice(self, slot: Slot) -> bool:
        """Begin its call in the instance that it was granted. Return True if the call is over."""
        if self._start_call is None:
            return False
        handled = sys.exception()
        try:
            self.outcome = self._start_call(slot.instance)
        except BaseException as error:  # noqa: BLE001 - it is raised in the waiting task
            _forget_giver(error, handled)
            self._error = error
            return True
        return self.outcome is not PENDING

    def leave_in_worker(self, slot: Slot, when_back: Callable[[], None]) -> bool:
        """Let its task sleep on while a worker thread runs its call; return True if one does."""
        instance = slot.instance
        if not (
            self._parked
            and self.outcome is PENDING
            and isinstance(instance, DrivenInstance)
            and instance.call_when_back(when_back)
        ):
            return False
        self._away = slot
        return True

    def finish_in_worker(self, instance: DrivenInstance) -> bool:
        """End its call, which a worker has handed back. Return True if the call is over."""
        handled = sys.exception()
        try:
            self.outcome = instance.finish_now()
        except BaseException as error:  # noqa: BLE001 - it is raised in the waiting task
            _forget_giver(error, handled)
            self._error = error
            return True
        return self.outcome is not PENDING

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
        """Wait until settled. Return the instance it was granted, or None if its call is over.

        Raises:
            Exception: the error that it was settled with, or that its call raised.
        """
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

    @trio.lowlevel.enable_ki_protection  # runs on the stack of the task that cancels
    def _abort(self, _: object) -> trio.lowlevel.Abort:
        if self._away is not None:
            self.settle(self._away)  # its task goes on with the call, which the cancel ends there
            return trio.lowlevel.Abort.FAILED
        left = self._give_up(self)
        return trio.lowlevel.Abort.SUCCEEDED if left else trio.lowlevel.Abort.FAILED


def _forget_giver(error: BaseException, handled: BaseException | None) -> None:
    """Remove the giving task from an error: its stack, and the exception that it handles now."""
    error.with_traceback(None)
    while error.__context__ is not None and error.__context__ is not handled:
        error = error.__context__
    error.__context__ = None
