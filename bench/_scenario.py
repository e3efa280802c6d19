"""A scenario: its cases and contenders, its tables and plots, and the bounds to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from bench._effort import Effort
    from bench._plot import Plot
    from bench._results import Results, Sample

__all__ = ["Bound", "Case", "Column", "Round", "Scenario"]

Round: TypeAlias = "Callable[[str], Awaitable[Sample]]"
"""A function that measures a case once, in the process of a contender."""


@attrs.frozen
class Case:
    """One situation, and the contenders that are measured in it."""

    name: str
    contenders: Sequence[str]


@attrs.frozen
class Column:
    """A value of the samples that the table shows. For the first column it also shows ratios.

    Attributes:
        key: the value's name in the samples.
        title: with its unit.
        higher: True if more is better.
        digits: the number of decimals.
    """

    key: str
    title: str
    higher: bool = False
    digits: int = 1


@attrs.frozen
class Bound:
    """A bound that a measured value must reach.

    Attributes:
        what: a description, without the number.
        value: the measured value, or None.
        at_least: the lower bound, or None.
        at_most: the upper bound, or None.
        unit: of the value and the bound; "x" for ratios.
    """

    what: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    @property
    def reached(self) -> bool | None:
        """Return True if the bound is reached, None if the value was not measured."""
        if self.value is None:
            return None
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is None or self.value <= self.at_most

    @property
    def required(self) -> str:
        """The bound in words."""
        number, word = (
            (self.at_most, "at most") if self.at_least is None else (self.at_least, "at least")
        )
        return f"{word} {number:g} {self.unit}"


@attrs.frozen(kw_only=True)
class Scenario:
    """A scenario.

    Attributes:
        name: the name on the command line.
        measures: a sentence on what is measured.
        objection: what a sceptical reader could fairly say.
        cases: the cases to run, by effort.
        open: opens a contender in its own process, and yields the function that measures a case.
        columns: the columns of the table.
        bounds: the bounds, with values from the results.
        plots: the plots of the page, from the results.
        seldom: the number of rounds is divided by this, for a scenario that takes long.
    """

    name: str
    measures: str
    objection: str
    cases: Callable[[Effort], Sequence[Case]]
    open: Callable[[str, Effort], AbstractAsyncContextManager[Round]]
    columns: Sequence[Column]
    bounds: Callable[[Results], Sequence[Bound]]
    plots: Callable[[Results], Sequence[Plot]]
    seldom: int = 1
