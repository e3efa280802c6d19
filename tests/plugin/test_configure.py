"""A plugin in service takes new credentials, or goes on with the old ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.plugin.answers import data

from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.errors import ConfigureError, PluginClosed
from wasmpool._plugin.plugin import open_plugin
from wasmpool._plugin.tool_result import ToolResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

LOCAL = HttpPolicy(allow_private=True)


async def test_configure(wat: Callable[..., str]) -> None:
    """Every call that begins after it sees the new credentials."""
    async with open_plugin(wat(), credentials={"k": "old"}, size=3) as plugin:
        assert await plugin.configure({"k": "new"}) == 2
        for _ in range(5):
            assert await plugin.execute("credentials") == ToolResult('{"k":"new"}')
        assert plugin.pool.generation == 2


async def test_configure_that_is_refused(wat: Callable[..., str]) -> None:
    """The guest's words come out, and nothing has changed."""
    async with open_plugin(wat(), credentials={"k": "old"}) as plugin:
        with pytest.raises(ConfigureError, match="refused") as caught:
            await plugin.configure({"refuse": "me"})
        assert caught.value.text == "refused"
        assert await plugin.execute("credentials") == ToolResult('{"k":"old"}')
        assert plugin.pool.generation == 1


async def test_configure_of_a_plugin_that_closes_meanwhile(nursery: trio.Nursery) -> None:
    """It ends as soon as the close begins, and says so; a cancel ends it as soon."""
    text = """(module (memory (export "memory") 1)
         (func (export "malloc") (param i32) (result i32) i32.const 1024)
         (data (i32.const 8) "slow") (data (i32.const 16) "{\\"abi_version\\":1}")
         (func (export "name") (result i64) i64.const 0x800000004)
         (func (export "metadata") (result i64) i64.const 0x1000000011)
         (func (export "tools") (result i64) i64.const 0)
         (func (export "configure") (param i64) (result i64)
           (loop $for_ever (br_if $for_ever (i32.gt_u (i32.wrap_i64 (local.get 0)) (i32.const 2))))
           i64.const 0)
         (func (export "execute") (param i64) (result i64) i64.const 0)
         (func (export "healthy") (result i32) i32.const 1))"""
    async with open_plugin(text, credentials={}) as plugin:
        with trio.move_on_after(0.05) as scope:
            await plugin.configure({"spin": "for ever"})
        assert scope.cancelled_caught
        assert await plugin.execute("any") == ToolResult()

        async def close() -> None:
            await trio.sleep(0.05)
            await plugin.aclose()

        nursery.start_soon(close)
        with pytest.raises(PluginClosed, match="plugin 'slow' is closed"), trio.fail_after(60):
            await plugin.configure({"spin": "for ever"})


async def test_configure_under_load(wat: Callable[..., str], until: Until) -> None:
    """32 tasks see the old credentials whole or the new ones, and none fails."""
    seen: set[str] = set()
    done = False

    async def caller() -> None:
        while not done:
            seen.add((await plugin.execute("credentials")).data)

    values = [f'{{"k":"{str(turn) * 100}"}}' for turn in range(5)]
    async with (
        open_plugin(wat(), credentials=json.loads(values[0]), size=4) as plugin,
        trio.open_nursery() as nursery,
    ):
        for _ in range(32):
            nursery.start_soon(caller)
        for value in values[1:]:
            await trio.sleep(0.02)
            await plugin.configure(json.loads(value))
        await until(lambda: values[-1] in seen)
        done = True
    assert seen <= set(values)
    assert values[-1] in seen


async def test_configure_returns_at_the_switch(example: Path, server: Any, until: Until) -> None:
    """Calls under way finish with the credentials that they began with; nobody waits for them."""
    results: list[Any] = []

    async def call() -> None:
        results.append(data(await plugin.execute("fetch", {"path": "/hang"})))

    async with (
        open_plugin(example, http=LOCAL, credentials={"base_url": server.url}) as plugin,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(call)
        await until(lambda: server.waiting == 1)
        await plugin.configure({"base_url": f"{server.url}/nowhere"})
        assert results == []
        server.release.set()
    assert results == [{"status": 200, "body": "released"}]
