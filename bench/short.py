"""Short calls: ``add(1, 2)`` through the pool, against the wheel's own synchronous call.

What it measures: what a call costs beyond the guest's work, which is nothing here. Contenders take
turns in short rounds, so that what else the machine does hits all of them; the median round counts.

A fair objection: the wheel's call checks nothing for cancellation, waits for no host function and
cannot be stopped. It is the floor of what Python had before, not of what a pool must do.
"""

from __future__ import annotations

import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import trio
import wasmtime

from wasmpool import Module, open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["main"]

WAT = """(module (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1))))"""

CALLS = 3_200
"""Calls in a round, all tasks together."""

ROUNDS = 25

TASKS = 32


def main() -> None:
    """Measure and print."""
    trio.run(_measure)


async def _measure() -> None:
    async with AsyncExitStack() as stack:
        module = await Module.compile(WAT)
        instance = await module.instantiate()
        stack.push_async_callback(instance.aclose)
        pool = await stack.enter_async_context(open_pool(module, size=TASKS))
        direct = _wheel_call()

        async def by_wheel() -> None:
            for _ in range(CALLS):
                direct(1, 2)

        async def by_instance() -> None:
            for _ in range(CALLS):
                await instance.call("add", 1, 2)

        async def by_pool(calls: int = CALLS) -> None:
            for _ in range(calls):
                await pool.call("add", 1, 2)

        async def by_pool_in_tasks() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(TASKS):
                    nursery.start_soon(by_pool, CALLS // TASKS)

        await _compare(
            {
                "wasmtime's own call": by_wheel,
                "instance.call": by_instance,
                "pool.call, 1 task": by_pool,
                f"pool.call, {TASKS} tasks": by_pool_in_tasks,
            }
        )


def _wheel_call() -> Callable[[int, int], object]:
    store = wasmtime.Store(wasmtime.Engine())
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, WAT), []).exports(store)
    add = exports["add"]
    assert isinstance(add, wasmtime.Func)
    return lambda a, b: add(store, a, b)


async def _compare(contenders: dict[str, Callable[[], Awaitable[None]]]) -> None:
    """Print the median time of a call of each, and how many times as fast it is as the first."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            began = time.perf_counter()
            await contender()
            seconds[name].append((time.perf_counter() - began) / CALLS)
    medians = {name: statistics.median(rounds) for name, rounds in seconds.items()}
    first = next(iter(medians.values()))
    print(f"short: add(1, 2), median of {ROUNDS} rounds of {CALLS} calls")
    for name, median in medians.items():
        low, *_, high = statistics.quantiles(seconds[name], n=4)
        spread = f"{low * 1e6:.1f} to {high * 1e6:.1f}"
        print(f"  {name:22} {median * 1e6:6.1f} us ({spread})  {first / median:5.2f}x")
