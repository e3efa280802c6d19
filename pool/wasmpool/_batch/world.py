"""Failures of the world: those that another attempt may not have."""

from __future__ import annotations

from typing import Final

from wasmpool import CallTimeout, LeaseRevoked, PoolSaturated, PoolTimeout, PoolUnavailable

__all__ = ["is_of_the_world", "pause_before"]

_OF_THE_WORLD: Final = (
    CallTimeout,  # what it waited for, or a busy machine, may be faster next time
    LeaseRevoked,
    MemoryError,  # for instances that others have by now given back
    PoolSaturated,
    PoolTimeout,
    PoolUnavailable,
)
"""Not what the guest itself decides: its error, a trap, an exit, a bad pointer, a bad line."""

_FIRST_PAUSE: Final = 0.1
"""Seconds before the second attempt; doubled each time."""
_LAST_PAUSE: Final = 10.0


def is_of_the_world(error: Exception) -> bool:
    """Return True if the call failed for a reason that is neither the guest's nor the line's."""
    return isinstance(error, _OF_THE_WORLD)


def pause_before(retry: int) -> float:
    """Return the seconds before a retry; they are counted from 0."""
    return min(_LAST_PAUSE, _FIRST_PAUSE * 2.0 ** min(retry, 20))
