"""Guards the speed of short calls and executes, in a way that noise does not break.

Each is compared with the same work done by hand (`bench.contenders.floor`): a bare fiber call, and
a bare execute with its JSON. Both are measured in the same process in turns, so a slower machine or
another Python changes both. Time is the thread's own CPU time, which does not count what other
processes take. Of many short batches the fastest counts, as noise only ever adds.
"""

from __future__ import annotations

import statistics
import sys
from functools import partial
from time import thread_time
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

from wasmpool import Module, open_plugin, open_pool
from wasmpool.example import PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BATCH: Final = 320  # calls: a few milliseconds
TURNS: Final = 40
TASKS: Final = 32
ATTEMPTS: Final = 3
"""A loss is there each time; what disturbed a whole measurement is not."""

LAST: Final = {(3, 11): (1.6, 1.2), (3, 12): (1.5, 1.1), (3, 13): (1.45, 1.1)}
"""What `pool.call` and `plugin.execute` cost when this was last set, in bare ones.

To set it anew: the failure says what it costs; take what it says a few times on an idle machine.
"""
SLACK: Final = 1.25
"""Times as much fails; a loss of a quarter of the speed is 1.33 times as much."""


@pytest.mark.alone
async def test_short_calls_have_not_lost_a_quarter_of_their_speed() -> None:
    """`pool.call` costs no more than it did, in bare ones, by a margin."""
    floor = pytest.importorskip("bench.contenders.floor", reason="needs the source tree")
    async with (
        open_pool(await Module.compile(floor.CALLS), size=TASKS) as pool,
        floor.open_calls(1) as bare,
    ):
        add = "add", 1, 2
        await _check(partial(pool.call, *add), partial(bare, *add), last()[0])


@pytest.mark.alone
async def test_executes_have_not_lost_a_quarter_of_their_speed() -> None:
    """`plugin.execute` costs no more than it did, in bare ones, by a margin."""
    floor = pytest.importorskip("bench.contenders.floor", reason="needs the source tree")
    async with open_plugin(PATH, size=TASKS) as plugin, floor.open_executes(1) as bare:
        echo = "echo", {"message": "to be or not to be"}
        await _check(partial(plugin.execute, *echo), partial(bare, *echo), last()[1])


def last() -> tuple[float, float]:
    """This Python's; of one that is not known yet, the newest known one's."""
    return LAST.get(sys.version_info[:2], LAST[max(LAST)])


async def _check(
    step: Callable[[], Awaitable[Any]], bare: Callable[[], Awaitable[Any]], usual: float
) -> None:
    """Fail if a step costs too many bare ones, when 32 tasks make either, each time."""
    costs: list[float] = []
    while len(costs) < ATTEMPTS:
        costs.append(await _ratio(step, bare))
        if costs[-1] <= usual * SLACK:
            return
    said = ", ".join(f"{cost:.2f}" for cost in costs)
    pytest.fail(f"a call costs {said} bare ones, against {usual} before")


async def _ratio(step: Callable[[], Awaitable[Any]], bare: Callable[[], Awaitable[Any]]) -> float:
    times: dict[bool, list[float]] = {True: [], False: []}
    await _batch(step)  # instances start, buffers grow
    await _batch(bare)
    for _ in range(TURNS):
        for is_bare in (True, False):
            times[is_bare].append(await _batch(bare if is_bare else step))
    return _fastest(times[False]) / _fastest(times[True])


def _fastest(times: list[float]) -> float:
    """The third: the very first may be a mistake of the clock."""
    return statistics.median(sorted(times)[:5])


async def _batch(step: Callable[[], Awaitable[Any]]) -> float:
    async def some() -> None:
        for _ in range(BATCH // TASKS):
            await step()

    began = thread_time()
    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(some)
    return thread_time() - began
