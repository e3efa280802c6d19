"""The states of a pool."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PoolState"]


class PoolState(StrEnum):
    """Whether a pool serves. Transitions only move forward."""

    OPEN = "open"
    """It serves."""
    CLOSING = "closing"
    """New asks are refused; leases end, or are revoked when the grace ends."""
    CLOSED = "closed"
    """Only its statistics are left."""
