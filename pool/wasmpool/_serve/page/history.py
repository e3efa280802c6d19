"""What each plugin did in the last minutes: calls per second, and how long they took.

A pool counts since it was opened. The difference between two snapshots of its histogram is what
happened between them, so nothing is added to a call.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool import Plugin, PoolStatistics

__all__ = ["KEPT", "History", "Point"]

KEPT: Final = 300
"""Points of each plugin: five minutes, if one is made each second."""


@final
class Point(NamedTuple):
    """What one plugin did since the point before."""

    time: float
    """When it was made: seconds, in the time of `trio.current_time`."""
    rate: float
    """Calls that ended, each second."""
    p50: float
    """The median of how long these calls held their instance, in seconds; 0.0 without calls."""
    p99: float
    """The time that 99 % of these calls did not exceed, in seconds; 0.0 without calls."""


@final
class History:
    """The points of one plugin, at most `KEPT` of them."""

    def __init__(self, plugin: Plugin, statistics: PoolStatistics, now: float) -> None:
        self.plugin: Final = plugin
        """Another plugin of the same name has a history of its own."""
        self._points: deque[Point] = deque(maxlen=KEPT)
        self.statistics: PoolStatistics = statistics
        """The newest."""
        self._time = now

    @property
    def points(self) -> Sequence[Point]:
        """From the oldest to the newest."""
        return self._points

    def add(self, statistics: PoolStatistics, now: float) -> None:
        """Make a point of what happened since the last one; ``now`` is later than that."""
        calls = statistics.lease_seconds.since(self.statistics.lease_seconds)
        rate = calls.count / (now - self._time)
        self._points.append(Point(now, rate, calls.quantile(0.5), calls.quantile(0.99)))
        self.statistics, self._time = statistics, now
