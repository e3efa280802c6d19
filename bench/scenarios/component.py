"""Components: what a call costs, by integers and by many bytes, beside the wheel's own call."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio
import wasmtime
from wasmtime import component as wheel

from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import Component, host_function, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round

__all__ = ["SCENARIO"]

SIZE: Final = 32
_ALONE: Final = "add, 1 task"
_MANY: Final = "add, 32 tasks"
_THERE: Final = "list<u8> of 1 MiB in"
_OUT: Final = "list<u8> of 1 MiB out"
_BACK: Final = "list<u8> of 1 MiB in and out"
_RECORD: Final = "record with 1 MiB in"
_TEXT: Final = "string of 1 MiB in"
_HOST: Final = "host function: 1 MiB to it and back"
_COPY: Final = "memcpy of 1 MiB"
_CONTENDERS: Final = ("direct", "wasmpool")

_SIZE: Final = 1 << 20
_PAYLOAD: Final = os.urandom(_SIZE)
"""Of pages of its own: those of ``bytes(n)`` may all be one page of zeros, in the cache."""

_COMPONENT: Final = """(component
  (import "bench:host/bytes" (instance $host
    (export "same" (func (param "data" (list u8)) (result (list u8))))))
  (core module $m
    (memory (export "memory") 40)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "size") (param i32 i32) (result i32) (local.get 1))
    (func (export "same") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16))
    (func (export "give") (param i32) (result i32)
      (i32.store (i32.const 16) (i32.const 4096))
      (i32.store (i32.const 20) (local.get 0))
      (i32.const 16))
    (func (export "size-in") (param i32 i32 i32) (result i32) (local.get 2)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "realloc" (core func $realloc))
  (alias export $host "same" (func $same))
  (core func $same-core (canon lower (func $same) (memory $memory) (realloc $realloc)))
  (core module $n
    (import "" "same" (func $same (param i32 i32 i32)))
    (func (export "there-and-back") (param i32)
      (call $same (i32.const 4096) (local.get 0) (i32.const 32))))
  (core instance $j (instantiate $n (with "" (instance (export "same" (func $same-core))))))
  (func (export "there-and-back") (param "size" u32)
    (canon lift (core func $j "there-and-back")))
  (func (export "give") (param "size" u32) (result (list u8))
    (canon lift (core func $i "give") (memory $memory)))
  (type $chunk-own (record (field "id" u32) (field "data" (list u8))))
  (export $chunk "chunk" (type $chunk-own))
  (func (export "size-in") (param "chunk" $chunk) (result u32)
    (canon lift (core func $i "size-in") (memory $memory) (realloc $realloc)))
  (func (export "length") (param "text" string) (result u32)
    (canon lift (core func $i "size") (memory $memory) (realloc $realloc)))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $i "add")))
  (func (export "size") (param "data" (list u8)) (result u32)
    (canon lift (core func $i "size") (memory $memory) (realloc $realloc)))
  (func (export "same") (param "data" (list u8)) (result (list u8))
    (canon lift (core func $i "same") (memory $memory) (realloc $realloc))))"""


_CALLS: Final[Mapping[str, tuple[str, object]]] = {
    _THERE: ("size", _PAYLOAD),
    _OUT: ("give", _SIZE),
    _BACK: ("same", _PAYLOAD),
    _RECORD: ("size-in", {"id": 1, "data": _PAYLOAD}),
    _TEXT: ("length", "a" * _SIZE),
    _HOST: ("there-and-back", _SIZE),
}
"""What is called in each case, and with what."""


def _cases(_effort: Effort) -> list[Case]:
    return [
        Case(_ALONE, _CONTENDERS),
        Case(_MANY, ("wasmpool",)),
        *(Case(name, ("wasmpool",)) for name in _CALLS),  # the wheel takes seconds for them
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
    if case in _CALLS:
        name, argument = _CALLS[case]
        return lambda: call(name, argument)
    return lambda: call("add", 1, 2)


@host_function("bench:host/bytes", "same")
def _same(_: object, data: bytes) -> bytes:
    return data


@asynccontextmanager
async def _open_pool() -> AsyncGenerator[Callable[..., Awaitable[Any]]]:
    component = await Component.compile(_COMPONENT, imports=[_same])
    async with open_pool(component, size=SIZE, min_size=SIZE) as pool:
        yield pool.call


@asynccontextmanager
async def _open_direct() -> AsyncGenerator[Callable[..., Awaitable[Any]]]:
    await trio.lowlevel.checkpoint()
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    component = wheel.Component(engine, _COMPONENT)
    linker = wheel.Linker(engine)
    linker.define_unknown_imports_as_traps(component)
    instance = linker.instantiate(store, component)
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
        Bound("of memcpy, list<u8> out", copies(_OUT), at_most=3),
        Bound("of memcpy, list<u8> in and out", copies(_BACK), at_most=6),
        Bound("of memcpy, record with a list<u8> in", copies(_RECORD), at_most=3),
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
        "A call of a component through the pool: `add(1, 2)`, and bytes and strings of 1 MiB,"
        " beside one copy of as many bytes between buffers that are in use already."
    ),
    objection=(
        "The guest's allocator always returns the same memory, which is in the cache. Strings in"
        " the results of host functions go by values, which is many times as slow."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "us a call")],
    bounds=_bounds,
    plots=_plots,
)
