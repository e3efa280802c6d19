"""Guests through wasmtime-py's public API, as its documentation shows."""

from __future__ import annotations

import json
from typing import Any, Final

import wasmtime

from bench._guests import CALLS, EXAMPLE

__all__ = ["Calls", "Guest", "PluginGuest", "Plugins"]

_MASK: Final = 0xFFFF_FFFF
_FAR: Final = 1 << 40


def _engine(*, epochs: bool) -> wasmtime.Engine:
    config = wasmtime.Config()
    config.epoch_interruption = epochs
    return wasmtime.Engine(config)


class Calls:
    """The module of plain calls, compiled and linked."""

    def __init__(self, *, epochs: bool) -> None:
        self.epochs = epochs
        self.engine = _engine(epochs=epochs)
        self.linker = wasmtime.Linker(self.engine)
        self.module = wasmtime.Module(self.engine, CALLS)

    def store(self) -> wasmtime.Store:
        """For one instance."""
        return wasmtime.Store(self.engine)


class Plugins:
    """The example plugin, compiled and linked, with the wheel's own WASI."""

    def __init__(self, *, epochs: bool) -> None:
        self.epochs = epochs
        self.engine = _engine(epochs=epochs)
        self.module = wasmtime.Module(self.engine, EXAMPLE.read_bytes())
        self.linker = wasmtime.Linker(self.engine)
        self.linker.define_wasi()
        i32, i64 = wasmtime.ValType.i32(), wasmtime.ValType.i64()
        self.linker.define_func("env", "host_log", wasmtime.FuncType([i32, i32], []), _log)
        self.linker.define_func(
            "env", "host_http_request", wasmtime.FuncType([i64], [i64]), _request
        )

    def store(self) -> wasmtime.Store:
        """For one instance."""
        store = wasmtime.Store(self.engine)
        store.set_wasi(wasmtime.WasiConfig())
        return store


def _log(_ptr: int, _size: int) -> None:
    """Ignore the message."""


def _request(_packed: int) -> int:
    return 0


class Guest:
    """One instance."""

    def __init__(self, source: Calls | Plugins) -> None:
        self.store = source.store()
        self._epochs = source.epochs
        self.allow_ticks()
        instance = source.linker.instantiate(self.store, source.module)
        self._exports: dict[str, Any] = dict(instance.exports(self.store).items())
        initialize = self._exports.get("_initialize")
        if initialize is not None:
            initialize(self.store)

    def allow_ticks(self, ticks: int = _FAR) -> None:
        """Set how many ticks of the epoch a call may take before it traps."""
        if self._epochs:
            self.store.set_epoch_deadline(ticks)

    def call(self, name: str, *args: int) -> Any:
        """Call an export; the exports were looked up once."""
        return self._exports[name](self.store, *args)


class PluginGuest(Guest):
    """One instance of the example plugin."""

    def execute(self, tool: str, args: dict[str, Any]) -> Any:
        """Run a tool through the packed ABI: malloc, write, call, read, free."""
        exports, store = self._exports, self.store
        payload = json.dumps({"tool_name": tool, "args": args}).encode()
        ptr = exports["malloc"](store, len(payload))
        exports["memory"].write(store, payload, ptr)
        packed = exports["execute"](store, (ptr << 32) | len(payload))
        at, size = (packed >> 32) & _MASK, packed & _MASK
        reply = exports["memory"].read(store, at, at + size)
        exports["free"](store, at)
        exports["free"](store, ptr)
        return json.loads(reply)["data"]
