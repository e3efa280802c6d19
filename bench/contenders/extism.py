"""Extism's Python SDK: one plugin for each worker thread.

Its guests have another interface (input and output through host calls), so these are other guests
that do the same. Their echo does not parse its JSON, but the example plugin does.
"""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import extism  # type: ignore[import-untyped]  # it has no types
import trio
import wasmtime
from extism.extism import CompiledPlugin  # type: ignore[import-untyped]  # it has no types

from bench._guests import EXTISM

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from bench.contenders import Bytes, Call, Execute

__all__ = ["open_bytes", "open_calls", "open_executes"]


@extism.host_fn(name="pause", signature=([extism.ValType.I64], []))  # type: ignore[untyped-decorator]  # it has no types
def _pause(_plugin: Any, params: Any, _results: Any) -> None:
    time.sleep(params[0].value / 1_000)


class _Pool:
    def __init__(self, size: int) -> None:
        binary = bytes(wasmtime.wat2wasm(EXTISM))
        self._compiled = CompiledPlugin({"wasm": [{"data": binary}]})
        self._limiter = trio.CapacityLimiter(size)
        self._free = [extism.Plugin(self._compiled) for _ in range(size)]

    async def run(self, use: Callable[[Any], Any]) -> Any:
        return await trio.to_thread.run_sync(self._run, use, limiter=self._limiter)

    def _run(self, use: Callable[[Any], Any]) -> Any:
        plugin = self._free.pop()
        try:
            return use(plugin)
        finally:
            self._free.append(plugin)


@asynccontextmanager
async def open_bytes(size: int) -> AsyncGenerator[Bytes]:
    """``plugin.call``."""
    pool = _Pool(size)

    async def call(name: str, data: bytes) -> Any:
        return await pool.run(lambda plugin: plugin.call(name, data))

    yield call


@asynccontextmanager
async def open_calls(size: int) -> AsyncGenerator[Call]:
    """Numbers are passed as eight bytes each."""
    pool = _Pool(size)

    async def call(name: str, *args: int) -> Any:
        data = b"".join(each.to_bytes(8, "little") for each in args)
        return await pool.run(lambda plugin: plugin.call(name, data))

    yield call


@asynccontextmanager
async def open_executes(size: int) -> AsyncGenerator[Execute]:
    """``echo`` with JSON, and ``nap`` through a host function that sleeps."""
    pool = _Pool(size)

    def execute_in(plugin: Any, tool: str, args: dict[str, Any]) -> Any:
        if tool == "nap":
            return plugin.call("nap", args["ms"].to_bytes(8, "little"))
        return json.loads(plugin.call(tool, json.dumps(args).encode()))

    async def execute(tool: str, args: dict[str, Any]) -> Any:
        return await pool.run(lambda plugin: execute_in(plugin, tool, args))

    yield execute
