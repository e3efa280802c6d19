"""Why an instance does not serve again: each has exactly one reason."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["RetireReason"]


class RetireReason(StrEnum):
    """The first six and CLOSED are also what ``poisoned`` of an instance may be."""

    TRAP = "trap"
    """The guest trapped."""
    EXIT = "exit"
    """The guest called ``proc_exit``."""
    HOST_ERROR = "host-error"
    """A host function raised."""
    BAD_POINTER = "bad-pointer"
    """The guest gave a pointer outside its memory."""
    CANCELLED = "cancelled"
    """A call was cancelled while the guest ran."""
    FINISHED = "finished"
    """It ran a program, which runs once."""
    TIMEOUT = "timeout"
    """A call took longer than ``limits.call_seconds``."""
    USES = "uses"
    """``max_uses`` leases."""
    AGE = "age"
    """``max_age`` seconds since its start."""
    IDLE = "idle"
    """``max_idle`` seconds without a lease, above ``min_size``."""
    MEMORY = "memory"
    """Its linear memory grew above ``max_memory``."""
    UNHEALTHY = "unhealthy"
    """``check`` returned False, raised, or left the instance poisoned or closed."""
    DISCARDED = "discarded"
    """`Lease.discard` was called."""
    REPLACED = "replaced"
    """A reload put another generation in service."""
    SHRUNK = "shrunk"
    """`Pool.resize` left no room for it."""
    CLOSED = "closed"
    """The pool closed, or other code closed the idle instance."""
    FAILED_START = "failed-start"
    """Start or setup failed, took longer than ``start_timeout``, or left the instance poisoned or
    closed."""
