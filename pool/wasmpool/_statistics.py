"""What a pool tells about itself: frozen snapshots, and the counters that they are taken from."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from ._histogram import Histogram, Recorder
from ._retire import RetireReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._pool_state import PoolState

__all__ = ["Counters", "LeaseInfo", "PoolStatistics"]


@final
@attrs.frozen(kw_only=True)
class LeaseInfo:
    """One lease that is held now."""

    holder: str
    """The name of the task that holds it."""
    since: float
    """When it was granted, in the time of `trio.current_time`."""
    generation: int
    """The generation of its instance."""
    uses: int
    """The leases of its instance so far, this one included."""
    instance: int
    """The number of its instance, from 1 in the order of their starts."""
    place: str
    """Where it was asked for: ``FILE:LINE``."""


@final
@attrs.frozen(kw_only=True)
class PoolStatistics:
    """A pool at one moment.

    Two laws hold at every moment::

        asked = granted + cancelled + timed_out + saturated + refused_closed + unavailable
                + deadlocked + would_block + waiting
        started = closed + idle + leased + starting + retiring

    A reason is counted in ``retired`` when the retirement begins, so these add up to
    ``closed + retiring``.
    """

    # Now:
    state: PoolState
    generation: int
    size: int
    min_size: int
    idle: int
    leased: int
    starting: int
    """Instances being started, set up or checked."""
    retiring: int
    """Instances being closed."""
    waiting: int
    # Ever:
    asked: int
    granted: int
    cancelled: int
    timed_out: int
    saturated: int
    refused_closed: int
    unavailable: int
    deadlocked: int
    would_block: int
    started: int
    """Starts begun, also those that failed."""
    closed: int
    reloads: int
    retired: Mapping[str, int]
    """By reason, every `RetireReason` present."""
    wait_seconds: Histogram
    """From asking to the grant; 0 where an instance was idle."""
    lease_seconds: Histogram
    """From the grant to giving back."""
    start_seconds: Histogram
    """Of starts that succeeded: start, setup and check."""


@final
class Counters:
    """What has happened so far."""

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
