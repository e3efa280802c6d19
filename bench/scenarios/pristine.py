"""A pristine instance for each call, of guests whose start and setup take long."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bench import _quickjs
from bench._guests import GO_PLUGIN
from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import open_plugin, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round
    from wasmpool import Pool

__all__ = ["SCENARIO"]

_GO: Final = "execute, Go reactor"
_QUICKJS: Final = "evaluate, QuickJS with a library"
_ORDINARY: Final = "wasmpool, ordinary"
_LEAST: Final = {_GO: 3, _QUICKJS: 30}
"""The bounds: how many times as fast as ``max_uses=1`` without a snapshot."""
_MESSAGE: Final = {"message": "to be or not to be"}
_SPARES: Final[dict[str, Any]] = {"size": 4, "min_size": 2}


def _cases(_effort: Effort) -> list[Case]:
    names = [_GO, _QUICKJS] if _quickjs.is_installed() else [_GO]
    return [Case(name, (_ORDINARY, "wasmpool")) for name in names]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    async with AsyncExitStack() as stack:
        opened: dict[str, Callable[[], Awaitable[object]]] = {}

        async def measure(case: str) -> Sample:
            if case not in opened:
                make = _open_go if case == _GO else _open_quickjs
                opened[case] = await make(stack, snapshot=contender == "wasmpool")
            return Sample({"us": await per_call(opened[case], 1, effort.seconds)})

        yield measure


async def _open_go(stack: AsyncExitStack, *, snapshot: bool) -> Callable[[], Awaitable[object]]:
    how: dict[str, Any] = {"pristine": True} if snapshot else {"max_uses": 1}
    plugin = await stack.enter_async_context(open_plugin(GO_PLUGIN, **how, **_SPARES))
    return partial(plugin.execute, "echo", _MESSAGE)


async def _open_quickjs(
    stack: AsyncExitStack, *, snapshot: bool
) -> Callable[[], Awaitable[object]]:
    module = await _quickjs.compile_quickjs()
    setup = None if snapshot else _quickjs.read_library
    if snapshot:
        module = await module.snapshot(_quickjs.read_library)
    opening = open_pool(module, max_uses=1, setup=setup, **_SPARES)
    return partial(_evaluate, await stack.enter_async_context(opening))


async def _evaluate(pool: Pool) -> None:
    async with pool.lease() as js:
        await _quickjs.evaluate(js)


def _bounds(results: Results) -> Sequence[Bound]:
    return [
        Bound(
            f"as fast as ordinary, {case}",
            results.ratio("us", (case, _ORDINARY), (case, "wasmpool")),
            at_least=least,
        )
        for case, least in _LEAST.items()
    ]


def _plots(results: Results) -> Sequence[Plot]:
    cases = list(results.samples)
    lines = {
        contender: Line(
            list(range(len(cases))), [results.median(case, contender, "us") or 0 for case in cases]
        )
        for contender in (_ORDINARY, "wasmpool")
    }
    title = "A pristine instance of a guest whose start takes long"
    return [Plot(title=title, x="case", y="µs a call", lines=lines, bars=cases)]


SCENARIO: Final = Scenario(
    name="pristine",
    measures=(
        "What a call in a pristine instance costs where the guest's start and setup take long, by"
        " `max_uses=1` alone (ordinary) and from a snapshot."
    ),
    objection=(
        "Random numbers and clocks that were read before the snapshot are the same in each"
        " instance; and the snapshot itself takes as long as to compile the module twice."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "µs a call")],
    bounds=_bounds,
    plots=_plots,
    seldom=2,
)
