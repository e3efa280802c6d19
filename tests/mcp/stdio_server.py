"""A program that serves the example plugin over its standard streams."""

from __future__ import annotations

import sys

import trio

import wasmpool
from wasmpool.mcp import serve_stdio


async def main() -> None:
    """Load the plugins that the arguments name, and serve them."""
    cache, *plugins = sys.argv[1:]
    async with wasmpool.open_loader(size=32, cache=cache, grace=0) as loader:
        for plugin in plugins:
            await loader.load(plugin)
        print("this belongs to standard output, before the server has it", flush=True)
        await serve_stdio(loader)


trio.run(main)
