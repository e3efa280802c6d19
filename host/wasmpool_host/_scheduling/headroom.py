"""Room on the Python stack for code that must not raise RecursionError.

A RecursionError in a callback from the guest aborts the process, and one inside the code that
drives a fiber could lose a future. Raised before a guest runs, it is an ordinary error.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "FRAMES",
    "FRAMES_A_LEVEL",
    "FRAMES_TO_GO_ON",
    "FRAMES_TO_START",
    "FRAMES_TO_START_WITHOUT_CALLBACKS",
    "FRAMES_WITHOUT_CALLBACKS",
    "check_headroom",
    "has_headroom",
    "headroom",
]

FRAMES: Final = 16
"""Python frames that a call with callbacks needs, with room to spare."""

FRAMES_WITHOUT_CALLBACKS: Final = 8
"""The same for a call without callbacks: the driver must be able to delete a future."""

FRAMES_TO_START: Final = 10
"""Frames for the first slice of a short call: to delete its future takes five."""

FRAMES_TO_START_WITHOUT_CALLBACKS: Final = 4
"""The same for a call without callbacks: enough to delete the future."""

FRAMES_TO_GO_ON: Final = 32
"""Frames to continue a pending call: a pool records a lease first."""

FRAMES_A_LEVEL: Final = 4
"""Frames of each nested level: the callback and its poll, with room to spare."""


def headroom(frames: int) -> None:
    """Raise RecursionError here, where it does no harm, if fewer frames are left on the stack."""
    if frames:
        headroom(frames - 1)


def check_headroom() -> None:
    """Raise RecursionError if the stack has no room to take an instance and return it."""
    headroom(FRAMES_TO_GO_ON)


def has_headroom() -> bool:
    """Return True if the first slice of another task's call may run on this task's stack."""
    try:
        headroom(FRAMES_TO_GO_ON + FRAMES)
    except RecursionError:
        return False
    return True
