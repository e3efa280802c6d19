"""Guards the speed of short calls and executes, in a way that noise does not break.

What is compared are ratios to a bare fiber call (`bench.contenders.floor`), measured in the same
process in turns, so a slower machine or another Python changes both. Time is the thread's own CPU
time, which does not count what other processes take; and of many short batches the fastest
counts, for noise only ever adds.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import AsyncExitStack
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

LAST: Final = {(3, 11): (1.5, 3.0), (3, 12): (1.36, 2.72), (3, 13): (1.31, 2.63)}
"""What `pool.call` and `plugin.execute` cost when this was last set, in bare fiber calls.

To set it anew: the failure says what it costs; take what it says a few times on an idle machine.
"""
SLACK: Final = 1.25
"""Times as much fails; a loss of a quarter of the speed is 1.33 times as much."""


async def test_short_calls_have_not_lost_a_quarter_of_their_speed() -> None:
    """`pool.call` costs no more than it did, in bare fiber calls, by a margin."""
    async with open_pool(await Module.compile(_calls()), size=TASKS) as pool:
        await _check(partial(pool.call, "add", 1, 2), last()[0])


async def test_executes_have_not_lost_a_quarter_of_their_speed() -> None:
    """`plugin.execute` costs no more than it did, in bare fiber calls, by a margin."""
    async with open_plugin(PATH, size=TASKS) as plugin:
        step = partial(plugin.execute, "echo", {"message": "to be or not to be"})
        await _check(step, last()[1])


def last() -> tuple[float, float]:
    """This Python's; of one that is not known yet, the newest known one's."""
    return LAST.get(sys.version_info[:2], LAST[max(LAST)])


def _calls() -> str:
    guests = pytest.importorskip("bench._guests", reason="needs the source tree")
    text: str = guests.CALLS
    return text


async def _check(step: Callable[[], Awaitable[Any]], usual: float) -> None:
    """Fail if a step costs too many bare fiber calls, when 32 tasks make either, each time."""
    floor = pytest.importorskip("bench.contenders.floor", reason="needs the source tree")
    costs: list[float] = []
    async with AsyncExitStack() as stack:
        bare = partial(await stack.enter_async_context(floor.open_calls(1)), "add", 1, 2)
        while len(costs) < ATTEMPTS:
            costs.append(await _ratio(step, bare))
            if costs[-1] <= usual * SLACK:
                return
    said = ", ".join(f"{cost:.2f}" for cost in costs)
    pytest.fail(f"a call costs {said} bare fiber calls, against {usual} before")


async def _ratio(step: Callable[[], Awaitable[Any]], bare: Callable[[], Awaitable[Any]]) -> float:
    times: dict[bool, list[float]] = {True: [], False: []}
    await _batch(step)  # instances start, buffers grow
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
