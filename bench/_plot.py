"""The content of plots, without the drawing: only the page needs the plotting library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from bench._results import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench._results import Results

__all__ = ["Line", "Plot", "by_case", "distribution"]

_QUANTILES = (0, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 100)


@attrs.frozen
class Line:
    """One contender's points."""

    x: Sequence[float]
    y: Sequence[float]


@attrs.frozen(kw_only=True)
class Plot:
    """A plot.

    Attributes:
        title: what it shows.
        x: the label of the x axis, with its unit.
        y: the label of the y axis, with its unit.
        lines: by contender, or by the other names that are compared.
        x_scale: of the x axis; "quantile" spreads the high percentiles.
        y_scale: of the y axis.
        marks: values on the x axis to mark, for example times of events.
        marked: the name of these events.
        limit: a value on the y axis that should not be exceeded.
        bars: the labels of the x values 0, 1, 2, ..., if the plot has bars.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Line]
    x_scale: Literal["linear", "log", "quantile"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    marks: Sequence[float] = ()
    marked: str = ""
    limit: float | None = None
    bars: Sequence[str] = ()


def by_case(
    results: Results, contenders: Iterable[str], cases: Mapping[float, str], key: str
) -> dict[str, Line]:
    """A line for each contender: its median of ``key`` in each case, at the case's x."""
    lines = {}
    for contender in contenders:
        points = [
            (x, value)
            for x, case in cases.items()
            if (value := results.median(case, contender, key)) is not None
        ]
        if points:
            lines[contender] = Line([x for x, _ in points], [y for _, y in points])
    return lines


def distribution(
    title: str, unit: str, values: Mapping[str, Sequence[float]], limit: float | None = None
) -> Plot:
    """A plot of the distribution of each list of values, with the high percentiles spread out."""
    lines = {}
    for name, numbers in values.items():
        if numbers:
            ordered = sorted(numbers)
            y = [max(percentile(ordered, q), 1e-3) for q in _QUANTILES]
            lines[name] = Line([min(q, 99.99) for q in _QUANTILES], y)
    return Plot(
        title=title, x="percentile", y=unit, lines=lines, x_scale="quantile", y_scale="log",
        limit=limit,
    )  # fmt: skip
