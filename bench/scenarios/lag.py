"""The loop's lag: how computing guests affect the rest of the application."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from bench._effort import cpus
from bench._load import late_sleeps, thin
from bench._plot import distribution
from bench._scenario import Bound, Case, Column, Scenario
from bench.contenders import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._plot import Plot
    from bench._results import Results, Sample
    from bench._scenario import Round
    from bench.contenders import Call

__all__ = ["SCENARIO"]

TASKS: Final = 32
LENGTHS: Final = (0.1, 0.3, 1.0, 3.0, 10.0)  # milliseconds, given to the tasks in turn
_LARGE: Final = "size 32"
_SMALL: Final = "size = CPUs"
_IDLE: Final = "no calls"
_CONTENDERS: Final = ("lock", "threads", "extism", "wasmpool")


def _cases(_effort: Effort) -> list[Case]:
    return [
        Case(_IDLE, ("wasmpool",)),
        Case(_LARGE, _CONTENDERS),
        Case(_SMALL, ("threads", "extism", "wasmpool")),
    ]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    seconds = max(3 * effort.seconds, 0.3)
    async with AsyncExitStack() as stack:
        opened: dict[str, Call] = {}

        async def measure(case: str) -> Sample:
            if case not in opened:
                opening = load(contender).open_calls(cpus() if case == _SMALL else TASKS)
                opened[case] = await stack.enter_async_context(opening)
            tasks = 0 if case == _IDLE else TASKS
            return await _measure(opened[case], tasks, effort, seconds)

        yield measure


async def _measure(call: Call, tasks: int, effort: Effort, seconds: float) -> Sample:
    async def spin(rounds: int) -> None:
        while True:
            await call("spin", rounds)

    async with trio.open_nursery() as nursery:
        for k in range(tasks):
            nursery.start_soon(spin, effort.spins(LENGTHS[k % len(LENGTHS)]))
        await trio.sleep(0.05)
        late = [each async for each in late_sleeps(seconds)]
        nursery.cancel_scope.cancel()
    return thin(late, "ms")


def _bounds(results: Results) -> Sequence[Bound]:
    bounds = []
    for case in (_LARGE, _SMALL):
        for key, most in (("p99", 4.0), ("worst", 15.0)):
            ours = results.median(case, "wasmpool", key)
            bounds.append(Bound(f"{key}, {case}", ours, at_most=most, unit="ms"))
        ratio = results.ratio("p99", (case, "wasmpool"), (case, "threads"))
        bounds.append(Bound(f"p99 of that of threads, {case}", ratio, at_most=1.0))
    return bounds


def _plots(results: Results) -> Sequence[Plot]:
    return [
        distribution(
            f"Loop lag under {TASKS} tasks that spin, {case}",
            "ms too late",
            {
                **{name: results.series(case, name, "ms") for name in _CONTENDERS},
                "no calls": results.series(_IDLE, "wasmpool", "ms"),
            },
            limit=4,
        )
        for case in (_LARGE, _SMALL)
    ]


SCENARIO: Final = Scenario(
    name="lag",
    measures="How late a task wakes that sleeps 1 ms, while 32 tasks spin for 0.1 to 10 ms.",
    objection=(
        "Lag does not matter to a loop that only serves guests; and with threads this measures the"
        " kernel's scheduler, which matters less on a machine with more CPUs."
    ),
    cases=_cases,
    open=_open,
    columns=[
        Column("p99", "p99, ms late", digits=2),
        Column("p50", "p50", digits=2),
        Column("worst", "worst"),
    ],
    bounds=_bounds,
    plots=_plots,
)
