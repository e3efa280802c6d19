"""A plugin reaches no host by default, and those that its policy allows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.plugin.answers import data

from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.loader import open_loader
from wasmpool._plugin.options import PluginOptions
from wasmpool._plugin.plugin import open_plugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from wasmpool._plugin.tool_result import ToolResult

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

LOCAL = HttpPolicy(allow_private=True)


@pytest.mark.parametrize("opening", [PluginOptions(), PluginOptions(http=None)])
async def test_shut_by_default(example: Path, server: Any, opening: PluginOptions) -> None:
    """Without a policy a plugin reaches no host, and its author learns how to be let out."""
    credentials = {"base_url": server.url}
    async with (
        open_plugin(example, credentials=credentials, **opening) as opened,
        open_loader(**opening) as loader,
    ):
        loaded = await loader.load(example, credentials=credentials)
        for plugin in (opened, loaded):
            reply = data(await plugin.execute("fetch", {"path": "/echo"}))
            assert reply["status"] == 0
            assert "this plugin may reach no host" in reply["body"]
            assert "http=HttpPolicy(...)" in reply["body"]
    assert server.connections == 0


async def test_fetch(example: Path, server: Any) -> None:
    """The guest's request reaches the server with its token, and the reply the guest."""
    credentials = {"base_url": server.url, "api_key": "secret"}
    async with open_plugin(example, http=LOCAL, credentials=credentials) as plugin:
        reply = data(await plugin.execute("fetch", {"path": "/echo?a=1"}))
        seen = json.loads(reply["body"])
        assert (reply["status"], seen["target"]) == (200, "/echo?a=1")
        assert ["authorization", "Bearer secret"] in [[n.lower(), v] for n, v in seen["headers"]]


async def test_fetch_is_policed(example: Path, server: Any) -> None:
    """By default a plugin does not reach this machine; it is told why."""
    async with open_plugin(example, credentials={"base_url": server.url}) as plugin:
        reply = data(await plugin.execute("fetch", {"path": "/echo"}))
        assert reply["status"] == 0
        assert "forbidden by policy" in reply["body"]
    assert server.connections == 0


async def test_fetches_wait_together(example: Path, server: Any, until: Until) -> None:
    """32 executes that wait for the host wait at the same time, on 32 instances."""
    replies: list[Any] = []

    async def call() -> None:
        replies.append(data(await plugin.execute("fetch", {"path": "/hang"})))

    credentials = {"base_url": server.url}
    async with (
        open_plugin(example, size=32, http=LOCAL, credentials=credentials) as plugin,
        trio.open_nursery() as nursery,
    ):
        for _ in range(32):
            nursery.start_soon(call)
        await until(lambda: server.waiting == 32)
        server.release.set()
    assert [reply["body"] for reply in replies] == ["released"] * 32


@pytest.mark.alone
async def test_fetches_of_50_ms_overlap(example: Path, server: Any) -> None:
    """32 of them are done in a fraction of the 1.6 s that one instance behind a lock takes."""
    credentials = {"base_url": server.url}
    async with open_plugin(
        example, size=32, min_size=32, http=LOCAL, credentials=credentials
    ) as plugin:
        await plugin.execute("fetch", {"path": "/echo"})  # httpx2 is imported at the first one
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(plugin.execute, "fetch", {"path": "/wait?ms=50"})
        assert trio.current_time() - began < 0.8


async def test_a_cancelled_fetch_hangs_up(example: Path, server: Any, until: Until) -> None:
    """The request is cancelled with the task; another call of the plugin goes on."""
    results: list[ToolResult] = []

    async def call() -> None:
        results.append(await plugin.execute("fetch", {"path": "/hang"}))

    credentials = {"base_url": server.url}
    async with open_plugin(example, http=LOCAL, credentials=credentials) as plugin:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as cancelled:
                    cancelled.start_soon(call)
                    await until(lambda: server.waiting == 2)
                    scope.cancel()
            await until(lambda: server.gone == 1)
            server.release.set()
        assert len(results) == 1
        assert plugin.pool.statistics().retired["cancelled"] == 1


async def test_without_the_extra(
    example: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import still links, and answers status 0 with the extra's name."""

    def missing() -> Any:
        raise ModuleNotFoundError("No module named 'httpx2'", name="httpx2")

    monkeypatch.setattr("wasmpool._http.host_function._client_module", missing)
    async with open_plugin(example, http=LOCAL, credentials={"base_url": server.url}) as plugin:
        reply = data(await plugin.execute("fetch", {"path": "/echo"}))
    assert reply["status"] == 0
    assert 'pip install "wasmpool[plugin]"' in reply["body"]
