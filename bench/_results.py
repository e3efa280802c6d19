"""Measurements, and their summary: medians over rounds, ratios within a round."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LARGE_SPREAD", "Results", "Sample", "percentile"]

LARGE_SPREAD: Final = 0.1
"""A spread with which the median of some seven rounds is off by a few per cent."""


@attrs.frozen
class Sample:
    """The measurements of one contender in one case and one round.

    Attributes:
        values: numbers by name.
        series: lists of numbers by name, for plots and percentiles.
    """

    values: dict[str, float]
    series: dict[str, list[float]] = attrs.field(factory=dict)


@final
class Results:
    """The samples of one scenario."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        """By case and contender, in the order of the rounds."""

    def add(self, case: str, contender: str, sample: Sample) -> None:
        """Add one sample."""
        self.samples[case][contender].append(sample)

    def has(self, case: str, contender: str) -> bool:
        """Return True if there is a sample."""
        return bool(self.samples.get(case, {}).get(contender))

    def values(self, case: str, contender: str, key: str) -> list[float]:
        """One number of each round; empty if it was not measured."""
        if not self.has(case, contender):
            return []
        found = self.samples[case][contender]
        return [sample.values[key] for sample in found if key in sample.values]

    def median(self, case: str, contender: str, key: str) -> float | None:
        """The median over the rounds; None if it was not measured."""
        values = self.values(case, contender, key)
        return statistics.median(values) if values else None

    def spread(self, case: str, contender: str, key: str) -> float | None:
        """Half of the distance between the quartiles, relative to the median."""
        values = self.values(case, contender, key)
        if len(values) < 2:
            return None
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return (high - low) / 2 / median if median else None

    def unsteady(self, key: str) -> list[str]:
        """The cases in which the spread of a contender is large."""
        return [
            case
            for case, contenders in self.samples.items()
            if any((self.spread(case, each, key) or 0) > LARGE_SPREAD for each in contenders)
        ]

    def ratio(self, key: str, over: tuple[str, str], under: tuple[str, str]) -> float | None:
        """The ratio of two cases and contenders: the median of the ratios within each round.

        Within a round, both were measured one after the other, so other load of the machine
        affected both.
        """
        pairs = zip(self.values(*over, key), self.values(*under, key), strict=False)
        ratios = [a / b for a, b in pairs if b]
        return statistics.median(ratios) if ratios else None

    def series(self, case: str, contender: str, name: str) -> list[float]:
        """The values of all rounds, in order."""
        if not self.has(case, contender):
            return []
        return [
            value
            for sample in self.samples[case][contender]
            for value in sample.series.get(name, ())
        ]

    def to_json(self) -> dict[str, Any]:
        """The values of each round, and percentiles of the series."""
        return {
            case: {
                contender: {
                    "rounds": [sample.values for sample in samples],
                    "percentiles": self._percentiles(case, contender),
                }
                for contender, samples in contenders.items()
            }
            for case, contenders in self.samples.items()
        }

    def _percentiles(self, case: str, contender: str) -> dict[str, dict[str, float]]:
        names = {name for sample in self.samples[case][contender] for name in sample.series}
        return {
            name: {
                str(q): percentile(values, q)
                for q in (50, 90, 99, 99.9, 100)
                if (values := self.series(case, contender, name))
            }
            for name in sorted(names)
        }


def percentile(values: Iterable[float], q: float) -> float:
    """The value that ``q`` percent of the values do not exceed; for 100 the largest."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))]
