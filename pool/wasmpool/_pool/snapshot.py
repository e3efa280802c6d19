"""A pool's counts and leases, in the words of its messages and of its statistics."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from wasmpool_host.lowlevel import shown

from .call_site import describe as describe_call_site

if TYPE_CHECKING:
    from .core_state import CoreState
    from .slot import Slot
    from .statistics import LeaseInfo, PoolStatistics

__all__ = ["describe", "lease_info", "pool_statistics"]


def describe(pool: CoreState) -> str:
    """Return the load: ``8/8 leased, 12 waiting, oldest lease 3.2 s by task 'sync'``.

    A lease for a tool of a plugin names it at the end: ``for tool 'search'``.
    """
    words = f"{len(pool.leased)}/{pool.size} leased, {len(pool.waiters)} waiting"
    oldest = next(iter(pool.leased), None)
    if oldest is None or oldest.holder is None:
        return words
    held = pool.now() - oldest.since
    tool = "" if oldest.tool is None else f" for tool {shown(oldest.tool)}"
    return f"{words}, oldest lease {held:.1f} s by task {oldest.holder.name!r}{tool}"


def lease_info(slot: Slot) -> LeaseInfo:
    """Return what users see of the lease on a leased instance."""
    from .statistics import LeaseInfo  # noqa: PLC0415 - imported late, as its module explains

    assert slot.holder is not None
    return LeaseInfo(
        holder=slot.holder.name,
        since=slot.since,
        generation=slot.generation.number,
        uses=slot.uses,
        instance=slot.number,
        place=describe_call_site(slot.call_site),
        tool=slot.tool,
    )


def pool_statistics(pool: CoreState) -> PoolStatistics:
    """Return the pool's counts and times of this moment."""
    from .histogram import snapshot  # noqa: PLC0415 - as below
    from .statistics import PoolStatistics  # noqa: PLC0415 - imported late, as its module explains

    counters = pool.counters
    return PoolStatistics(
        state=pool.state,
        generation=pool.current.number,
        size=pool.size,
        min_size=pool.min_size,
        idle=len(pool.idle),
        leased=len(pool.leased),
        starting=len(pool.starting),
        retiring=len(pool.retiring),
        waiting=len(pool.waiters),
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
        wait_seconds=snapshot(counters.wait_seconds, counters.at_once),
        lease_seconds=snapshot(counters.lease_seconds),
        start_seconds=snapshot(counters.start_seconds),
    )
