"""Short calls: what a call costs besides the guest's work, which is almost none here."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from bench._load import per_call
from bench._plot import Line, Plot, by_case
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from bench.contenders import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round

__all__ = ["SCENARIO"]

SIZE: Final = 32
_POOLS: Final = ("lock", "threads", "extism", "floor", "wasmpool")
_ALONE: Final = "1 task"
_MANY: Final = "32 tasks"


def _name(tasks: int) -> str:
    return _ALONE if tasks == 1 else f"{tasks} tasks"


def _tasks(case: str) -> int:
    return int(case.split(maxsplit=1)[0])


def _cases(effort: Effort) -> list[Case]:
    counts = (1, 32) if effort.quick else (1, 2, 8, 32, 128)
    with_direct = ("lock", "threads", "direct", "extism", "floor", "wasmpool")
    return [Case(_name(count), with_direct if count == 1 else _POOLS) for count in counts]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    async with load(contender).open_calls(SIZE) as call:
        step = partial(call, "add", 1, 2)

        async def measure(case: str) -> Sample:
            return Sample({"us": await per_call(step, _tasks(case), effort.seconds)})

        yield measure


def _bounds(results: Results) -> Sequence[Bound]:
    def faster(case: str, than: str, of: str) -> float | None:
        return results.ratio("us", (of, than), (case, "wasmpool"))

    return [
        Bound("of floor, 1 task", faster(_ALONE, "floor", _ALONE), at_least=0.5),
        Bound("of floor, 32 tasks", faster(_MANY, "floor", _MANY), at_least=0.62),
        Bound("as fast as direct, 1 task", faster(_ALONE, "direct", _ALONE), at_least=2.5),
        Bound("as fast as direct, 32 tasks", faster(_MANY, "direct", _ALONE), at_least=4),
        Bound("as fast as threads, 32 tasks", faster(_MANY, "threads", _MANY), at_least=15),
    ]


def _plots(results: Results) -> Sequence[Plot]:
    cases = {float(_tasks(case)): case for case in results.samples}
    costs = by_case(results, (*_POOLS, "direct"), cases, "us")
    lines = {name: Line(line.x, [1e6 / us for us in line.y]) for name, line in costs.items()}
    return [
        Plot(
            title="Short calls by number of tasks",
            x="tasks", y="calls per second", lines=lines, x_scale="log", y_scale="log",
        )
    ]  # fmt: skip


SCENARIO: Final = Scenario(
    name="short",
    measures="What `add(1, 2)` costs through the pool: all but the guest's work, which is tiny.",
    objection=(
        "Few guests do nothing: the more a call computes, the less its overhead matters. And the"
        " wheel's direct call can neither be stopped nor wait for anything, so it does less."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "µs a call")],
    bounds=_bounds,
    plots=_plots,
)
