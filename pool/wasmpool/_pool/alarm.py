"""A timer that can be moved, for one concern of the pool.

Each concern (waits, leaks, idle instances, ages, back-off, grace) orders its deadlines itself, so
one timer each is enough for any number of leases. It may go off early or in vain; its action reads
the clock itself. Its task exists only while it is set.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Alarm"]


@final
class Alarm:
    """Calls ``action`` once at the time it is set to."""

    __slots__ = ("_action", "_scope", "_spawn", "at")

    def __init__(self, action: Callable[[], None], spawn: Callable[..., None]) -> None:
        self._action = action
        self._spawn = spawn
        self._scope: trio.CancelScope | None = None
        self.at = inf
        """When it goes off, in trio's time; infinity if it is not set."""

    def set(self, at: float) -> None:
        """Go off at ``at``, or earlier if it is set to an earlier time already."""
        if at >= self.at:
            return
        self.at = at
        if self._scope is None:
            self._scope = trio.CancelScope(deadline=at)
            self._spawn(self._run, self._scope)
        else:
            self._scope.deadline = at

    def stop(self) -> None:
        """Do not go off."""
        self.at = inf
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_forever()
        if self._scope is scope:  # not stopped
            self._scope = None
            self.at = inf
            self._action()
