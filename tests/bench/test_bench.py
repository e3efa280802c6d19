from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

import attrs
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from bench._results import Results as ResultsType

pytest.importorskip("bench.contenders", reason="needs the source tree")

from bench import _markdown, _runner
from bench.__main__ import main
from bench._effort import Effort
from bench._plot import distribution
from bench._results import Results, Sample, percentile
from bench._scenario import Bound, Case
from bench._table import rows
from bench.contenders import ALL as CONTENDERS
from bench.scenarios import ALL, load

LITTLE = Effort(quick=True, rounds=1, seconds=0.005, spins_per_ms=1_000)


def results_of(values: dict[str, list[float]]) -> ResultsType:
    results = Results()
    for contender, numbers in values.items():
        for number in numbers:
            results.add("case", contender, Sample({"us": number}))
    return results


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """A round in which the machine was slow for both does not count more than another."""
    results = results_of({"lock": [10, 900, 20], "wasmpool": [1, 100, 2]})
    assert results.ratio("us", ("case", "lock"), ("case", "wasmpool")) == 10
    assert results.ratio("us", ("case", "nobody"), ("case", "wasmpool")) is None


def test_the_spread_is_half_of_the_quartiles_distance() -> None:
    """It is a share of the median, and of one round there is none."""
    assert results_of({"lock": [8, 10, 12]}).spread("case", "lock", "us") == pytest.approx(0.1)
    assert results_of({"lock": [8]}).spread("case", "lock", "us") is None


class Worker:
    """Stands for a contender's process: each case has numbers of its own, one for each round."""

    def __init__(self, numbers: dict[str, list[float]]) -> None:
        self.left = {case: iter(values) for case, values in numbers.items()}

    def measure(self, case: str) -> Sample:
        return Sample({"us": next(self.left[case])})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("more", "unsteady"), [([20, 20, 20], []), ([5, 90, 1], ["restless"])], ids=["settles", "not"]
)
def test_a_case_is_measured_again_while_its_spread_is_large(
    monkeypatch: pytest.MonkeyPatch, more: list[float], unsteady: list[str]
) -> None:
    """Not the others, and not for ever; what is unsteady even then is named."""
    numbers = {"steady": [10.0, 10, 10], "restless": [20.0, 40, 20, *more]}
    monkeypatch.setattr(_runner, "Worker", lambda *_: Worker(numbers))
    cases = [Case(name, ("wasmpool",)) for name in numbers]
    scenario = attrs.evolve(load("short"), cases=lambda _: cases)
    results = _runner.run(scenario, attrs.evolve(LITTLE, rounds=3), lambda _: None)
    assert len(results.samples["steady"]["wasmpool"]) == 3
    assert len(results.samples["restless"]["wasmpool"]) in ((4, 5) if not unsteady else (6,))
    assert results.unsteady("us") == unsteady


def test_no_case_is_measured_again_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scenario that takes long and is unsteady does not double the whole run."""
    monkeypatch.setattr(_runner, "Worker", lambda *_: Worker({"restless": [20.0, 40, 20]}))
    monkeypatch.setattr(_runner, "_MOST_SECONDS", 0)
    scenario = attrs.evolve(load("short"), cases=lambda _: [Case("restless", ("wasmpool",))])
    results = _runner.run(scenario, attrs.evolve(LITTLE, rounds=3), lambda _: None)
    assert len(results.samples["restless"]["wasmpool"]) == 3
    assert results.unsteady("us") == ["restless"]


def test_percentiles_end_at_the_largest_value() -> None:
    """The hundredth percentile is the worst; of nothing it is nothing."""
    assert percentile([3, 1, 2], 100) == 3
    assert percentile([3, 1, 2], 50) == 2
    assert percentile([], 99) == 0


def test_a_bound_is_reached_from_its_own_side() -> None:
    """At least and at most mean what they say, and what was not measured is neither."""
    assert Bound("x", 4.0, at_least=4).reached is True
    assert Bound("x", 3.9, at_least=4).reached is False
    assert Bound("x", 5.1, at_most=5, unit="ms").reached is False
    assert Bound("x", None, at_most=5).reached is None
    assert Bound("x", 5.1, at_most=5, unit="ms").required == "at most 5 ms"


def test_an_unknown_scenario_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The message says which there are."""
    with pytest.raises(SystemExit) as ended:
        main(["shrot"])
    assert ended.value.code == 2
    assert "no scenario shrot; there are: short, execute" in capsys.readouterr().err


@pytest.mark.parametrize("name", ALL)
def test_each_scenario_says_what_it_measures_and_the_objection(name: str) -> None:
    """One sentence at least of each, and cases for known contenders."""
    scenario = load(name)
    assert scenario.name == name
    assert scenario.measures.endswith(".")
    assert scenario.objection.endswith(".")
    for case in scenario.cases(LITTLE):
        assert case.contenders
    assert scenario.bounds(Results()) is not None  # of nothing, nothing is said


@pytest.mark.parametrize(
    "name", ["short", "execute", "compute", "mixed", "lag", "fresh", "cancel", "extism"]
)
async def test_each_scenario_measures_this_project(name: str) -> None:
    """Its first case gives a number for each column, and a row of the table."""
    scenario = load(name)
    case = scenario.cases(LITTLE)[0].name
    results = Results()
    async with scenario.open("wasmpool", LITTLE) as measure:
        results.add(case, "wasmpool", await measure(case))
    sample = results.samples[case]["wasmpool"][0]
    assert {column.key for column in scenario.columns} <= sample.values.keys()
    assert rows(scenario, results)[0][:2] == [case, "wasmpool"]


def test_contenders_are_known_by_a_sentence() -> None:
    """The help names each of them, and this project is one."""
    assert "wasmpool" in CONTENDERS
    assert all(CONTENDERS.values())


def test_the_page_stands_alone(tmp_path: Path) -> None:
    """It has its plots inside and loads nothing."""
    page = pytest.importorskip("bench._page", reason="needs the extra `bench`")
    scenario = load("short")
    results = Results()
    for contender in ("floor", "wasmpool"):
        for us in (10.0, 11.0):
            results.add("1 task", contender, Sample({"us": us}))
            results.add("32 tasks", contender, Sample({"us": us}))
    text = page.write(tmp_path, [(scenario, results)], LITTLE).read_text()
    assert text.count("<svg") == 1
    assert "src=" not in text
    assert "of floor, 1 task" in text
    json.dumps(results.to_json())


def test_a_distribution_leaves_out_who_was_not_measured() -> None:
    """No values, no line; and no zero on a logarithmic axis."""
    plot = distribution("x", "ms", {"lock": [], "wasmpool": [0.0, 1.0]})
    assert list(plot.lines) == ["wasmpool"]
    assert min(plot.lines["wasmpool"].y) > 0


def test_the_tables_replace_those_in_the_documentation(tmp_path: Path) -> None:
    """What stands around them stays, and a file without a place for them is refused."""
    scenario = load("short")
    results = Results()
    results.add("1 task", "wasmpool", Sample({"us": 10.0}))
    page = tmp_path / "benchmarks.md"
    page.write_text("a\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nb\n")
    _markdown.update(page, [(scenario, results)], quick=True)
    text = page.read_text()
    assert text.startswith("a\n")
    assert text.endswith("b\n")
    assert "old" not in text
    assert "| 1 task | wasmpool | 10.0 |" in text
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        _markdown.update(page, [], quick=True)
