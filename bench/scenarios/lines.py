"""What a line costs: in one trio run, and in chunks that processes do."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from bench._effort import cpus
from bench._guests import EXAMPLE
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool._batch.guest import open_guest
from wasmpool._batch.here import Here
from wasmpool._batch.job import Job
from wasmpool._batch.ordered import OrderedRows
from wasmpool._batch.processes import open_processes
from wasmpool._batch.shared_cache import with_cache
from wasmpool._batch.work import Work
from wasmpool_host.lowlevel import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round
    from wasmpool._batch.places import Places

__all__ = ["SCENARIO"]

_HERE: Final = "wasmpool"
_PROCESSES: Final = "processes"
_DASK: Final = "dask"
_SHORT: Final = "10 us"
_SECONDS: Final = {_SHORT: 10e-6, "1 ms": 1e-3, "100 ms": 0.1}
"""What a line takes in the guest, about."""
_STEADY: Final = 40
"""Rounds of `effort.seconds` that a measurement takes with one CPU: chunks grow at its start."""


def _cases(effort: Effort) -> list[Case]:
    lengths = (_SHORT, "1 ms") if effort.quick else tuple(_SECONDS)
    contenders = [_HERE, _PROCESSES, *([_DASK] if find_spec("distributed") else [])]
    return [Case(f"lines of {each}", contenders) for each in lengths]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    count = cpus()
    size = count if contender == _HERE else 1
    source = await trio.to_thread.run_sync(Source.read, Path(EXAMPLE))
    job = Job(file=str(EXAMPLE), tool="spin", size=size, tasks=4 * size)
    async with with_cache(job) as cached:
        async with open_guest(cached, source):
            pass  # it is compiled now, for all
        async with _open_places(contender, cached, source, count) as places:

            async def measure(case: str) -> Sample:
                seconds = _SECONDS[case.removeprefix("lines of ")]
                line = b'{"rounds": %d}\n' % effort.spins(seconds * 1000)
                lines = max(count, round(effort.seconds * _STEADY / 10 / (seconds + 30e-6)))
                # Processes are ready, and each worker has opened the guest.
                await _answer(places, job, line, 32 * count if contender == _DASK else 1)
                began, cpu = time.perf_counter(), _cpu_seconds()
                await _answer(places, job, line, lines)
                took, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
                return Sample({"us": took / lines * 1e6, "cpu": cpu / lines * 1e6})

            yield measure


@asynccontextmanager
async def _open_places(
    contender: str, job: Job, source: Source, count: int
) -> AsyncGenerator[Places]:
    if contender == _PROCESSES:
        async with open_processes(job, source, count) as places:
            yield places
    elif contender == _DASK:
        from wasmpool._batch.dask.places import open_dask  # noqa: PLC0415 - an extra

        async with open_dask(f"local:{count}", job, source) as workers:
            yield workers
    else:
        async with open_guest(job, source) as guest:
            yield Here(Work(guest, job), job.tasks)


async def _answer(places: Places, job: Job, line: bytes, lines: int) -> None:
    rows = OrderedRows(places, _Repeated(line, lines), tasks=job.tasks)
    done = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rows.work)
        while taken := await rows.take():
            done += sum(each.rows.count for each in taken)
            assert not any(each.rows.failed for each in taken)
    assert done == lines


@final
@attrs.define(eq=False)
class _Repeated:
    """An input of one line, many times."""

    _line: bytes
    _left: int
    size: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.size = len(self._line) * self._left

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        count = min(self._left, 4000)
        self._left -= count
        return self._line * count

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def _cpu_seconds() -> float:
    """The processor time of this process, of those below it that run, and of those that ran."""
    own = os.times()
    ticks = sum(_ticks(child) for child in _descendants("self"))
    return own.user + own.system + ticks / os.sysconf("SC_CLK_TCK")


def _descendants(process: str) -> Iterator[str]:
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in path.read_text().split():
            yield child
            yield from _descendants(child)


def _ticks(process: str) -> int:
    stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(stat[11]) + int(stat[12])


def _bounds(results: Results) -> Sequence[Bound]:
    case = f"lines of {_SHORT}"
    return [
        Bound(
            f"{case}, in {cpus()} processes, as fast as in one",
            results.ratio("us", (case, _HERE), (case, _PROCESSES)),
            at_least=0.85 * cpus(),
        ),
        Bound(
            f"{case}, CPU time in one trio run, of that in processes",
            results.ratio("cpu", (case, _HERE), (case, _PROCESSES)),
            at_most=1.1,
        ),
    ]


def _plots(results: Results) -> Sequence[Plot]:
    cases = [case for case in results.samples if case == f"lines of {_SHORT}"]
    lines = {
        name: Line([0.0], [results.median(case, name, "us") or 0])
        for case in cases
        for name in results.samples[case]
    }
    title = f"A line of {_SHORT}"
    return [Plot(title=title, x="where", y="us a line", lines=lines, bars=cases)] if cases else []


SCENARIO: Final = Scenario(
    name="lines",
    measures=(
        "What a line of an input costs in all, by how long the guest takes for it: in one trio run,"
        " and in chunks that as many processes as CPUs do, or as many workers of a local cluster of"
        " Dask."
    ),
    objection=(
        "The input is in memory and the rows are dropped; the processes have started. A guest that"
        " computes for a millisecond moves to a thread, so one process uses all CPUs for it, too."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "us a line"), Column("cpu", "us of CPU a line")],
    bounds=_bounds,
    plots=_plots,
    seldom=3,
)
