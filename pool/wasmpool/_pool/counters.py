"""The counters behind a pool's statistics.

They are apart from `statistics`, whose classes are made late.
"""

from __future__ import annotations

from typing import final

from .recorder import Recorder
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
        self.asked: int = 0
        self.granted: int = 0
        self.cancelled: int = 0
        self.timed_out: int = 0
        self.saturated: int = 0
        self.refused_closed: int = 0
        self.unavailable: int = 0
        self.deadlocked: int = 0
        self.would_block: int = 0
        self.started: int = 0
        self.closed: int = 0
        self.reloads: int = 0
        self.retired: dict[str, int] = {reason.value: 0 for reason in RetireReason}
        self.wait_seconds: Recorder = Recorder()
        self.lease_seconds: Recorder = Recorder()
        self.start_seconds: Recorder = Recorder()

    @property
    def settled(self) -> int:
        """Asks that have had their answer."""
        return (
            self.granted + self.cancelled + self.timed_out + self.saturated + self.refused_closed
            + self.unavailable + self.deadlocked + self.would_block
        )  # fmt: skip
