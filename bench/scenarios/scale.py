"""How costs grow with instances, with waiters and with bytes."""

from __future__ import annotations

import ctypes
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import trio
import trio.lowlevel

from bench._guests import CALLS, ECHO_BYTES
from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import Module, host_function, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round
    from wasmpool import Caller

__all__ = ["SCENARIO"]

INSTANCES: Final = (1, 10, 100, 1_000, 5_000)
WAITERS: Final = (0, 10, 100, 1_000, 10_000)
PAYLOADS: Final = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_SIZE: Final = 8
_MOST_KB: Final = 16
_MOST_WAITING_KB: Final = 22
WAITING: Final = 10_000
_INSTANCES, _WAITERS, _IN_HOST, _BYTES = "instances", "waiters", "calls in a host function", "bytes"
_APART: Final = "wasmpool, apart"
"""A process of its own, which has not kept the memory of other cases."""
_WAIT: Final = """(module (import "env" "wait" (func)) (memory (export "memory") 1)
  (export "go" (func 0)))"""


def _name(number: int, of: str) -> str:
    return f"{number:,} {of}"


def _cases(effort: Effort) -> list[Case]:
    instances = (1, 5_000) if effort.quick else INSTANCES
    waiters = (0, 100, 10_000) if effort.quick else WAITERS
    payloads = (100, 100_000, 10_000_000) if effort.quick else PAYLOADS
    return [
        *(Case(_name(n, _INSTANCES), ("wasmpool",)) for n in instances),
        *(Case(_name(n, _WAITERS), ("wasmpool",)) for n in waiters),
        Case(_name(WAITING, _IN_HOST), (_APART,)),
        *(Case(_name(n, _BYTES), ("memcpy", "wasmpool")) for n in payloads),
    ]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    async with AsyncExitStack() as stack:
        if contender == "memcpy":
            yield partial(_measure_memcpy, seconds=effort.seconds)
            return
        module = await Module.compile(CALLS)
        pool = await stack.enter_async_context(open_pool(module, size=_SIZE))
        echo = await Module.compile(ECHO_BYTES)
        bytes_pool = await stack.enter_async_context(open_pool(echo, size=1))

        weighed: set[int | str] = set()

        async def measure(case: str) -> Sample:
            count, of = case.split(maxsplit=1)
            number = int(count.replace(",", ""))
            if of == _INSTANCES:
                sample = await _measure_instances(module, number, effort.seconds)
                # The process may have kept memory that it got from the system the first time.
                if number < 1_000 or number in weighed:
                    del sample.values["kB"]
                weighed.add(number)
                return sample
            if of == _WAITERS:
                return await _measure_waiters(pool, number, effort.seconds)
            if of == _IN_HOST:
                sample = await _measure_calls_in_host(number)
                if _IN_HOST in weighed:
                    del sample.values["kB"]
                weighed.add(_IN_HOST)
                return sample
            step = partial(bytes_pool.exchange, "echo", bytes(number))
            return Sample({"us": await per_call(step, 1, effort.seconds / 2)})

        yield measure


async def _measure_instances(module: Module, count: int, seconds: float) -> Sample:
    before = _resident()
    async with open_pool(module, size=count, min_size=count) as pool:
        async with AsyncExitStack() as stack:  # call each one, as in real use
            for _ in range(count):
                lease = await stack.enter_async_context(pool.lease())
                await lease.call("add", 1, 2)
        each = (_resident() - before) / count / 1_000
        us = await per_call(partial(pool.call, "add", 1, 2), 1, seconds / 2)
    return Sample({"us": us, "kB": each})


async def _measure_calls_in_host(count: int) -> Sample:
    """What each of many calls that wait in a host function takes, with its instance and task."""
    waiting, everybody, leave = 0, trio.Event(), trio.Event()

    @host_function("env", "wait")
    async def wait(_caller: Caller) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == count:
            everybody.set()
        await leave.wait()

    module = await Module.compile(_WAIT, imports=[wait])
    before, began = _resident(), perf_counter()
    async with open_pool(module, size=count) as pool, trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(pool.call, "go")
        await everybody.wait()
        each = (_resident() - before) / count / 1_000
        leave.set()
    return Sample({"us": (perf_counter() - began) / count * 1e6, "kB": each})


