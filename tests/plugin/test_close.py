"""A plugin that closes tells its callers, and leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.plugin.answers import CLOSED, data

from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.errors import PluginClosed
from wasmpool._plugin.plugin import open_plugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from wasmpool._plugin.tool_result import ToolResult

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

LOCAL = HttpPolicy(allow_private=True)


async def test_after_close(example: Path) -> None:
    """Each member has the value of the contract; closing again returns at once."""
    async with open_plugin(example, credentials={"base_url": "http://x"}) as plugin:
        await plugin.aclose()
        assert_closed = (plugin.name, plugin.tools, plugin.metadata, plugin.compact_specs)
        assert assert_closed == ("unknown", (), None, {})
        assert await plugin.execute("echo", {"message": 1}) == CLOSED
        assert await plugin.healthy() is False
        with pytest.raises(PluginClosed, match="'example' is closed"):
            await plugin.configure({"base_url": "http://y"})
        with pytest.raises(PluginClosed, match="'example' is closed"):
            await plugin.reload(example)
        await plugin.aclose()
    assert (plugin.name, plugin.tools, plugin.metadata, plugin.compact_specs) == assert_closed
    assert repr(plugin) == "<Plugin 'unknown' closed gen=1: 0 tools>"


async def test_close_under_way(example: Path) -> None:
    """8 tasks, 50 executes each, race a close: a result or the closed result, nothing else."""
    results: list[ToolResult] = []

    async def caller(task: int) -> None:
        for call in range(50):
            results.append(await plugin.execute("echo", {"message": [task, call]}))
            if len(results) == 100:
                closing.set()

    closing = trio.Event()
    async with open_plugin(example, size=4) as plugin, trio.open_nursery() as nursery:
        for task in range(8):
            nursery.start_soon(caller, task)
        await closing.wait()
        await plugin.aclose()
    assert len(results) == 400
    served = [result for result in results if result != CLOSED]
    assert len(served) >= 100
    assert all("echo" in data(result) for result in served)


async def test_calls_under_way_complete_and_waiting_ones_are_told(
    example: Path, server: Any, until: Until
) -> None:
    """At a close the call that runs has its result, the one in line the closed result."""
    results: list[ToolResult] = []

    async def call() -> None:
        results.append(await plugin.execute("fetch", {"path": "/hang"}))

    credentials = {"base_url": server.url}
    async with (
        open_plugin(example, size=1, http=LOCAL, credentials=credentials) as plugin,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(call)
        await until(lambda: server.waiting == 1)
        nursery.start_soon(call)
        await until(lambda: plugin.pool.statistics().waiting == 1)
        nursery.start_soon(plugin.aclose)
        await until(lambda: len(results) == 1)
        assert results == [CLOSED]
        server.release.set()
    assert data(results[1])["body"] == "released"


async def test_a_call_that_is_revoked_at_the_close_is_told(
    example: Path, server: Any, until: Until
) -> None:
    """Without grace, a call under way has the closed result too."""
    results: list[ToolResult] = []

    async def call() -> None:
        results.append(await plugin.execute("fetch", {"path": "/hang"}))

    credentials = {"base_url": server.url}
    async with (
        open_plugin(example, http=LOCAL, credentials=credentials) as plugin,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(call)
        await until(lambda: server.waiting == 1)
        await plugin.aclose(grace=0)
    assert results == [CLOSED]
