"""Collects how long things took: bounded memory, and a few operations for each value.

Buckets are log-linear: sixteen for each power of two, in one list of fixed length. So a quantile is
within 4 % of the true value, from a nanosecond to twelve days.
"""

from __future__ import annotations

from math import floor, frexp
from typing import Final, final

__all__ = ["LOWEST", "STEPS", "Recorder"]

STEPS: Final = 16  # for each power of two: the middle of a bucket is at most 1/32 off
LOWEST: Final = -30  # frexp's exponent of about a nanosecond
_HIGHEST: Final = 20  # and that of twelve days
_BUCKETS: Final = (_HIGHEST - LOWEST + 1) * STEPS
_OFFSET: Final = LOWEST * STEPS + STEPS  # frexp's mantissa is within 16/32 and 32/32


@final
class Recorder:
    """Collects the values of a `Histogram`, which `histogram.snapshot` makes of it."""

    __slots__ = ("buckets", "sum", "zeros")

    def __init__(self) -> None:
        self.sum: float = 0.0
        self.buckets: list[int] = [0] * _BUCKETS
        self.zeros: int = 0
        """Values of zero, which are not in the buckets: most asks do not wait."""

    def record(self, seconds: float) -> None:
        if seconds <= 0.0:
            self.zeros += 1
            return
        self.sum += seconds
        mantissa, exponent = frexp(seconds)
        index = exponent * 16 + floor(mantissa * 32) - _OFFSET  # `int` takes twice as long
        if index >= _BUCKETS:
            index = _BUCKETS - 1
        elif index < 0:
            index = 0
        self.buckets[index] += 1
