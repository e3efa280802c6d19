"""Where a call should start: on the trio thread, or in a worker at once.

What counts is how long a guest computes: the CPU time of its thread. Wall-clock time is longer on a
busy machine, and would move short calls to threads that get no CPU either. But CPU time costs a
system call, a twentieth of a short call. So calls are timed by the wall clock as a rule. After one
that seems long by it, the next calls are measured in CPU time.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ["LONG", "MEDIUM", "CallHistory"]

MEDIUM: Final = 0.00015
"""Seconds of computing from which calls are measured: a thread may be worth it."""

LONG: Final = 0.001
"""Seconds of computing from which a call always starts in a thread: it needs several slices."""

_WEIGHT: Final = 0.25
"""Of the last call in the average: a single call of another length hardly moves it."""

_MOST: Final = 3 * LONG
"""Seconds that a call counts at most: one of a minute among short ones does not make them long."""


@final
class CallHistory:
    """Tells how long an export's recent calls computed; shared by all instances of a module.

    ``seconds`` is 0 for an export whose calls are short, and then they are not measured. Otherwise
    it is a moving average. Several threads may record at once, without a lock: of two calls that
    end at the same moment, one may not count.
    """

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: float = 0.0

    @property
    def long(self) -> bool:
        """True if the next call starts in a thread."""
        return self.seconds > LONG

    def mark_suspect(self, seconds: float = 0.0) -> None:
        """Note a call that seemed long, and computed in a worker so long: the next is measured."""
        self.seconds = self.seconds or max(MEDIUM, min(seconds, LONG))

    def record(self, seconds: float) -> None:
        """Count a call that was measured."""
        average = self.seconds + _WEIGHT * (min(seconds, _MOST) - self.seconds)
        self.seconds = average if average > MEDIUM / 2 else 0.0
