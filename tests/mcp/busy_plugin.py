"""A plugin whose calls are long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from tests.mcp.scripted import SPIN, scripted, tool

if TYPE_CHECKING:
    import wasmpool

__all__ = ["BusyPlugin"]


class BusyPlugin:
    """A plugin with the tools `spin`, `wait`, `nap` and `say`.

    Attributes:
        waiting: how often `wait` has been called.
        go: set to let `wait` return.
        pool: its pool.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.go = trio.Event()
        self.pool: wasmpool.Pool

    async def load(self, loader: wasmpool.Loader) -> None:
        tools = [tool(name) for name in ("spin", "wait", "nap")]
        module = await scripted("busy", [*tools, tool("say", word="a word")], self._answer)
        self.pool = (await loader.load(module)).pool

    async def _answer(self, name: str, args: dict[str, Any]) -> str | None:
        if name == "spin":
            return SPIN
        if name == "wait":
            self.waiting += 1
            await self.go.wait()
        if name == "nap":
            await trio.sleep(0.05)
        return f"{name} {args}"

    def leased(self) -> int:
        """How many instances are in use."""
        return self.pool.statistics().leased
