"""``python -m bench [SCENARIO ...] [--quick] [--json FILE] [--report DIR] [--update FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding

from bench import _machine, _markdown
from bench._effort import Effort
from bench._runner import run
from bench._table import bounds_table, samples_table
from bench.contenders import ALL as CONTENDERS
from bench.scenarios import ALL, load

if TYPE_CHECKING:
    from bench._results import Results
    from bench._scenario import Scenario

__all__ = ["main"]

_WIDTH = 120
"""Columns of output that does not go to a terminal."""


def main(arguments: list[str] | None = None) -> int:
    """Measure the scenarios. The status is 0 even if a bound is not reached: it may be noise."""
    options = _parse(arguments)
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    effort = Effort.of(quick=options.quick)
    measured: list[tuple[Scenario, Results]] = []
    for name in options.scenarios or ALL:
        scenario = load(name)
        began = perf_counter()
        with console.status(name) as status:
            results = run(scenario, effort, status.update)
        measured.append((scenario, results))
        _print(console, scenario, results)
        console.print(f"[dim]{perf_counter() - began:.0f} s[/dim]")
        _write(options, measured, effort)
    console.print(f"\nAll numbers: {options.json}")
    if options.report:
        console.print(f"The page: {options.report / 'index.html'}")
    if options.update:
        console.print(f"Written into {options.update}")
    return 0


def _write(
    options: argparse.Namespace, measured: list[tuple[Scenario, Results]], effort: Effort
) -> None:
    """Write all that was asked for; after each scenario, so that a run may be stopped."""
    options.json.write_text(json.dumps(_as_json(measured, effort), indent=1) + "\n")
    if options.report:
        from bench import _page  # noqa: PLC0415 - needs a plotting library

        _page.write(options.report, measured, effort)
    if options.update:
        _markdown.update(options.update, measured, quick=effort.quick)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure wasmpool and its peers in one run, and print ratios.",
        epilog="Contenders: " + "; ".join(f"{name}: {what}" for name, what in CONTENDERS.items()),
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(ALL))
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter rounds, for a rough result"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("bench.json"), metavar="FILE", help="all numbers"
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="a page with plots, and the JSON"
    )
    parser.add_argument(
        "--update", type=Path, metavar="FILE", help="write the tables into docs/benchmarks.md"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenarios if name not in ALL]:
        parser.error(f"no scenario {', '.join(unknown)}; there are: {', '.join(ALL)}")
    if options.report:
        options.report.mkdir(parents=True, exist_ok=True)
        options.json = options.report / "bench.json"
    return options


def _print(console: Console, scenario: Scenario, results: Results) -> None:
    console.print()
    console.print(f"[bold]{scenario.name}[/bold]  {scenario.measures}")
    console.print(f"[dim]A fair objection: {scenario.objection}[/dim]")
    console.print(samples_table(scenario, results))
    for case in results.unsteady(scenario.columns[0].key):
        console.print(f"[yellow]The spread is large, also after more rounds: {case}[/yellow]")
    bounds = scenario.bounds(results)
    if bounds:
        console.print(Padding(bounds_table(bounds), (0, 0, 0, 1)))


def _as_json(measured: list[tuple[Scenario, Results]], effort: Effort) -> dict[str, object]:
    return {
        "machine": _machine.describe(),
        "quick": effort.quick,
        "scenarios": {
            scenario.name: {
                "bounds": [
                    {
                        "what": bound.what,
                        "required": bound.required,
                        "value": bound.value,
                        "reached": bound.reached,
                    }
                    for bound in scenario.bounds(results)
                ],
                "results": results.to_json(),
            }
            for scenario, results in measured
        },
    }


if __name__ == "__main__":
    sys.exit(main())
