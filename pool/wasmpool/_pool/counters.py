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
        "asked_for_leases", "at_once", "cancelled", "closed", "deadlocked", "granted_leases",
        "lease_seconds", "refused_closed", "reloads", "retired", "saturated", "start_seconds",
        "started", "timed_out", "unavailable", "wait_seconds", "would_block",
    )  # fmt: skip

    def __init__(self) -> None:
        self.at_once: int = 0
        """Calls that were done in one step. Each counts as an ask, a grant and a wait of zero, and
        is counted here alone: most calls are."""
        self.asked_for_leases: int = 0
        """All other asks."""
        self.granted_leases: int = 0
        """Grants of those."""
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
    def asked(self) -> int:
        """Asks for an instance."""
        return self.asked_for_leases + self.at_once

    @property
    def granted(self) -> int:
        """Asks that got one."""
        return self.granted_leases + self.at_once

    @property
    def settled(self) -> int:
        """Asks that have had their answer."""
        return (
            self.granted + self.cancelled + self.timed_out + self.saturated + self.refused_closed
            + self.unavailable + self.deadlocked + self.would_block
        )  # fmt: skip
