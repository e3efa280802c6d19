"""What users see of a pool: frozen snapshots.

This module is imported when the first one is taken: making its classes would be a tenth of the
time that the package's import takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .histogram import Histogram
    from .pool_state import PoolState

__all__ = ["LeaseInfo", "PoolStatistics"]


@final
@attrs.frozen(kw_only=True)
class LeaseInfo:
    """One lease that is held now."""

    holder: str
    """The name of the task that holds it."""
    since: float
    """When it was granted: seconds, in the time of `trio.current_time`."""
    generation: int
    """The number of its instance's generation, from 1."""
    uses: int
    """How many leases its instance has had so far, this one included."""
    instance: int
    """The number of its instance, from 1 in the order of their starts."""
    place: str
    """Where in the user's code it was asked for: ``FILE:LINE``. Lines of this library, of trio and
    of contextlib are skipped; ``"unknown"`` if there is no other line, as in a task that runs
    nothing but ``pool.call``."""
    tool: str | None = None
    """The tool of a plugin that it is used for; None for other calls, and until its call begins."""


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
    """Open, closing or closed."""
    generation: int
    """The number of the generation in service, from 1."""
    size: int
    """How many instances may be alive at once, as opened or last resized."""
    min_size: int
    """How many instances are kept warm, as opened or last resized."""
    idle: int
    """Instances that are ready and not leased."""
    leased: int
    """Instances that are leased, of all generations."""
    starting: int
    """Instances being started, set up or checked, also for a reload."""
    retiring: int
    """Instances being closed."""
    waiting: int
    """Tasks in the queue for an instance."""
    # Ever, since the pool was opened; each ask is counted once, when it ends:
    asked: int
    """How often an instance was asked for, by calls, exchanges and leases."""
    granted: int
    """Asks that got an instance."""
    cancelled: int
    """Asks whose task was cancelled while it waited in the queue."""
    timed_out: int
    """Asks that ended with `PoolTimeout`."""
    saturated: int
    """Asks that ended with `PoolSaturated`."""
    refused_closed: int
    """Asks that ended with `PoolClosed`."""
    unavailable: int
    """Asks that ended with `PoolUnavailable`."""
    deadlocked: int
    """Asks that ended with `LeaseDeadlock`."""
    would_block: int
    """Asks by `Pool.lease_nowait` that ended with `trio.WouldBlock`."""
    started: int
    """Starts begun, also those that failed."""
    closed: int
    """Instances closed, and starts that failed."""
    reloads: int
    """Reloads that put another generation in service."""
    retired: Mapping[str, int]
    """How many instances retired, by reason; every `RetireReason` is present."""
    wait_seconds: Histogram
    """Of each ask that was granted: seconds from asking to the grant, 0 if an instance was idle."""
    lease_seconds: Histogram
    """Of each lease that has ended: seconds from the grant until it was given back or revoked."""
    start_seconds: Histogram
    """Of each start that succeeded: seconds that start, setup and check took together."""


for _each in (LeaseInfo, PoolStatistics):
    _each.__module__ = "wasmpool"  # where users import them from
