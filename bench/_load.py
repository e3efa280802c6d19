"""Load: repeated calls by a number of tasks, and their times."""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import trio

from bench._results import Sample, percentile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = ["keep_calling", "late_sleeps", "per_call", "thin"]

_PROBE: Final = 0.01
_BATCHES: Final = 7  # in a round; the median batch counts, so that one pause has no effect
_EACH: Final = 8  # minimum calls of each task in a batch, so that its start and end do not matter
_MOST: Final = 2_000


async def per_call(step: Callable[[], Awaitable[Any]], tasks: int, seconds: float) -> float:
    """Microseconds per call: the total time, divided by the calls of ``tasks`` concurrent tasks."""
    await _run(step, tasks, tasks)  # one call each to warm up: caches, instances, threads
    took, calls = 0.0, tasks
    while took < _PROBE:
        took = await _run(step, tasks, calls)
        if took < _PROBE:
            calls *= 2
    wanted = max(tasks, int(calls / took * seconds))
    number = _BATCHES if wanted >= _BATCHES * _EACH * tasks else 1
    calls = wanted // number
    batches = [await _run(step, tasks, calls) for _ in range(number)]
    return statistics.median(batches) / calls * 1e6


async def _run(step: Callable[[], Awaitable[Any]], tasks: int, calls: int) -> float:
    async def some(count: int) -> None:
        for _ in range(count):
            await step()

    began = perf_counter()
    if tasks == 1:
        await some(calls)
    else:
        async with trio.open_nursery() as nursery:
            for k in range(tasks):
                nursery.start_soon(some, calls // tasks + (k < calls % tasks))
    return perf_counter() - began


async def keep_calling(step: Callable[[], Awaitable[Any]], milliseconds: list[float]) -> None:
    """Call until cancelled, and record the time of each call."""
    while True:
        began = perf_counter()
        await step()
        milliseconds.append((perf_counter() - began) * 1e3)


async def late_sleeps(seconds: float) -> AsyncGenerator[float]:
    """Sleep for a millisecond repeatedly; yield how many milliseconds late each wake-up is."""
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        due = trio.current_time() + 0.001
        await trio.sleep_until(due)
        yield max(0.0, (trio.current_time() - due) * 1e3)


def thin(values: list[float], name: str) -> Sample:
    """A sample of a distribution: its percentiles, and enough values to draw it."""
    ordered = sorted(values)
    step = max(1, len(ordered) // _MOST)
    kept = ordered[::step]
    if ordered and kept[-1] != ordered[-1]:
        kept.append(ordered[-1])
    return Sample(
        {
            "p50": percentile(ordered, 50),
            "p99": percentile(ordered, 99),
            "worst": percentile(ordered, 100),
            "count": float(len(ordered)),
        },
        {name: kept},
    )
