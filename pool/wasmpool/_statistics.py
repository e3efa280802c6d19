"""What a pool tells about itself: frozen snapshots.

Imported when the first is taken: to make these classes is a tenth of the package's import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._histogram import Histogram
    from ._pool_state import PoolState

__all__ = ["LeaseInfo", "PoolStatistics"]


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


for _each in (LeaseInfo, PoolStatistics):
    _each.__module__ = "wasmpool"  # where they are imported from, also before anybody does
