"""Room on the Python stack for what must not fail there.

A RecursionError in a callback from the guest aborts the process, and one in the midst of the
driver could lose a future. Raised before a guest runs, it is an error like any other.
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
"""Python frames that the callbacks may need, with room to spare."""

FRAMES_WITHOUT_CALLBACKS: Final = 8
"""And those of the driver alone, which must be able to delete a future."""

FRAMES_TO_START: Final = 10
"""For a first slice alone, on each short call: to delete its future takes five."""

FRAMES_TO_START_WITHOUT_CALLBACKS: Final = 4
"""And where there is none: enough to delete the future."""

FRAMES_TO_GO_ON: Final = 32
"""And for whoever has a call that is pending and goes on with it: a pool notes a lease first."""

FRAMES_A_LEVEL: Final = 4
"""And those of each nested level: the callback and its poll, with room to spare."""


def headroom(frames: int) -> None:
    """Raise RecursionError here, where it is harmless, if what follows might meet it."""
    if frames:
        headroom(frames - 1)


def check_headroom() -> None:
    """Raise RecursionError now, if the stack has no room to take an instance and give it back."""
    headroom(FRAMES_TO_GO_ON)


def has_headroom() -> bool:
    """Whether the first slice of another task's call may be run on this one's stack."""
    try:
        headroom(FRAMES_TO_GO_ON + FRAMES)
    except RecursionError:
        return False
    return True
