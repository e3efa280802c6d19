"""A pristine instance for each lease: ``max_uses=1``."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bench._effort import cpus
from bench._guests import CALLS, EXAMPLE
from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from bench.contenders import threads
from bench.contenders._wheel import Calls, Guest, PluginGuest, Plugins
from wasmpool import Instrument, Module, Pool, open_plugin, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round

__all__ = ["SCENARIO"]

SIZE: Final = 8
TASKS: Final = 4
_TINY: Final = "add, tiny guest"
_PLUGIN: Final = "execute, example plugin"
_REUSE: Final = "wasmpool, reused"
_SNAPSHOT: Final = "wasmpool, snapshot"
_LEAST: Final = {
    (_PLUGIN, _SNAPSHOT): 0.25,
    (_PLUGIN, "wasmpool"): 0.3,
    (_TINY, "wasmpool"): 0.2,
}
"""The bounds: a share of the rate of reused instances."""

_MESSAGE: Final = {"message": "to be or not to be"}


def _cases(_effort: Effort) -> list[Case]:
    return [
        Case(f"{what}, {tasks}", contenders)
        for what, contenders in (
            (_TINY, ("threads", _REUSE, "wasmpool")),
            (_PLUGIN, ("threads", _REUSE, "wasmpool", _SNAPSHOT)),
        )
        for tasks in ("1 task", f"{TASKS} tasks")
    ]


class _WaitedInVain(Instrument):
    """Counts calls that wait although an instance is idle."""

    def __init__(self) -> None:
        self.count = 0

    def waiting(self, pool: Pool, waiting: int) -> None:
        """Count a waiting call if an instance is idle."""
        self.count += waiting > 0 and pool.statistics().idle > 0


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    async with AsyncExitStack() as stack:
        opened: dict[str, Callable[[], Awaitable[object]]] = {}
        in_vain = _WaitedInVain()

        async def measure(case: str) -> Sample:
            what, tasks = case.rsplit(", ", 1)
            if what not in opened:
                opened[what] = await _opened(stack, contender, what, [])
            count = int(tasks.split()[0])
            us = await per_call(opened[what], count, effort.seconds)
            if contender == "wasmpool":  # apart: reused instances have no instrument, either
                async with AsyncExitStack() as watched:
                    call = await _opened(watched, contender, what, [in_vain])
                    await per_call(call, count, effort.seconds / 4)
            return Sample({"us": us, "in vain": float(in_vain.count)})

        yield measure


async def _opened(
    stack: AsyncExitStack, contender: str, what: str, instruments: Sequence[Instrument]
) -> Callable[[], Awaitable[object]]:
    if contender == "threads":
        return _threads(what)
    uses = None if contender == _REUSE else 1
    spares: dict[str, Any] = {
        "size": SIZE, "min_size": SIZE // 2, "max_uses": uses, "instruments": instruments,
    }  # fmt: skip
    if what == _TINY:
        module = await Module.compile(CALLS)
        pool = await stack.enter_async_context(open_pool(module, **spares))
        return partial(pool.call, "add", 1, 2)
    if contender == _SNAPSHOT:
        del spares["max_uses"]
        spares["pristine"] = True
    plugin = await stack.enter_async_context(open_plugin(EXAMPLE, **spares))
    return partial(plugin.execute, "echo", _MESSAGE)


def _threads(what: str) -> Callable[[], Awaitable[object]]:
    """A store and an instance for each call, created and used in a thread."""
    calls, plugins = Calls(epochs=True), Plugins(epochs=True)
    pool = threads.Pool(lambda: Guest(calls), cpus())

    def use(_kept: Guest) -> object:
        if what == _TINY:
            return Guest(calls).call("add", 1, 2)
        return PluginGuest(plugins).execute("echo", _MESSAGE)

    return partial(pool.run, use)


def _bounds(results: Results) -> Sequence[Bound]:
    bounds = []
    for what in (_PLUGIN, _TINY):
        for tasks in ("1 task", f"{TASKS} tasks"):
            case = f"{what}, {tasks}"
            for (of, contender), least in _LEAST.items():
                if of == what:
                    ratio = results.ratio("us", (case, _REUSE), (case, contender))
                    told = f"{contender}, of the reuse rate, {case}"
                    bounds.append(Bound(told, ratio, at_least=least))
            vain = results.median(case, "wasmpool", "in vain")
            bounds.append(Bound(f"waits while a spare was ready, {case}", vain, at_most=0, unit=""))
    return bounds


def _plots(results: Results) -> Sequence[Plot]:
    cases = list(results.samples)
    lines = {
        contender: Line(
            list(range(len(cases))), [results.median(case, contender, "us") or 0 for case in cases]
        )
        for contender in ("threads", _REUSE, "wasmpool", _SNAPSHOT)
    }
    title = "A fresh instance for each call"
    return [Plot(title=title, x="case", y="µs a call", lines=lines, bars=cases)]


SCENARIO: Final = Scenario(
    name="fresh",
    measures="What a call costs if each has an instance of its own, started or from a snapshot.",
    objection=(
        "A guest with a large initial memory costs more to create than these; and an application"
        " that trusts a plugin between calls reuses its instances."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "µs a call")],
    bounds=_bounds,
    plots=_plots,
)
