"""Plugins that wait for an HTTP server: their requests are made on the loop."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Final

import trio

from bench._guests import EXAMPLE
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import HttpPolicy, open_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round

__all__ = ["SCENARIO"]

MILLISECONDS: Final = 50
_CALLS: Final = (1, 32)
_TIMES: Final = 10
"""Rounds of a measurement; the first opens the connections and is not counted."""


def _name(calls: int) -> str:
    return f"{calls} at once"


def _cases(_effort: Effort) -> list[Case]:
    return [Case(_name(calls), ("wasmpool",)) for calls in _CALLS]


@asynccontextmanager
async def _open(_contender: str, _effort: Effort) -> AsyncGenerator[Round]:
    with _server() as url:
        # Without a key the plugin says nothing for the log.
        credentials = {"base_url": url, "api_key": ""}
        policy = HttpPolicy(allow_private=True)
        opening = open_plugin(EXAMPLE, size=max(_CALLS), http=policy, credentials=credentials)
        async with opening as plugin:

            async def fetch() -> None:
                await plugin.execute("fetch", {"path": "/"})

            async def measure(case: str) -> Sample:
                calls = int(case.split(maxsplit=1)[0])
                await _all_at_once(fetch, calls)
                began, cpu = perf_counter(), process_time()
                for _ in range(_TIMES):
                    await _all_at_once(fetch, calls)
                took, cpu = perf_counter() - began, process_time() - cpu
                return Sample({"ms": took / _TIMES * 1e3, "cpu": cpu / _TIMES * 1e3})

            yield measure


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "bench._slow_server", str(MILLISECONDS)]
    with subprocess.Popen(  # noqa: S603 - a process of our own
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


async def _all_at_once(step: Callable[[], Awaitable[None]], calls: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(calls):
            nursery.start_soon(step)


def _bounds(results: Results) -> Sequence[Bound]:
    many = _name(_CALLS[-1])
    return [
        Bound(f"together, {many}", results.median(many, "wasmpool", "ms"), at_most=75, unit="ms"),
        Bound(f"CPU, {many}", results.median(many, "wasmpool", "cpu"), at_most=20, unit="ms"),
    ]


def _plots(results: Results) -> Sequence[Plot]:
    cases = list(results.samples)
    lines = {
        title: Line(
            list(range(len(cases))), [results.median(case, "wasmpool", key) or 0 for case in cases]
        )
        for title, key in (("together", "ms"), ("CPU", "cpu"))
    }
    return [Plot(title="Executes that wait for HTTP", x="case", y="ms", lines=lines, bars=cases)]


SCENARIO: Final = Scenario(
    name="http",
    measures=(
        f"How long executes take that each wait {MILLISECONDS} ms for a server on this machine, and"
        " how much CPU time of this process."
    ),
    objection=(
        "The server is another process, but on the same CPUs; the connections are open already, and"
        " there is no TLS."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("ms", "ms together"), Column("cpu", "ms of CPU together")],
    bounds=_bounds,
    plots=_plots,
)
