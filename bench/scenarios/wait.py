"""Calls that wait: how many can wait at once."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from bench.contenders import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round

__all__ = ["SCENARIO"]

MILLISECONDS: Final = 50


def _name(calls: int) -> str:
    return f"{calls:,} calls"


def _cases(_effort: Effort) -> list[Case]:
    return [
        Case(_name(32), ("lock", "threads", "extism", "wasmpool")),
        Case(_name(2_000), ("threads", "wasmpool")),  # with a lock it would take 100 s
    ]


@asynccontextmanager
async def _open(contender: str, _effort: Effort) -> AsyncGenerator[Round]:
    async with AsyncExitStack() as stack:
        warm: dict[str, Callable[[], Awaitable[object]]] = {}

        async def measure(case: str) -> Sample:
            calls = int(case.split(maxsplit=1)[0].replace(",", ""))
            cold = None
            if case not in warm:
                execute = await stack.enter_async_context(load(contender).open_executes(calls))
                warm[case] = lambda: execute("nap", {"ms": MILLISECONDS})
                cold = await _all_at_once(warm[case], calls)
                if contender == "lock":  # nothing to warm up, and it takes long
                    return Sample({"ms": cold, "cold": cold})
            took = await _all_at_once(warm[case], calls)
            return Sample({"ms": took} | ({} if cold is None else {"cold": cold}))

        yield measure


async def _all_at_once(step: Callable[[], Awaitable[object]], calls: int) -> float:
    began = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(calls):
            nursery.start_soon(step)
    return (perf_counter() - began) * 1e3


def _bounds(results: Results) -> Sequence[Bound]:
    few, many, lock = (
        results.median(case, contender, "ms")
        for case, contender in (
            (_name(32), "wasmpool"),
            (_name(2_000), "wasmpool"),
            (_name(32), "lock"),
        )
    )
    return [
        Bound("of the 50 ms, 32 calls", few and few / MILLISECONDS, at_most=1.2),
        Bound("of the 50 ms, 2,000 calls", many and many / MILLISECONDS, at_most=6),
        Bound("of the 50 ms, 32 calls with a lock", lock and lock / MILLISECONDS, at_least=32),
    ]


def _plots(results: Results) -> Sequence[Plot]:
    lines = {}
    for contender in ("lock", "threads", "extism", "wasmpool"):
        found = [(n, results.median(_name(n), contender, "ms")) for n in (32, 2_000)]
        points = [(float(n), ms) for n, ms in found if ms is not None]
        lines[contender] = Line([n for n, _ in points], [n / ms * 1e3 for n, ms in points])
    return [
        Plot(
            title="Calls that wait 50 ms", x="calls at once", y="calls per second",
            lines=lines, x_scale="log", y_scale="log",
        )
    ]  # fmt: skip


SCENARIO: Final = Scenario(
    name="wait",
    measures="How long many calls take together if each waits 50 ms on the host.",
    objection=(
        "With few callers it makes no difference; and threads wait as well as fibers do, up to"
        " thousands. Instances are warm; the column `first time` includes their start."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("ms", "ms together"), Column("cold", "first time")],
    bounds=_bounds,
    plots=_plots,
    seldom=3,
)
