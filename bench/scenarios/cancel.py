"""How soon a cancelled task continues while its guest spins."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from bench._effort import cpus
from bench._guests import CALLS
from bench._load import thin
from bench._plot import distribution
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import Module, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._plot import Plot
    from bench._results import Results, Sample
    from bench._scenario import Round
    from wasmpool import Pool

__all__ = ["SCENARIO"]

_INLINE: Final = "inline"
_THREAD: Final = "in a thread"
_CROWD: Final = "in a thread, others spin too"
_AFTER: Final = {_INLINE: 0.0003, _THREAD: 0.015, _CROWD: 0.015}  # seconds
"""When to cancel. The first is within a guest's slice on the loop's own thread."""


def _cases(_effort: Effort) -> list[Case]:
    return [Case(name, ("wasmpool",)) for name in _AFTER]


@asynccontextmanager
async def _open(_contender: str, effort: Effort) -> AsyncGenerator[Round]:
    module = await Module.compile(CALLS)
    async with open_pool(module, size=16, min_size=8) as pool:
        cancels = 50 if effort.quick else 200

        async def measure(case: str) -> Sample:
            async with trio.open_nursery() as nursery:
                for _ in range(2 * cpus() if case == _CROWD else 0):
                    nursery.start_soon(pool.call, "forever")
                late = [await _cancel(pool, _AFTER[case]) for _ in range(cancels)]
                nursery.cancel_scope.cancel()
            return thin(late, "ms")

        yield measure


async def _cancel(pool: Pool, after: float) -> float:
    """Milliseconds from the deadline until the task continues."""
    due = trio.current_time() + after
    with trio.move_on_at(due):
        await pool.call("forever")
    late = trio.current_time() - due
    await trio.sleep(0.001)  # the instance is replaced meanwhile
    return late * 1e3


def _bounds(results: Results) -> Sequence[Bound]:
    return [
        Bound(f"p99, {case}", results.median(case, "wasmpool", "p99"), at_most=5, unit="ms")
        for case in _AFTER
    ]


def _plots(results: Results) -> Sequence[Plot]:
    lines = {case: results.series(case, "wasmpool", "ms") for case in _AFTER}
    return [distribution("From a cancel until the task continues", "ms", lines, limit=5)]


SCENARIO: Final = Scenario(
    name="cancel",
    measures="The time from a cancel until the task continues, while its guest spins forever.",
    objection=(
        "There is no peer to compare with: with the wheel a guest ends at a deadline that is set"
        " before the call, and Extism's cancel is for a whole plugin. And a guest inside one huge"
        " bulk instruction is not stopped that fast."
    ),
    cases=_cases,
    open=_open,
    columns=[
        Column("p99", "p99, ms", digits=2),
        Column("p50", "p50", digits=2),
        Column("worst", "worst", digits=2),
    ],
    bounds=_bounds,
    plots=_plots,
    seldom=2,
)
