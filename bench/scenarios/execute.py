"""A plugin's ``execute`` with its JSON, by the number of tasks and by the pool's size."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

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
    from bench.contenders import Execute

__all__ = ["SCENARIO"]

SIZE: Final = 32
_CONTENDERS: Final = ("lock", "threads", "extism", "floor", "wasmpool")
_MESSAGE: Final[dict[str, Any]] = {"message": {"text": "to be or not to be", "numbers": [1, 2, 3]}}
_LARGE: Final = ", 10 KB"
_LARGE_MESSAGE: Final[dict[str, Any]] = {
    "message": [{"id": k, "name": f"name {k}", "good": True, "weight": k / 7} for k in range(180)]
}
"""It and its reply have some 10 KB as JSON."""


def _name(tasks: int, size: int) -> str:
    return f"{tasks} task{'s' if tasks > 1 else ''}, size {size}"


def _numbers(case: str) -> tuple[int, int]:
    tasks, size = (
        case.removesuffix(_LARGE).replace(" tasks", "").replace(" task", "").split(", size ")
    )
    return int(tasks), int(size)


def _cases(effort: Effort) -> list[Case]:
    counts = (1, 32) if effort.quick else (1, 2, 8, 32, 128)
    sizes = () if effort.quick else (1, 2, 8)
    return [
        *(
            Case(_name(count, SIZE), ("direct", *_CONTENDERS) if count == 1 else _CONTENDERS)
            for count in counts
        ),
        *(Case(_name(32, size), ("threads", "extism", "wasmpool")) for size in sizes),
        *(Case(_name(32, size) + _LARGE, ("floor", "wasmpool")) for size in (1, SIZE)),
    ]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    async with AsyncExitStack() as stack:
        opened: dict[int, Execute] = {}

        async def measure(case: str) -> Sample:
            tasks, size = _numbers(case)
            if size not in opened:
                opening = load(contender).open_executes(size)
                opened[size] = await stack.enter_async_context(opening)
            message = _LARGE_MESSAGE if case.endswith(_LARGE) else _MESSAGE
            step = partial(opened[size], "echo", message)
            return Sample({"us": await per_call(step, tasks, effort.seconds)})

        yield measure


def _bounds(results: Results) -> Sequence[Bound]:
    bounds = []
    for tasks, of_floor in ((1, 0.9), (32, 1.08)):
        case = _name(tasks, SIZE)
        for than, required in (("lock", 20), ("threads", 10), ("floor", of_floor)):
            ratio = results.ratio("us", (case, than), (case, "wasmpool"))
            word = "task" if tasks == 1 else "tasks"
            bounds.append(Bound(f"as fast as {than}, {tasks} {word}", ratio, at_least=required))
    one, all_ = ((_name(32, size) + _LARGE, "wasmpool") for size in (1, SIZE))
    rate = results.ratio("us", one, all_)
    bounds.append(Bound(f"size {SIZE}, of the rate of size 1{_LARGE}", rate, at_least=0.95))
    return bounds


def _plots(results: Results) -> Sequence[Plot]:
    small = [case for case in results.samples if not case.endswith(_LARGE)]
    by_tasks = {float(_numbers(c)[0]): c for c in small if _numbers(c)[1] == SIZE}
    by_size = {float(_numbers(c)[1]): c for c in small if _numbers(c)[0] == 32}
    return [
        Plot(
            title="execute by number of tasks (size 32)", x="tasks", y="executes per second",
            lines=_rates(results, by_tasks), x_scale="log", y_scale="log",
        ),
        Plot(
            title="execute by size of the pool (32 tasks)", x="instances", y="executes per second",
            lines=_rates(results, by_size), x_scale="log", y_scale="log",
        ),
    ]  # fmt: skip


def _rates(results: Results, cases: dict[float, str]) -> dict[str, Line]:
    costs = by_case(results, ("direct", *_CONTENDERS), cases, "us")
    return {name: Line(line.x, [1e6 / us for us in line.y]) for name, line in costs.items()}


SCENARIO: Final = Scenario(
    name="execute",
    measures='What `plugin.execute("echo", ...)` costs, from Python objects to Python objects.',
    objection=(
        "Part of it is JSON, in the guest and in Python, which is the same for all but Extism,"
        " whose guest does not parse; floor never frees what the guest returned."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "µs an execute")],
    bounds=_bounds,
    plots=_plots,
)