async def _measure_waiters(pool: Any, waiters: int, seconds: float) -> Sample:
    """The cost of a call in a lease while this many tasks wait; all of them call in a loop.

    Calls without a lease would not wait: each is done before the next task asks.
    """
    calls = 0

    async def use() -> None:
        nonlocal calls
        while True:
            async with pool.lease() as lease:
                await lease.call("add", 1, 2)
            calls += 1

    async with trio.open_nursery() as nursery:
        leases = [pool.lease() for _ in range(_SIZE - 1)]
        for _ in range(waiters + 1):
            nursery.start_soon(use)
        async with AsyncExitStack() as stack:  # leave one instance, so that tasks wait
            for lease in leases:
                await stack.enter_async_context(lease)
            await trio.lowlevel.checkpoint()
            calls, began = 0, perf_counter()
            await trio.sleep(seconds)
            us = (perf_counter() - began) / calls * 1e6
            nursery.cancel_scope.cancel()
    return Sample({"us": us})


async def _measure_memcpy(case: str, seconds: float) -> Sample:
    """The same bytes copied in and out, as an exchange must: into a buffer, and to new bytes."""
    number = int(case.split(maxsplit=1)[0].replace(",", ""))
    payload = bytes(number)
    buffer = ctypes.create_string_buffer(number)

    async def step() -> bytes:
        ctypes.memmove(buffer, payload, number)
        return ctypes.string_at(buffer, number)

    return Sample({"us": await per_call(step, 1, seconds / 2)})


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096


def _bounds(results: Results) -> Sequence[Bound]:
    return [
        Bound(
            "cost of a call, 5,000 to 1 instances",
            _growth(results, INSTANCES[-1], INSTANCES[0], _INSTANCES),
            at_most=1.3,
        ),
        Bound(
            "cost of a call, 10,000 to 100 waiters",
            _growth(results, WAITERS[-1], WAITERS[2], _WAITERS),
            at_most=1.3,
        ),
        Bound(
            "of memcpy's time, 10 MB",
            results.ratio(
                "us",
                (_name(PAYLOADS[-1], _BYTES), "wasmpool"),
                (_name(PAYLOADS[-1], _BYTES), "memcpy"),
            ),
            at_most=3,
        ),
        Bound(
            "for each of 5,000 idle tiny instances",
            results.median(_name(INSTANCES[-1], _INSTANCES), "wasmpool", "kB"),
            at_most=_MOST_KB,
            unit="kB",
        ),
        Bound(
            "for each of 10,000 waiting calls, with its instance",
            results.median(_name(WAITING, _IN_HOST), _APART, "kB"),
            at_most=_MOST_WAITING_KB,
            unit="kB",
        ),
    ]


def _growth(results: Results, large: int, small: int, of: str) -> float | None:
    return results.ratio("us", (_name(large, of), "wasmpool"), (_name(small, of), "wasmpool"))


def _plots(results: Results) -> Sequence[Plot]:
    return [
        Plot(
            title="Memory of idle instances", x="instances", y="kB each",
            lines={"wasmpool": _line(results, INSTANCES, _INSTANCES, "wasmpool", "kB")},
            x_scale="log", limit=_MOST_KB,
        ),
        Plot(
            title="A call's cost by instances and by waiters", x="instances, or waiters",
            y="µs a call", x_scale="log",
            lines={
                "by instances": _line(results, INSTANCES, _INSTANCES),
                "by waiters": _line(results, WAITERS[1:], _WAITERS),
            },
        ),
        Plot(
            title="Payloads there and back", x="bytes of the payload", y="bytes per second",
            lines={
                name: _speed(_line(results, PAYLOADS, _BYTES, name))
                for name in ("memcpy", "wasmpool")
            },
            x_scale="log", y_scale="log",
        ),
    ]  # fmt: skip


def _line(
    results: Results, numbers: Sequence[int], of: str, contender: str = "wasmpool", key: str = "us"
) -> Line:
    found = [(n, results.median(_name(n, of), contender, key)) for n in numbers]
    points = [(float(n), value) for n, value in found if value is not None]
    return Line([n for n, _ in points], [value for _, value in points])


def _speed(line: Line) -> Line:
    return Line(line.x, [2 * n / us * 1e6 for n, us in zip(line.x, line.y, strict=True)])


SCENARIO: Final = Scenario(
    name="scale",
    measures="What a call costs, and an instance takes, as instances, waiters and payloads grow.",
    objection=(
        "The memory of a real guest is most of what its instance takes; and memory is measured as"
        " the process's resident set, so small numbers are imprecise."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "µs a call"), Column("kB", "kB an instance")],
    bounds=_bounds,
    plots=_plots,
    seldom=2,
)
