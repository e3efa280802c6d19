"""Components: what a call costs, by integers and by many bytes, beside the wheel's own call."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio
import wasmtime
from wasmtime import component as wheel

from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import Component, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round

__all__ = ["SCENARIO"]

SIZE: Final = 32
_ALONE: Final = "add, 1 task"
_MANY: Final = "add, 32 tasks"
_THERE: Final = "list<u8> of 1 MiB in"
_BACK: Final = "list<u8> of 1 MiB in and out"
_COPY: Final = "memcpy of 1 MiB"
_CONTENDERS: Final = ("direct", "wasmpool")

_PAYLOAD: Final = bytes(1 << 20)

_COMPONENT: Final = """(component
  (core module $m
    (memory (export "memory") 40)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "size") (param i32 i32) (result i32) (local.get 1))
    (func (export "same") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "realloc" (core func $realloc))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $i "add")))
  (func (export "size") (param "data" (list u8)) (result u32)
    (canon lift (core func $i "size") (memory $memory) (realloc $realloc)))
  (func (export "same") (param "data" (list u8)) (result (list u8))
    (canon lift (core func $i "same") (memory $memory) (realloc $realloc))))"""


def _cases(_effort: Effort) -> list[Case]:
    return [
        Case(_ALONE, _CONTENDERS),
        Case(_MANY, ("wasmpool",)),
        Case(_THERE, ("wasmpool",)),  # the wheel takes seconds for it
        Case(_BACK, ("wasmpool",)),
        Case(_COPY, ("wasmpool",)),
    ]


@asynccontextmanager
async def _open(contender: str, effort: Effort) -> AsyncGenerator[Round]:
    opened = _open_direct() if contender == "direct" else _open_pool()
    async with opened as call:

        async def measure(case: str) -> Sample:
            tasks = SIZE if case == _MANY else 1
            return Sample({"us": await per_call(_step(case, call), tasks, effort.seconds)})

        yield measure


def _step(case: str, call: Callable[..., Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    if case == _COPY:
        target = memoryview(bytearray(len(_PAYLOAD)))

        async def copy() -> None:
            target[:] = _PAYLOAD

        return copy
    if case == _THERE:
        return lambda: call("size", _PAYLOAD)
    if case == _BACK:
        return lambda: call("same", _PAYLOAD)
    return lambda: call("add", 1, 2)


@asynccontextmanager
async def _open_pool() -> AsyncGenerator[Callable[..., Awaitable[Any]]]:
    component = await Component.compile(_COMPONENT)
    async with open_pool(component, size=SIZE, min_size=SIZE) as pool:
        yield pool.call


@asynccontextmanager
async def _open_direct() -> AsyncGenerator[Callable[..., Awaitable[Any]]]:
    await trio.lowlevel.checkpoint()
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    component = wheel.Component(engine, _COMPONENT)
    instance = wheel.Linker(engine).instantiate(store, component)
    function = instance.get_func(store, "add")
    assert function is not None

    async def call(_: str, *args: Any) -> Any:
        result = function(store, *args)
        function.post_return(store)
        return result

    yield call


def _bounds(results: Results) -> Sequence[Bound]:
    def faster(case: str) -> float | None:
        return results.ratio("us", (_ALONE, "direct"), (case, "wasmpool"))

    def copies(case: str) -> float | None:
        return results.ratio("us", (case, "wasmpool"), (_COPY, "wasmpool"))

    return [
        Bound("as fast as direct, 32 tasks", faster(_MANY), at_least=2),
        Bound("as fast as direct, 1 task", faster(_ALONE), at_least=1.5),
        Bound("of memcpy, list<u8> in", copies(_THERE), at_most=3),
        Bound("of memcpy, list<u8> in and out", copies(_BACK), at_most=6),
    ]


def _plots(results: Results) -> Sequence[Plot]:
    cases = [_ALONE, _MANY]
    lines = {}
    for name in _CONTENDERS:
        found = [results.median(case, name, "us") for case in cases]
        lines[name] = Line(list(range(len(cases))), [value or 0 for value in found])
    return [Plot(title="Calls of components", x="case", y="us", lines=lines, bars=cases)]


SCENARIO: Final = Scenario(
    name="component",
    measures=(
        "A call of a component through the pool: `add(1, 2)`, and a `list<u8>` of 1 MiB, beside one"
        " copy of as many bytes."
    ),
    objection=(
        "Bytes in a record or a list of lists go by values, as the wheel's own do, and so do those"
        " of host functions: that is a hundred times as slow."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "us a call")],
    bounds=_bounds,
    plots=_plots,
)
