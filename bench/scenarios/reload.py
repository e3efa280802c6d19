"""Reloads under load."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import trio

from bench._guests import EXAMPLE
from bench._load import late_sleeps
from bench._plot import Line, Plot, distribution
from bench._results import Sample, percentile
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import open_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round
    from wasmpool import Plugin

__all__ = ["SCENARIO"]

TASKS: Final = 32
RELOADS: Final = 20
_BUSY: Final = "32 tasks, flat out"
_EASY: Final = "32 tasks, 5 ms apart"
_BIN: Final = 0.05


def _cases(_effort: Effort) -> list[Case]:
    return [Case(_BUSY, ("wasmpool",)), Case(_EASY, ("wasmpool",))]


@asynccontextmanager
async def _open(_contender: str, effort: Effort) -> AsyncGenerator[Round]:
    source = EXAMPLE.read_bytes()
    numbers = count(1)
    reloads = 6 if effort.quick else RELOADS
    async with open_plugin(source, size=TASKS, min_size=4) as plugin:

        async def measure(case: str) -> Sample:
            pause = 0.005 if case == _EASY else 0.0
            return await _measure(plugin, source, numbers, pause, reloads)

        yield measure


async def _measure(
    plugin: Plugin, source: bytes, numbers: count[int], pause: float, reloads: int
) -> Sample:
    ended: list[tuple[float, float]] = []  # the time of its end, and its seconds
    failed = 0

    async def use() -> None:
        nonlocal failed
        while True:
            began = perf_counter()
            try:
                failed += (await plugin.execute("echo", {"message": 1})).is_error
            except Exception:  # noqa: BLE001 - it is counted
                failed += 1
            now = perf_counter()
            ended.append((now, now - began))
            await trio.sleep(pause)

    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(use)
        await trio.sleep(0.2)  # let instances start and caches warm up
        ended.clear()
        start = perf_counter()
        await trio.sleep(0.05 * reloads)
        first = perf_counter()
        lags: list[float] = []
        nursery.start_soon(_watch, lags)
        marks = await _reload(plugin, source, numbers, reloads)
        last = perf_counter()
        nursery.cancel_scope.cancel()
    before = [took * 1e3 for at, took in ended if at < first]
    during = [took * 1e3 for at, took in ended if at >= first]
    p99 = percentile(before, 99), percentile(during, 99)
    bins, rates = _timeline(ended, start, last)
    return Sample(
        {
            "p99 before": p99[0],
            "p99 during": p99[1],
            "worst during": percentile(during, 100),
            "ratio": p99[1] / p99[0],
            "failed": float(failed),
            "lag": percentile(lags, 100),
            "reload": (last - first) / reloads * 1e3,
        },
        {
            "before": sorted(before)[::7],
            "during": sorted(during)[::7],
            "time": bins,
            "rate": rates,
            "marks": [mark - start for mark in marks],
        },
    )


async def _watch(lags: list[float]) -> None:
    async for late in late_sleeps(float("inf")):  # a cancel ends it, and the values are kept
        lags.append(late)  # noqa: PERF401 - awaits between


async def _reload(plugin: Plugin, source: bytes, numbers: count[int], reloads: int) -> list[float]:
    marks = []
    for _ in range(reloads):
        await plugin.reload(_variant(source, next(numbers)))
        marks.append(perf_counter())
        await trio.sleep(0.02)
    return marks


def _variant(source: bytes, number: int) -> bytes:
    """The same module with one more custom section, and so with another digest."""
    content = b"\x07variant" + number.to_bytes(4, "little")
    return source + b"\x00" + bytes([len(content)]) + content


def _timeline(
    ended: list[tuple[float, float]], start: float, last: float
) -> tuple[list[float], list[float]]:
    bins = max(1, int((last - start) / _BIN))
    counts = [0] * bins
    for at, _ in ended:
        counts[min(bins - 1, int((at - start) / _BIN))] += 1
    return [k * _BIN for k in range(bins)], [each / _BIN for each in counts]


def _bounds(results: Results) -> Sequence[Bound]:
    bounds = []
    for case in (_BUSY, _EASY):
        values: Any = results.values(case, "wasmpool", "failed")
        bounds += [
            Bound(f"failed calls, {case}", sum(values), at_most=0, unit=""),
            Bound(
                f"p99 during of p99 before, {case}",
                results.median(case, "wasmpool", "ratio"),
                at_most=3,
            ),
        ]
    return bounds


def _plots(results: Results) -> Sequence[Plot]:
    plots = []
    for case in (_BUSY, _EASY):
        sample = results.samples[case]["wasmpool"][-1]
        line = Line(sample.series["time"], sample.series["rate"])
        plots += [
            Plot(
                title=f"Reloads under load: {case}",
                x="seconds", y="executes per second", lines={"wasmpool": line},
                marks=sample.series["marks"], marked="reload",
            ),
            distribution(
                f"Calls before and during the reloads: {case}", "ms of an execute",
                {
                    "before": results.series(case, "wasmpool", "before"),
                    "during": results.series(case, "wasmpool", "during"),
                },
            ),
        ]  # fmt: skip
    return plots


SCENARIO: Final = Scenario(
    name="reload",
    measures=(
        "How 20 reloads affect 32 tasks that execute. Each reload compiles a module, and starts,"
        " checks and puts into service new instances."
    ),
    objection=(
        "Tasks that call without a pause leave no CPU for the compiler, which should never happen"
        " in production; so there is a case with pauses. No peer can reload."
    ),
    cases=_cases,
    open=_open,
    columns=[
        Column("ratio", "p99 during : before", digits=2),
        Column("p99 before", "p99 before, ms", digits=2),
        Column("p99 during", "during", digits=2),
        Column("worst during", "worst"),
        Column("lag", "worst lag"),
        Column("reload", "ms a reload"),
        Column("failed", "failed", digits=0),
    ],
    bounds=_bounds,
    plots=_plots,
    seldom=4,
)
