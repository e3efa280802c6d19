"""Guests that compute: their share of the machine."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bench._effort import cpus
from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from bench.contenders import load
from bench.contenders._wheel import Calls, Guest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round
    from bench.contenders import Call

__all__ = ["SCENARIO"]

TASKS: Final = 8
LENGTHS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 10.0, 100.0)  # milliseconds
_ALONE: Final = "one guest alone"
_NO_EPOCHS: Final = "alone, no epochs"
_POOLS: Final = ("threads", "extism", "wasmpool")


def _name(milliseconds: float) -> str:
    return f"{milliseconds:g} ms"


def _cases(effort: Effort) -> list[Case]:
    lengths = (0.1, 0.3, 0.7, 10.0) if effort.quick else LENGTHS
    return [Case(_name(each), (_NO_EPOCHS, _ALONE, *_POOLS)) for each in lengths]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    if contender in (_ALONE, _NO_EPOCHS):
        guest = Guest(Calls(epochs=contender == _ALONE))

        async def alone(name: str, *args: int) -> Any:
            return guest.call(name, *args)

        yield _measuring(alone, 1, effort)
    else:
        async with load(contender).open_calls(cpus()) as call:
            yield _measuring(call, TASKS, effort)


def _measuring(call: Call, tasks: int, effort: Effort) -> Round:
    async def measure(case: str) -> Sample:
        milliseconds = float(case.split(maxsplit=1)[0])
        step = partial(call, "spin", effort.spins(milliseconds))
        took = await per_call(step, tasks, max(effort.seconds, milliseconds * 0.016))
        return Sample({"rate": 1e6 / took})

    return measure


def _bounds(results: Results) -> Sequence[Bound]:
    bounds = []
    for milliseconds in LENGTHS:
        case = _name(milliseconds)
        if milliseconds >= 10:
            ratio = results.ratio("rate", (case, "wasmpool"), (case, _ALONE))
            value = None if ratio is None else ratio / cpus()
            bounds.append(Bound(f"of {cpus()} guests alone, {case}", value, at_least=0.92))
        ratio = results.ratio("rate", (case, "wasmpool"), (case, "threads"))
        required = 1.0 if milliseconds <= 1 else 0.96
        bounds.append(Bound(f"of threads, {case}", ratio, at_least=required))
    return bounds


def _plots(results: Results) -> Sequence[Plot]:
    lines = {}
    for contender in _POOLS:
        points = [
            (each, ratio / cpus())
            for each in LENGTHS
            if (ratio := results.ratio("rate", (_name(each), contender), (_name(each), _ALONE)))
        ]
        lines[contender] = Line([x for x, _ in points], [y for _, y in points])
    return [
        Plot(
            title=f"Computing guests on {cpus()} CPUs, {TASKS} tasks",
            x="milliseconds of a call", y=f"of {cpus()} x one guest alone",
            lines=lines, x_scale="log", limit=1.0,
        )
    ]  # fmt: skip


SCENARIO: Final = Scenario(
    name="compute",
    measures=(
        "How many computing calls 8 tasks complete on as many instances as there are CPUs, compared"
        " with one guest alone that has epochs on; the row without epochs shows their cost."
    ),
    objection=(
        "The loop of this guest has five instructions, so its check of the epoch weighs more than"
        " in real code; and on a small machine the loop's own thread takes the place of a guest."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("rate", "calls a second", higher=True)],
    bounds=_bounds,
    plots=_plots,
)
