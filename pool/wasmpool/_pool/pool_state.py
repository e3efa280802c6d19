"""The states of a pool."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PoolState"]


class PoolState(StrEnum):
    """It only goes on."""

    OPEN = "open"
    """It serves."""
    CLOSING = "closing"
    """New asks are refused; leases end, or are revoked when the grace ends."""
    CLOSED = "closed"
    """Nothing is left of it but its statistics."""
