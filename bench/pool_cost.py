"""The cost of the pool itself: leases, hand-overs and cancels, by size and queue length.

Instances that do nothing replace wasm, so that only the pool is measured. Each figure is the best
of several rounds. Rounds that are compared take turns, and ratios are within one run, so that load
from other programs affects all of them.

Run: python bench/pool_cost.py
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import trio
import trio.testing

from wasmpool import Completed, open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wasmpool import Pool

ROUNDS: Final = 7
LEASES: Final = 3_000
SIZES: Final = (1, 100, 1_000)
LINES: Final = (10, 10_000)
SAMPLES: Final = 20_000
CANCELS: Final = 200
LIMITER: Final = "async with trio.CapacityLimiter"


class NoMemory:
    """The memory of such an instance."""

    size = 0

    def read(self, _: int, __: int) -> bytes:
        """Read nothing."""
        return b""

    def write(self, _: int, __: bytes) -> None:
        """Write nothing."""


class Nothing:
    """An instance whose calls return at once."""

    poisoned = None
    memory_size = 0
    memory = NoMemory()

    def start(self) -> None:
        """Be ready at once."""

    async def run_call(self, *_: Any) -> None:
        """Answer nothing."""

    async def run_exchange(self, *_: Any) -> bytes:
        """Answer nothing."""
        return b""

    async def run_program(self, *_: Any, check: bool) -> Completed:
        """Do nothing, well."""
        del check
        return Completed(args=(), returncode=0)

    def end_output(self) -> None:
        """Nothing was printed."""

    def start_call(self, *_: Any) -> None:
        """Be done at once."""

    def start_exchange(self, *_: Any) -> bytes:
        """Be done at once."""
        return b""

    async def finish(self) -> None:
        """There is nothing left to be done."""

    def interrupt(self, _: BaseException) -> None:
        """There is nothing under way."""

    def close_now(self) -> bool:
        """There is nothing to close."""
        return True

    async def aclose(self) -> None:
        """There is nothing to close."""


class NothingModule:
    """A module of such instances."""

    identity = 0
    name = "nothing"

    def new_instance(self) -> Nothing:
        """Make one."""
        return Nothing()


async def timed(times: int, function: Callable[[], Awaitable[None]]) -> float:
    """Microseconds for each of the ``times`` operations that the function runs."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        await function()
        return (time.perf_counter() - start) / times * 1e6
    finally:
        gc.enable()


async def limiter_round() -> float:
    """Enter and leave trio's own limiter, with free tokens."""
    limiter = trio.CapacityLimiter(10)

    async def run() -> None:
        for _ in range(LEASES):
            async with limiter:
                pass

    return await timed(LEASES, run)


async def lease_round(pool: Pool) -> float:
    """Lease an idle instance and return it."""

    async def run() -> None:
        for _ in range(LEASES):
            async with pool.lease():
                pass

    return await timed(LEASES, run)


async def call_round(pool: Pool) -> float:
    """Make a whole call."""

    async def run() -> None:
        for _ in range(LEASES):
            await pool.call("nothing")

    return await timed(LEASES, run)


async def hand_over_round(line: int) -> float:
    """Median time to return an instance to the first of a queue that stays ``line`` long."""
    spent: list[float] = []
    async with open_pool(NothingModule(), size=1, grace=0) as pool, trio.open_nursery() as nursery:

        async def relay() -> None:
            while True:
                lease = pool.lease()
                await lease.__aenter__()
                start = time.perf_counter()
                await lease.__aexit__(None, None, None)  # this does not wait
                spent.append(time.perf_counter() - start)
                if len(spent) == SAMPLES:
                    nursery.cancel_scope.cancel()

        async with pool.lease():
            for _ in range(line + 1):
                nursery.start_soon(relay)
            await trio.testing.wait_all_tasks_blocked()
            gc.collect()
    return statistics.median(spent) * 1e6


async def cancel_round(line: int) -> float:
    """Median time of a cancel in the middle of a queue that is ``line`` long."""
    spent: list[float] = []
    victims = 4 if line < 100 else 100
    while len(spent) < CANCELS:
        async with open_pool(NothingModule(), size=1) as pool, trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in range(line)]

            async def wait(scope: trio.CancelScope, pool: Pool = pool) -> None:
                with scope:
                    async with pool.lease():
                        pass

            async with pool.lease():
                for scope in scopes:
                    nursery.start_soon(wait, scope)
                await trio.testing.wait_all_tasks_blocked()
                assert pool.statistics().waiting == line
                gc.collect()
                for scope in scopes[(line - victims) // 2 :][:victims]:
                    start = time.perf_counter()
                    scope.cancel()
                    spent.append(time.perf_counter() - start)
            await trio.testing.wait_all_tasks_blocked()
    return statistics.median(spent) * 1e6


# --- rounds and ratios ----------------------------------------------------------------------


class Figures:
    """The best round of each measurement."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    def note(self, what: str, microseconds: float) -> None:
        """Keep a round if it is the best one so far."""
        self.best[what] = min(microseconds, self.best.get(what, microseconds))

    def show(self, what: str, peer: str, bound: float) -> bool:
        """Print a figure and its ratio to its peer's; return True if it is within the bound."""
        value, other = self.best[what], self.best[peer]
        good = value <= bound * other
        print(
            f"{what:<46} {value:7.2f} us   {value / other:5.2f} x {peer:<34}"
            f" (at most {bound}){'' if good else '   TOO MUCH'}"
        )
        return good


async def measure_leases(figures: Figures) -> None:
    """Lease and call on pools of different sizes, in turns."""
    async with contextlib.AsyncExitStack() as stack:
        pools = {
            size: await stack.enter_async_context(
                open_pool(NothingModule(), size=size, min_size=size)
            )
            for size in SIZES
        }
        for _ in range(ROUNDS):
            figures.note(LIMITER, await limiter_round())
            for size, pool in pools.items():
                figures.note(f"lease and give back, size {size}", await lease_round(pool))
            figures.note("call, size 1", await call_round(pools[1]))


async def measure_lines(figures: Figures) -> None:
    """Hand over and cancel in queues of different lengths, in turns."""
    for _ in range(ROUNDS - 2):
        for line in LINES:
            figures.note(f"hand-over, {line} in line", await hand_over_round(line))
            figures.note(f"cancel in mid-line, {line} in line", await cancel_round(line))


async def main() -> int:
    """Print each figure with its ratio; return 1 if one is above its bound."""
    figures = Figures()
    await measure_leases(figures)
    await measure_lines(figures)
    print(f"{LIMITER:<46} {figures.best[LIMITER]:7.2f} us")
    one = f"lease and give back, size {SIZES[0]}"
    good = [figures.show(one, LIMITER, 2.0), figures.show("call, size 1", LIMITER, 2.5)]
    good += [figures.show(f"lease and give back, size {size}", one, 1.3) for size in SIZES[1:]]
    for what in ("hand-over", "cancel in mid-line"):
        few, many = (f"{what}, {line} in line" for line in LINES)
        good.append(figures.show(many, few, 1.3))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(trio.run(main))
