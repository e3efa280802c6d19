"""Where a call should start: on the trio thread, or in a worker at once.

What counts is how long a guest computes: the CPU time of its thread. The time that passes is more
where the machine has other things to do, and would send the short calls of a busy loop to threads
that have no CPU either. But to ask for it costs a system call, a twentieth of a short call. So
calls are timed by the clock on the wall as a rule, and one that seems long by that is a reason to
take the measure of the next.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ["LONG", "CallHistory"]

LONG: Final = 0.0005
"""Seconds of computing that are worth the way to a thread and back, which takes a fifth of that."""


@final
class CallHistory:
    """Whether an export's recent calls were long; shared by all instances of a module.

    Two long calls more than short ones, of late, and the next starts in a thread. Each short
    one counts back, so an export of both kinds mostly starts on the trio thread. As long as
    ``score`` is not zero calls are measured.
    """

    __slots__ = ("score",)

    def __init__(self) -> None:
        self.score: int = 0

    @property
    def long(self) -> bool:
        return self.score >= 2

    def mark_suspect(self) -> None:
        """A call seemed long."""
        self.score = self.score or 1

    def record(self, *, long: bool) -> None:
        """A call was measured."""
        self.score = min(3, self.score + 1) if long else max(0, self.score - 1)
