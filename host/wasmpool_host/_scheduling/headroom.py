"""Room on the Python stack for code that must not raise RecursionError.

A RecursionError in a callback from the guest aborts the process, and one inside the code that
drives a fiber could lose a future. Raised before a guest runs, it is an ordinary error.

How much is left of the stack cannot be asked, so `headroom` goes as many levels down as it is asked
for. In frames, that took a twenty-fifth of an `execute`. Up to 3.11, Python has one count for its
own frames and for nested calls inside of C. There, nested tuples are compared: that goes down one
level of C for each pair of them, at a fifth of the time, and with the same limit and the same
error. Later versions count frames on their own, and only frames find out if there is room for them.
"""

from __future__ import annotations

import sys
from functools import cache, partial
from operator import eq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "prober",
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
    prober(frames)()


@cache
def prober(frames: int) -> Callable[[], object]:
    """Return a function that does `headroom` for a fixed number of frames."""
    if sys.version_info >= (3, 12):
        return partial(_go_down, frames)
    return partial(eq, _nested(frames), _nested(frames))


def _go_down(frames: int) -> None:
    if frames:
        _go_down(frames - 1)


def _nested(levels: int) -> tuple[object, ...]:
    """Make a new tuple in a tuple, and so on: Python compares identical ones without a look."""
    outermost: tuple[object, ...] = ()
    for _ in range(levels):
        outermost = (outermost,)
    return outermost


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
