"""Where a call should start: on the trio thread, or in a worker at once."""

from __future__ import annotations

from typing import Final, final

__all__ = ["LONG", "Pace"]

LONG: Final = 0.0005
"""Seconds of computing that are worth the way to a thread and back, which takes a fifth of that."""


@final
class Pace:
    """Whether an export's recent calls were long; shared by all instances of a module.

    Two long calls more than short ones, of late, and the next starts in a thread. Each short
    one counts back, so an export of both kinds mostly starts on the trio thread.
    """

    __slots__ = ("weight",)

    def __init__(self) -> None:
        self.weight: int = 0

    @property
    def long(self) -> bool:
        return self.weight >= 2

    def was(self, *, long: bool) -> None:
        self.weight = min(3, self.weight + 1) if long else max(0, self.weight - 1)
