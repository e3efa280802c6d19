"""One instance behind a lock, and a worker thread for each call: what hosts do today."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from bench.contenders._wheel import Calls, Guest, PluginGuest, Plugins

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bench.contenders import Call, Execute

__all__ = ["open_calls", "open_executes"]


@asynccontextmanager
async def open_calls(_size: int) -> AsyncGenerator[Call]:
    """One instance, whatever ``size`` is."""
    guest = Guest(Calls(epochs=False))
    lock = trio.Lock()

    async def call(name: str, *args: int) -> Any:
        async with lock:
            return await trio.to_thread.run_sync(guest.call, name, *args)

    yield call


@asynccontextmanager
async def open_executes(_size: int) -> AsyncGenerator[Execute]:
    """The same for the plugin."""
    guest = PluginGuest(Plugins(epochs=False))
    lock = trio.Lock()

    async def execute(tool: str, args: dict[str, Any]) -> Any:
        async with lock:
            return await trio.to_thread.run_sync(guest.execute, tool, args)

    yield execute
