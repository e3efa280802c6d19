"""Clients over HTTP: the official one with both revisions of the protocol, and some by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from mcp import Client
from tests.mcp.serving import call_request, over_http, post
from tests.mcp.text_of import text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.mcp.busy_plugin import BusyPlugin

    import wasmpool

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
# The official client's HTTP library leaves its generators to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator .http(x|core)2:ResourceWarning")
both_revisions = pytest.mark.parametrize("mode", REVISIONS)


@both_revisions
async def test_the_official_client(busy: wasmpool.Loader, mode: str) -> None:
    """It lists the tools and calls one; what is wrong with a call is the call's result."""
    async with over_http(busy) as server, Client(server.url, mode=mode) as client:
        assert client.protocol_version == REVISIONS[mode]
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["nap", "say", "spin", "wait"]
        result = await client.call_tool("say", {"word": "hello"})
        assert (result.is_error, text_of(result)) == (False, "say {'word': 'hello'}")
        for name, arguments, problem in (
            ("sai", {}, "there is no tool 'sai': did you mean 'say'?"),
            ("say", {}, "the tool 'say' was not called: the argument 'word' is missing"),
            ("say", {"wort": "x"}, "there is no argument 'wort': did you mean 'word'?"),
            ("say", {"word": 7}, "the argument 'word' is wrong: 7 is not of type 'string'"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert problem in text_of(result)


@both_revisions
async def test_calls_overlap(
    busy: wasmpool.Loader, plugin: BusyPlugin, mode: str, until: Until
) -> None:
    """32 calls of one client wait at the same time."""
    async with (
        over_http(busy) as server,
        Client(server.url, mode=mode) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(32):
            nursery.start_soon(client.call_tool, "wait", {})
        await until(lambda: plugin.leased() == 32)
        plugin.go.set()


@both_revisions
async def test_a_cancelled_call_frees_its_instance(
    busy: wasmpool.Loader, plugin: BusyPlugin, mode: str, until: Until
) -> None:
    """The guest spins; the session goes on."""
    async with over_http(busy) as server, Client(server.url, mode=mode) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.call_tool, "spin", {})
            await until(lambda: plugin.leased() == 1)
            nursery.cancel_scope.cancel()
            began = trio.current_time()
        await until(lambda: plugin.leased() == 0)
        print(f"{mode}: the instance was free after {trio.current_time() - began:.3f} s")
        assert not (await client.call_tool("nap", {})).is_error


@both_revisions
async def test_a_client_that_is_gone_ends_its_calls(
    busy: wasmpool.Loader, plugin: BusyPlugin, mode: str, until: Until
) -> None:
    """Its connections are closed in the middle of a call, and it says no word about it."""
    async with over_http(busy) as server:
        with trio.CancelScope() as scope:
            async with Client(server.url, mode=mode) as client, trio.open_nursery() as nursery:
                nursery.start_soon(client.call_tool, "spin", {})
                nursery.start_soon(client.call_tool, "wait", {})
                await until(lambda: plugin.leased() == 2)
                scope.cancel()
        await until(lambda: plugin.leased() == 0)


@pytest.mark.parametrize("tool_name", ["spin", "wait"])
async def test_a_closed_connection_ends_its_call(
    busy: wasmpool.Loader, plugin: BusyPlugin, tool_name: str, until: Until
) -> None:
    """Also one that a client by hand closes without a word."""
    async with over_http(busy) as server:
        async with await server.connect() as stream:
            await stream.send_all(post(call_request(tool_name, {})))
            await until(lambda: plugin.leased() == 1)
        await until(lambda: plugin.leased() == 0)


@both_revisions
async def test_a_shutdown_waits_for_calls(
    busy: wasmpool.Loader, plugin: BusyPlugin, mode: str, until: Until
) -> None:
    """Those under way are answered, no connection is accepted any more, and the server ends."""
    results: list[str] = []
    async with over_http(busy, grace=60) as server, Client(server.url, mode=mode) as client:

        async def call() -> None:
            results.append(text_of(await client.call_tool("wait", {})))

        await client.list_tools()  # otherwise it would list them after the call
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(call)
            await until(lambda: plugin.waiting == 8)
            server.shutdown.set()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(OSError, match="attempts to connect"):
                await server.connect()
            plugin.go.set()
        await server.ended.wait()
    assert results == ["wait {}"] * 8


async def test_a_shutdown_without_grace_ends_calls(
    busy: wasmpool.Loader, plugin: BusyPlugin, until: Until
) -> None:
    """Each is answered by a sentence all the same."""
    async with over_http(busy) as server, await server.connect() as stream:
        await stream.send_all(post(call_request("spin", {})))
        await until(lambda: plugin.leased() == 1)
        server.shutdown.set()
        reply = b"".join([part async for part in stream])
    assert b"200" in reply.splitlines()[0]
    assert b"the server has shut down before the call ended" in reply
    assert plugin.leased() == 0


@both_revisions
async def test_a_change_of_the_list(busy: wasmpool.Loader, mode: str, example: Path) -> None:
    """The official client is told of it, by a notification or by a subscription."""
    told = trio.Event()

    async def hear(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            told.set()

    async with (
        over_http(busy) as server,
        Client(server.url, mode=mode, message_handler=hear) as client,
    ):
        await client.list_tools()
        if mode == "legacy":
            await _load_until_told(busy, example, told)
            return
        async with client.listen(tools_list_changed=True) as events:
            await busy.load(example)
            event = await anext(aiter(events))
            assert type(event).__name__ == "ToolsListChanged"


async def _load_until_told(loader: wasmpool.Loader, example: Path, told: trio.Event) -> None:
    """The client opens its stream for notifications in the background: nothing says when."""
    with trio.fail_after(60):
        while not told.is_set():
            await loader.load(example)
            await trio.sleep(0.05)
            await loader.unload("example")
