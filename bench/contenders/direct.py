"""wasmtime-py's own synchronous call in a loop: no async, no pool, and it cannot be stopped."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench.contenders._wheel import Calls, Guest, PluginGuest, Plugins

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bench.contenders import Call, Execute

__all__ = ["open_calls", "open_executes"]


@asynccontextmanager
async def open_calls(_size: int) -> AsyncGenerator[Call]:
    """One instance, called directly on the loop."""
    guest = Guest(Calls(epochs=False))

    async def call(name: str, *args: int) -> Any:
        return guest.call(name, *args)

    yield call


@asynccontextmanager
async def open_executes(_size: int) -> AsyncGenerator[Execute]:
    """The same for the plugin."""
    guest = PluginGuest(Plugins(epochs=False))

    async def execute(tool: str, args: dict[str, Any]) -> Any:
        return guest.execute(tool, args)

    yield execute
