"""The measured part of ``docs/benchmarks.md``, written by the run that measured it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from bench import _machine
from bench._table import marks, rows, show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench._results import Results
    from bench._scenario import Bound, Scenario

__all__ = ["update"]

_BEGIN: Final = "<!-- measured: begin -->\n"
_END: Final = "<!-- measured: end -->\n"


def update(path: Path, measured: Sequence[tuple[Scenario, Results]], *, quick: bool) -> None:
    """Replace the earlier measurements in the file.

    Raises:
        ValueError: the file does not mark where they are.
    """
    text = path.read_text()
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        message = f"{path} has no lines {_BEGIN.strip()!r} and {_END.strip()!r} to write between"
        raise ValueError(message)
    path.write_text(before + begin + _measured(measured, quick=quick) + end + after)


def _measured(measured: Sequence[tuple[Scenario, Results]], *, quick: bool) -> str:
    facts = "; ".join(f"{name} {value}" for name, value in _machine.describe().items())
    how = " by a quick run" if quick else ""
    bounds = [
        _row(scenario.name if k == 0 else "", *_cells(bound))
        for scenario, results in measured
        for k, bound in enumerate(scenario.bounds(results))
    ]
    head = [_row("scenario", "must reach", "required", "measured", ""), _row(*["---"] * 5)]
    tables = [_table(scenario, results) for scenario, results in measured]
    return "\n".join(
        [f"\nMeasured {datetime.now(UTC):%Y-%m-%d}{how}: {facts}.\n", *head, *bounds, *tables, ""]
    )


def _cells(bound: Bound) -> tuple[str, str, str, str]:
    value = "" if bound.value is None else f"{show(bound.value, 2)} {bound.unit}".strip()
    return bound.what, bound.required.strip(), value, marks[bound.reached]


def _table(scenario: Scenario, results: Results) -> str:
    titles = [column.title for column in scenario.columns]
    head = ["case", "contender", *titles, "wasmpool is"]
    lines = [_row(*head), _row("---", "---", *["---:"] * (len(head) - 2))]
    last = ""
    for case, *cells in rows(scenario, results):
        lines.append(_row("" if case == last else case, *cells))
        last = case
    return "\n".join([f"\n### {scenario.name}\n", f"{scenario.measures}\n", *lines])


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
