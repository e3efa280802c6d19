"""How long things took, as it is shown: the count, the mean and the quantiles of a `Recorder`."""

from __future__ import annotations

from operator import sub
from typing import TYPE_CHECKING, final

import attrs

from .recorder import LOWEST, STEPS

if TYPE_CHECKING:
    from .recorder import Recorder

__all__ = ["Histogram", "snapshot"]


@final
@attrs.frozen(eq=False, repr=False)
class Histogram:
    """A snapshot of how long something took, in seconds."""

    count: int
    """How many values were recorded, zeros included."""
    sum: float
    """All values added up, in seconds."""
    _zeros: int
    _buckets: tuple[int, ...]

    @property
    def mean(self) -> float:
        """The average in seconds, 0.0 without values."""
        return self.sum / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """The value that a share ``q`` of all does not exceed, in seconds and to within 4 %.

        It is 0.0 without values, and for a value of 0.

        Raises:
            TypeError: ``q`` is no number.
            ValueError: ``q`` is not between 0 and 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is asked for by a share within 0 and 1, not q={q!r}")
        rank = max(1, q * self.count)
        seen = self._zeros
        if seen >= rank or not self.count:
            return 0.0
        for index, count in enumerate(self._buckets):
            seen += count
            if seen >= rank:
                return _middle(index)
        raise AssertionError("the buckets hold as many values as were counted")  # pragma: no cover

    def since(self, earlier: Histogram) -> Histogram:
        """Return what was recorded after an earlier snapshot of the same histogram.

        Raises:
            ValueError: ``earlier`` has values that this snapshot does not have.
        """
        buckets = tuple(map(sub, self._buckets, earlier._buckets))
        zeros = self._zeros - earlier._zeros
        if zeros < 0 or min(buckets) < 0:
            raise ValueError(f"{earlier!r} is no earlier snapshot of {self!r}")
        total = self.sum - earlier.sum
        return Histogram(self.count - earlier.count, total, zeros, buckets)

    @property
    def buckets(self) -> tuple[tuple[float, int], ...]:
        """The values by size: upper bounds in seconds, rising, each with its number of values.

        Values of 0 have the bound 0.0. A value is not above its bound, and above 15/16 of it.
        Bounds without values are left out, so the numbers add up to ``count``.
        """
        zeros = ((0.0, self._zeros),) if self._zeros else ()
        return zeros + tuple(
            (_upper(index), count) for index, count in enumerate(self._buckets) if count
        )

    def __repr__(self) -> str:
        p50, p99 = self.quantile(0.5), self.quantile(0.99)
        return f"<Histogram: {self.count} values, median {p50:.3g} s, p99 {p99:.3g} s>"


def snapshot(recorder: Recorder, more_zeros: int = 0) -> Histogram:
    """Return what was recorded so far, and ``more_zeros`` that were counted elsewhere."""
    zeros = recorder.zeros + more_zeros
    buckets = tuple(recorder.buckets)  # first: a scrape has its own thread
    return Histogram(zeros + sum(buckets), recorder.sum, zeros, buckets)


def _middle(index: int) -> float:
    """Return the value in the middle of a bucket."""
    exponents, step = divmod(index, STEPS)
    return float((step + STEPS + 0.5) / 32 * 2.0 ** (LOWEST + exponents))


def _upper(index: int) -> float:
    """Return the upper end of a bucket."""
    exponents, step = divmod(index, STEPS)
    return float((step + STEPS + 1) / 32 * 2.0 ** (LOWEST + exponents))
