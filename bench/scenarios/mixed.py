"""Short calls beside one that computes for a long time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from bench._load import keep_calling, thin
from bench._plot import distribution
from bench._scenario import Bound, Case, Column, Scenario
from bench.contenders import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._plot import Plot
    from bench._results import Results, Sample
    from bench._scenario import Round

__all__ = ["SCENARIO"]

CALLERS: Final = 31
COMPUTING: Final = 200.0  # milliseconds
_ALONE: Final = "31 short callers alone"
_BESIDE: Final = "31 beside one of 200 ms"
_CONTENDERS: Final = ("threads", "extism", "wasmpool")


def _cases(_effort: Effort) -> list[Case]:
    return [Case(_ALONE, _CONTENDERS), Case(_BESIDE, _CONTENDERS)]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    seconds = max(effort.seconds, 3 * COMPUTING / 1e3)
    async with load(contender).open_calls(CALLERS + 1) as call:

        async def measure(case: str) -> Sample:
            taken: list[float] = []
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    if case == _BESIDE:
                        long = partial(call, "spin", effort.spins(COMPUTING))
                        nursery.start_soon(keep_calling, long, [])
                    for _ in range(CALLERS):
                        nursery.start_soon(keep_calling, partial(call, "add", 1, 2), taken)
            sample = thin(taken, "ms")
            return attrs.evolve(sample, values=sample.values | {"rate": len(taken) / seconds})

        yield measure


def _bounds(results: Results) -> Sequence[Bound]:
    kept = results.ratio("rate", (_BESIDE, "wasmpool"), (_ALONE, "wasmpool"))
    return [
        Bound("of their rate alone", kept, at_least=0.5),
        Bound(
            "p99 of the short calls",
            results.median(_BESIDE, "wasmpool", "p99"),
            at_most=5,
            unit="ms",
        ),
    ]


def _plots(results: Results) -> Sequence[Plot]:
    lines = {name: results.series(_BESIDE, name, "ms") for name in _CONTENDERS}
    lines["wasmpool, alone"] = results.series(_ALONE, "wasmpool", "ms")
    return [distribution("Short calls beside a long one", "ms of a short call", lines, limit=5)]


SCENARIO: Final = Scenario(
    name="mixed",
    measures="How much of their rate 31 short callers keep beside a call that computes for 200 ms.",
    objection=(
        "On two CPUs the computing guest takes one and Python the other, so little is lost; with"
        " more computing guests than CPUs the short calls share with them, as with threads."
    ),
    cases=_cases,
    open=_open,
    columns=[
        Column("rate", "short calls a second", higher=True),
        Column("p50", "p50, ms", digits=2),
        Column("p99", "p99, ms", digits=2),
        Column("worst", "worst, ms"),
    ],
    bounds=_bounds,
    plots=_plots,
    seldom=2,
)
