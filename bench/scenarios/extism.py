"""Plugins of Extism's kind: one guest, by this project and by Extism's own SDK."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import trio

from bench._guests import EXTISM
from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import host_function, open_extism

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round
    from bench.contenders import Bytes
    from wasmpool import Caller

__all__ = ["SCENARIO"]

SIZE: Final = 32
MILLISECONDS: Final = 50
_WAIT: Final = f"{SIZE} calls of {MILLISECONDS} ms"
_ALONE: Final = "echo, 1 task"
_MANY: Final = f"echo, {SIZE} tasks"
_TASKS: Final = {_WAIT: SIZE, _ALONE: 1, _MANY: SIZE}
_INPUT: Final = b'{"message":"to be or not to be, that is the question"}'
_CONTENDERS: Final = ("extism", "wasmpool")


def _cases(_effort: Effort) -> list[Case]:
    return [Case(name, _CONTENDERS) for name in _TASKS]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    async with AsyncExitStack() as stack:
        call = await stack.enter_async_context(_opening(contender))
        nap = partial(call, "nap", MILLISECONDS.to_bytes(8, "little"))
        await _all_at_once(nap)  # starts the instances, and the threads of the SDK

        async def measure(case: str) -> Sample:
            if case == _WAIT:
                ms = await _all_at_once(nap)
                return Sample({"us": ms * 1e3 / SIZE, "ms": ms})
            echo = partial(call, "echo", _INPUT)
            return Sample({"us": await per_call(echo, _TASKS[case], effort.seconds)})

        yield measure


def _opening(contender: str) -> AbstractAsyncContextManager[Bytes]:
    if contender == "wasmpool":
        return _open_here()
    from bench.contenders import extism  # noqa: PLC0415 - it need not be installed

    return extism.open_bytes(SIZE)


@host_function("extism:host/user", "pause", params=("i64",))
async def _pause(_caller: Caller, milliseconds: int) -> None:
    await trio.sleep(milliseconds / 1e3)


@asynccontextmanager
async def _open_here() -> AsyncGenerator[Bytes]:
    async with open_extism(EXTISM, functions=[_pause], size=SIZE) as plugin:
        yield plugin.call


async def _all_at_once(step: Callable[[], Awaitable[Any]]) -> float:
    began = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(SIZE):
            nursery.start_soon(step)
    return (perf_counter() - began) * 1e3


def _bounds(results: Results) -> Sequence[Bound]:
    together = results.median(_WAIT, "wasmpool", "ms")
    return [
        Bound(f"of the {MILLISECONDS} ms, {SIZE} calls", together and together / MILLISECONDS,
              at_most=2),
        *(
            Bound(f"as fast as the SDK, {case}",
                  results.ratio("us", (case, "extism"), (case, "wasmpool")), at_least=1)
            for case in (_ALONE, _MANY)
        ),
    ]  # fmt: skip


def _plots(results: Results) -> Sequence[Plot]:
    cases = list(results.samples)
    lines = {
        contender: Line(
            list(range(len(cases))), [results.median(case, contender, "us") or 0 for case in cases]
        )
        for contender in _CONTENDERS
    }
    return [Plot(title="Extism plugins", x="case", y="µs a call", lines=lines, bars=cases)]


SCENARIO: Final = Scenario(
    name="extism",
    measures=(
        "What a call of an Extism plugin costs, and how long 32 of them take that each wait 50 ms"
        " in a host function. The SDK has one plugin for each thread, and its host function blocks"
        " that thread."
    ),
    objection=(
        "Threads wait as well as fibers do while there are as many threads as calls; and a program"
        " without trio would call the SDK from its own threads, without the hop to a worker."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "µs a call"), Column("ms", "ms together")],
    bounds=_bounds,
    plots=_plots,
)
