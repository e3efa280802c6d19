"""The tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench._results import Results
    from bench._scenario import Bound, Column, Scenario

__all__ = ["bounds_table", "marks", "rows", "samples_table", "show"]

marks = {True: "reached", False: "NOT reached", None: "not measured"}
"""The words for a bound that is reached, not reached, or not measured."""
_STYLES = {True: "green", False: "bold red", None: "dim"}


def samples_table(scenario: Scenario, results: Results) -> Table:
    """The table of the measurements."""
    table = Table(
        title=f"{scenario.name}: median ±half of the distance of the quartiles",
        title_justify="left",
    )
    table.add_column("case")
    table.add_column("contender")
    for column in scenario.columns:
        table.add_column(column.title, justify="right")
    table.add_column("wasmpool is", justify="right")
    last = ""
    for case, contender, *cells in rows(scenario, results):
        if last and case != last:
            table.add_section()
        style = "bold" if contender == "wasmpool" else ""
        table.add_row("" if case == last else case, contender, *cells, style=style)
        last = case
    return table


def rows(scenario: Scenario, results: Results) -> list[list[str]]:
    """Case, contender, a cell for each column, and the ratio of the first column."""
    first = scenario.columns[0]
    return [
        [
            case,
            contender,
            *(_cell(results, case, contender, column) for column in scenario.columns),
            _ratio(results, case, contender, first),
        ]
        for case, contenders in results.samples.items()
        for contender in contenders
    ]


def _cell(results: Results, case: str, contender: str, column: Column) -> str:
    median = results.median(case, contender, column.key)
    if median is None:
        return ""
    text = show(median, column.digits)
    spread = results.spread(case, contender, column.key)
    return text if spread is None else f"{text} ±{spread:.0%}"


def _ratio(results: Results, case: str, contender: str, column: Column) -> str:
    """How many times better wasmpool is."""
    if contender == "wasmpool" or not results.has(case, "wasmpool"):
        return ""
    pair = (case, contender), (case, "wasmpool")
    ratio = results.ratio(column.key, *(reversed(pair) if column.higher else pair))
    return "" if ratio is None else f"{show(ratio, 2)}x"


def show(number: float, digits: int) -> str:
    """The number as text, with fewer decimals if it is large."""
    if abs(number) >= 1_000:
        return f"{number:,.0f}"
    if abs(number) >= 100:
        return f"{number:.{min(digits, 1)}f}"
    return f"{number:.{digits}f}"


def bounds_table(bounds: Sequence[Bound]) -> Table:
    """The table of the bounds, and whether each is reached."""
    table = Table(box=None, show_edge=False, pad_edge=False)
    table.add_column("must reach")
    table.add_column("required", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("")
    for bound in bounds:
        value = "" if bound.value is None else f"{show(bound.value, 2)} {bound.unit}"
        reached = bound.reached
        table.add_row(bound.what, bound.required, value, f"[{_STYLES[reached]}]{marks[reached]}[/]")
    return table
