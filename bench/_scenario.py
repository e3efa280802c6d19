"""What a scenario is: who runs what, what is shown of it, and what must be reached."""

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
"""Measures a case once, in a contender's process."""


@attrs.frozen
class Case:
    """One situation, and the contenders that are put into it."""

    name: str
    contenders: Sequence[str]


@attrs.frozen
class Column:
    """A value of the samples that the table shows. The first column's ratios are shown as well.

    Attributes:
        key: the value's name in the samples.
        title: with its unit.
        higher: whether more is better.
        digits: after the point.
    """

    key: str
    title: str
    higher: bool = False
    digits: int = 1


@attrs.frozen
class Bound:
    """What must be reached.

    Attributes:
        what: in words, without the number.
        value: what was reached; None where it was not measured.
        at_least: the bound from below, or None.
        at_most: the bound from above, or None.
        unit: of value and bound: "x" for ratios.
    """

    what: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    @property
    def reached(self) -> bool | None:
        """Whether it was; None where it was not measured."""
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
        name: on the command line.
        measures: a sentence.
        objection: what a sceptical reader could fairly say.
        cases: what is run, with how much effort.
        open: a contender's side, in a process of its own; it measures a case each time.
        columns: what the table shows.
        bounds: what must be reached, from the results.
        plots: what the page shows, from the results.
        seldom: one round in so many of the others', for what takes long.
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
