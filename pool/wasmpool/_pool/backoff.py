"""How long starts pause after one has failed: 50 ms, doubling to 5 s, jittered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from random import Random

__all__ = ["Backoff"]

_FIRST: Final = 0.05  # seconds: a short fault of a network file system is not noticed
_LONGEST: Final = 5.0  # seconds: a repaired deployment is noticed soon
_JITTER: Final = 0.25  # of the pause: many pools of one deployment do not start in step


@final
class Backoff:
    """The failed starts since the last one that succeeded.

    Starts that run at the same time and fail for the same reason count once: only a start that
    began after the latest failure makes the pause longer.
    """

    __slots__ = ("_random", "cause", "holds", "round")

    def __init__(self, random: Random) -> None:
        self._random = random
        self.round: int = 0
        """How many rounds of starts have failed in a row. A start notes the round it began in."""
        self.holds: bool = False
        """Whether starts must wait now."""
        self.cause: BaseException | None = None
        """Why the latest start failed."""

    def failed(self, began_in: int, cause: BaseException) -> float | None:
        """Note a failure. Return the seconds until starts may go on, or None for no change."""
        self.cause = cause
        if began_in != self.round:
            return None
        pause = min(_LONGEST, _FIRST * 2.0 ** min(self.round, 10))
        self.round += 1
        self.holds = True
        return pause * (1 - _JITTER * self._random.random())

    def reset(self) -> None:
        """A start has succeeded."""
        self.round = 0
        self.holds = False
        self.cause = None
