"""A pool's counts, and its leases, in the words of its messages."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import trio

from .call_site import describe as describe_place

if TYPE_CHECKING:
    from .core import Core
    from .slot import Slot
    from .statistics import LeaseInfo, PoolStatistics

__all__ = ["describe", "lease_info", "statistics"]


def describe(core: Core) -> str:
    """Who holds what: ``8/8 leased, 12 waiting, oldest lease 3.2 s by task 'sync'``."""
    words = f"{len(core.leased)}/{core.size} leased, {len(core.line)} waiting"
    oldest = next(iter(core.leased), None)
    if oldest is None or oldest.holder is None:
        return words
    held = trio.current_time() - oldest.since
    return f"{words}, oldest lease {held:.1f} s by task {oldest.holder.name!r}"


def lease_info(slot: Slot) -> LeaseInfo:
    """The lease on a leased instance."""
    from .statistics import LeaseInfo  # noqa: PLC0415 - as its module says

    assert slot.holder is not None
    return LeaseInfo(
        holder=slot.holder.name,
        since=slot.since,
        generation=slot.generation.number,
        uses=slot.uses,
        instance=slot.number,
        place=describe_place(slot.place),
    )


def statistics(core: Core) -> PoolStatistics:
    """A snapshot."""
    from .statistics import PoolStatistics  # noqa: PLC0415 - likewise

    counters = core.counters
    return PoolStatistics(
        state=core.state,
        generation=core.current.number,
        size=core.size,
        min_size=core.min_size,
        idle=len(core.idle),
        leased=len(core.leased),
        starting=len(core.starting),
        retiring=len(core.retiring),
        waiting=len(core.line),
        asked=counters.asked,
        granted=counters.granted,
        cancelled=counters.cancelled,
        timed_out=counters.timed_out,
        saturated=counters.saturated,
        refused_closed=counters.refused_closed,
        unavailable=counters.unavailable,
        deadlocked=counters.deadlocked,
        would_block=counters.would_block,
        started=counters.started,
        closed=counters.closed,
        reloads=counters.reloads,
        retired=MappingProxyType(dict(counters.retired)),
        wait_seconds=counters.wait_seconds.snapshot(),
        lease_seconds=counters.lease_seconds.snapshot(),
        start_seconds=counters.start_seconds.snapshot(),
    )
