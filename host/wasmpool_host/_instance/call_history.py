"""Where a call should start: on the trio thread, or in a worker at once.

What counts is how long a guest computes: the CPU time of its thread. Wall-clock time is longer on a
busy machine, and would move short calls to threads that get no CPU either. But CPU time costs a
system call, a twentieth of a short call. So calls are timed by the wall clock as a rule. After one
that seems long by it, the next calls are measured in CPU time.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ["LONG", "CallHistory"]

LONG: Final = 0.0005
"""Seconds of computing from which a thread is worth it: the way there and back is a fifth."""


@final
class CallHistory:
    """Tells if an export's recent calls were long; shared by all instances of a module.

    A long call counts one up, a short one counts one down, and from 2 on calls start in a thread.
    So an export with calls of both kinds mostly starts on the trio thread. While ``score`` is not
    0, calls are measured.
    """

    __slots__ = ("score",)

    def __init__(self) -> None:
        self.score: int = 0

    @property
    def long(self) -> bool:
        """True if the next call starts in a thread."""
        return self.score >= 2

    def mark_suspect(self) -> None:
        """Note a call that seemed long: the next one is measured."""
        self.score = self.score or 1

    def record(self, *, long: bool) -> None:
        """Count a call that was measured."""
        self.score = min(3, self.score + 1) if long else max(0, self.score - 1)
