"""This project, through its public API, with its defaults."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench._guests import CALLS, EXAMPLE
from wasmpool import Module, open_plugin, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bench.contenders import Call, Execute

__all__ = ["open_calls", "open_executes"]


@asynccontextmanager
async def open_calls(size: int) -> AsyncGenerator[Call]:
    """``pool.call``."""
    module = await Module.compile(CALLS)
    async with open_pool(module, size=size) as pool:
        yield pool.call


@asynccontextmanager
async def open_executes(size: int) -> AsyncGenerator[Execute]:
    """``plugin.execute``."""
    async with open_plugin(EXAMPLE, size=size) as plugin:

        async def execute(tool: str, args: dict[str, Any]) -> Any:
            result = await plugin.execute(tool, args)
            return result.data

        yield execute
