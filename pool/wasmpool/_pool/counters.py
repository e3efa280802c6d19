"""The counters behind a pool's statistics.

They are apart from `statistics`, whose classes are made late.
"""

from __future__ import annotations

from typing import final

from .histogram import Recorder
from .retire_reason import RetireReason

__all__ = ["Counters"]


@final
class Counters:
    """What has happened so far; the names are those of `PoolStatistics`."""

    __slots__ = (
        "asked", "cancelled", "closed", "deadlocked", "granted", "lease_seconds",
        "refused_closed", "reloads", "retired", "saturated", "start_seconds", "started",
        "timed_out", "unavailable", "wait_seconds", "would_block",
    )  # fmt: skip

    def __init__(self) -> None:
        self.asked = self.granted = self.cancelled = self.timed_out = self.saturated = 0
        self.refused_closed = self.unavailable = self.deadlocked = self.would_block = 0
        self.started = self.closed = self.reloads = 0
        self.retired: dict[str, int] = {reason.value: 0 for reason in RetireReason}
        self.wait_seconds = Recorder()
        self.lease_seconds = Recorder()
        self.start_seconds = Recorder()

    @property
    def settled(self) -> int:
        """Asks that have had their answer."""
        return (
            self.granted + self.cancelled + self.timed_out + self.saturated + self.refused_closed
            + self.unavailable + self.deadlocked + self.would_block
        )  # fmt: skip
