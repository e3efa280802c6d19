"""The report: one self-contained HTML page with plots."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Final

from bench import _machine
from bench._draw import draw
from bench._table import marks, rows, show

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Bound, Scenario

__all__ = ["write"]

_STYLE: Final = """
:root { --ink: #1e293b; --soft: #64748b; --line: #e2e8f0; --good: #0f766e; --bad: #b91c1c; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 2.5rem 1.5rem 5rem; color: var(--ink);
  background: #fff; font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.9rem; margin: 0; letter-spacing: -0.02em; }
h2 { font-size: 1.3rem; margin: 3.5rem 0 0.2rem; padding-top: 1rem;
  border-top: 2px solid var(--line); }
p { margin: 0.3rem 0; max-width: 62rem; }
.soft { color: var(--soft); }
nav { margin: 1.2rem 0; }
nav a { color: var(--good); text-decoration: none; margin-right: 0.9rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums;
  font-size: 13.5px; }
th { text-align: left; font-weight: 600; color: var(--soft); padding: 0.3rem 1.1rem 0.3rem 0; }
td { padding: 0.22rem 1.1rem 0.22rem 0; border-top: 1px solid var(--line); white-space: nowrap; }
td.words { white-space: normal; }
td.number, th.number { text-align: right; }
tr.same td { border-top-color: transparent; }
tr.ours td { font-weight: 600; }
.spread { color: var(--soft); font-weight: 400; font-size: 12px; }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr));
  gap: 1rem 2rem; }
.plots svg { width: 100%; height: auto; max-width: 38rem; }
.chips { display: flex; flex-wrap: wrap; gap: 0.4rem 2rem; margin: 0.8rem 0; font-size: 13.5px; }
"""


def write(folder: Path, measured: Sequence[tuple[Scenario, Results]], effort: Effort) -> Path:
    """Write the page, and return its path."""
    path = folder / "index.html"
    path.write_text(_page(measured, effort))
    return path


def _page(measured: Sequence[tuple[Scenario, Results]], effort: Effort) -> str:
    links = " ".join(f'<a href="#{s.name}">{s.name}</a>' for s, _ in measured)
    quick = " A quick run: the results are rough." if effort.quick else ""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>wasmpool: benchmarks</title><style>{_STYLE}</style></head><body>",
        "<h1>wasmpool: benchmarks</h1>",
        (
            '<p class="soft">wasmpool and its peers, measured in one run, taking turns, each in a'
            " process of its own. Medians over rounds; ratios compare measurements that follow each"
            " other."
            f"{quick}</p>"
        ),
        _about(),
        f"<nav>{links}</nav>",
        _summary(measured),
        *(_section(scenario, results) for scenario, results in measured),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _about() -> str:
    facts = {"measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", **_machine.describe()}
    chips = "".join(
        f'<span><span class="soft">{escape(name)}</span> {escape(value)}</span>'
        for name, value in facts.items()
    )
    return f'<div class="chips">{chips}</div>'


def _summary(measured: Sequence[tuple[Scenario, Results]]) -> str:
    body = "".join(
        _bound(scenario.name if k == 0 else "", bound)
        for scenario, results in measured
        for k, bound in enumerate(scenario.bounds(results))
    )
    head = (
        '<tr><th>scenario</th><th>must reach</th><th class="number">required</th>'
        '<th class="number">measured</th><th></th></tr>'
    )
    return f"<table>{head}{body}</table>"


def _bound(scenario: str, bound: Bound) -> str:
    style = {True: "good", False: "bad", None: "soft"}[bound.reached]
    value = "" if bound.value is None else f"{show(bound.value, 2)} {bound.unit}"
    same = "" if scenario else ' class="same"'
    return (
        f"<tr{same}><td><b>{scenario}</b></td>"
        f"<td>{escape(bound.what)}</td>"
        f'<td class="number">{escape(bound.required)}</td><td class="number">{escape(value)}</td>'
        f'<td class="{style}">{marks[bound.reached]}</td></tr>'
    )


def _section(scenario: Scenario, results: Results) -> str:
    plots = "".join(f"<div>{draw(plot)}</div>" for plot in scenario.plots(results))
    return (
        f'<h2 id="{scenario.name}">{scenario.name}</h2><p>{_words(scenario.measures)}</p>'
        f'<p class="soft">A fair objection: {_words(scenario.objection)}</p>'
        f'<div class="plots">{plots}</div>{_table(scenario, results)}'
    )


def _words(text: str) -> str:
    """HTML of a text, with the parts in backticks as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{p}</code>" if k % 2 else p for k, p in enumerate(pieces))


def _table(scenario: Scenario, results: Results) -> str:
    titles = [*(column.title for column in scenario.columns), "wasmpool is"]
    head = "<th>case</th><th>contender</th>" + "".join(
        f'<th class="number">{escape(title)}</th>' for title in titles
    )
    body, last = [], ""
    for case, contender, *cells in rows(scenario, results):
        style = "same " if case == last else ""
        style += "ours" if contender == "wasmpool" else ""
        numbers = "".join(f'<td class="number">{_spread(cell)}</td>' for cell in cells)
        name = "" if case == last else escape(case)
        body.append(
            f'<tr class="{style.strip()}"><td>{name}</td><td>{escape(contender)}</td>{numbers}</tr>'
        )
        last = case
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def _spread(cell: str) -> str:
    median, sign, spread = cell.partition(" ±")
    return f'{median}<span class="spread">{sign}{spread}</span>'
