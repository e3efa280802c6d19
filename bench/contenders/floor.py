"""One trio checkpoint and a bare fiber call through the C API, nothing around it.

No call that starts after a checkpoint, can be interrupted, and is driven from Python with ctypes,
can be faster. It is not usable: the arguments are written once, results and errors are ignored, the
epoch never advances, and the instance is not leased.

It binds the C functions itself, so that changes of wasmpool do not move the floor.
"""

from __future__ import annotations

import ctypes
import json
from contextlib import asynccontextmanager
from ctypes import addressof
from typing import TYPE_CHECKING, Any, Final

import trio
import wasmtime
from wasmtime import _ffi as ffi

from bench._guests import CALLS, EXAMPLE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from bench.contenders import Call, Execute

__all__ = ["Floor", "open_calls", "open_executes"]

_P: Final = ctypes.c_void_p
_MASK: Final = 0xFFFF_FFFF


def _c(prototype: Any, name: str, result: Any, *args: Any) -> Any:
    return prototype(result, *args)((name, ffi.dll))


_SIZE: Final = ctypes.c_size_t
_call_async: Final = _c(
    ctypes.PYFUNCTYPE, "wasmtime_func_call_async", _P, _P, _P, _P, _SIZE, _P, _SIZE, _P, _P
)
_instantiate = _c(
    ctypes.PYFUNCTYPE, "wasmtime_instance_pre_instantiate_async", _P, _P, _P, _P, _P, _P
)
# Both may run a guest (to delete a future unwinds it), so both release the interpreter's lock.
_poll: Final = _c(ctypes.CFUNCTYPE, "wasmtime_call_future_poll", ctypes.c_bool, _P)
_delete: Final = _c(ctypes.CFUNCTYPE, "wasmtime_call_future_delete", None, _P)
_set_deadline: Final = _c(
    ctypes.PYFUNCTYPE, "wasmtime_context_set_epoch_deadline", None, _P, ctypes.c_uint64
)
_yield_every: Final = _c(
    ctypes.PYFUNCTYPE,
    "wasmtime_context_epoch_deadline_async_yield_and_update",
    _P, _P, ctypes.c_uint64,
)  # fmt: skip
_memory_data: Final = _c(ctypes.PYFUNCTYPE, "wasmtime_memory_data", _P, _P, _P)


def _raw(managed: Any) -> int:
    return ctypes.cast(managed.ptr(), _P).value or 0


class Floor:
    """One instance, and the addresses of its exports."""

    def __init__(self, source: str | bytes) -> None:
        config = wasmtime.Config()
        config.epoch_interruption = True
        self._engine = wasmtime.Engine(config)
        module = wasmtime.Module(self._engine, source)
        linker = wasmtime.Linker(self._engine)
        linker.define_unknown_imports_as_traps(module)
        self._pre = linker.instantiate_pre(module)
        self._store = wasmtime.Store(self._engine)
        self.context = ctypes.cast(self._store._context(), _P).value or 0  # noqa: SLF001 - its address
        _set_deadline(self.context, 1)
        _yield_every(self.context, 1)
        self._errors = (_P * 2)()
        self._instantiate()

    def _instantiate(self) -> None:
        instance = ffi.wasmtime_instance_t()
        at = addressof(self._errors)
        future = _instantiate(_raw(self._pre), self.context, addressof(instance), at, at + 8)
        while not _poll(future):
            pass
        _delete(future)
        made: Any = wasmtime.Instance._from_raw(instance)  # noqa: SLF001 - made by the C API
        self.exports = made.exports(self._store)

    def bind(
        self, name: str, kinds: list[int], results: int
    ) -> tuple[Any, Any, Callable[[], None]]:
        """An export's arguments, results, and the bare call."""
        args = (ffi.wasmtime_val_t * len(kinds))()
        for value, kind in zip(args, kinds, strict=True):
            value.kind = kind
        out = (ffi.wasmtime_val_t * max(1, results))()
        at = addressof(self._errors)
        function = self.exports[name]._func  # noqa: SLF001 - its address
        constants = (
            self.context, addressof(function), addressof(args), len(kinds), addressof(out), results,
            at, at + 8,
        )  # fmt: skip
        call_async, poll, delete, keep = _call_async, _poll, _delete, (self, args, out, function)

        def call(_keep: Any = keep) -> None:
            future = call_async(*constants)
            poll(future)
            delete(future)

        return args, out, call

    def memory_at(self) -> int:
        """The current address of the memory."""
        memory = self.exports["memory"]._memory  # noqa: SLF001 - its address
        base: int = _memory_data(self.context, addressof(memory))
        return base


@asynccontextmanager
async def open_calls(_size: int) -> AsyncGenerator[Call]:
    """``add(1, 2)``, whatever the arguments."""
    args, _, add = Floor(CALLS).bind("add", [0, 0], 1)
    args[0].of.i32, args[1].of.i32 = 1, 2

    async def call(_name: str, *_args: int) -> None:
        await trio.lowlevel.checkpoint()
        add()

    yield call


@asynccontextmanager
async def open_executes(_size: int) -> AsyncGenerator[Execute]:
    """One crossing, with its JSON; nothing is freed."""
    floor = Floor(EXAMPLE.read_bytes())
    size, at, malloc = floor.bind("malloc", [0], 1)
    size[0].of.i32 = 1 << 16
    malloc()
    ptr = at[0].of.i32
    packed, result, run = floor.bind("execute", [1], 1)

    async def execute(tool: str, args: dict[str, Any]) -> Any:
        payload = json.dumps({"tool_name": tool, "args": args}).encode()
        await trio.lowlevel.checkpoint()
        ctypes.memmove(floor.memory_at() + ptr, payload, len(payload))
        packed[0].of.i64 = ptr << 32 | len(payload)
        run()
        region = result[0].of.i64
        reply = ctypes.string_at(floor.memory_at() + ((region >> 32) & _MASK), region & _MASK)
        return json.loads(reply)["data"]

    yield execute
