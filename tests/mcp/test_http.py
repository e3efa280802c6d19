"""Clients over HTTP: the official one with both revisions of the protocol, and some by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from mcp import Client
from tests.mcp.scripted import SPIN, scripted, tool
from tests.mcp.serving import call_request, over_http, post

import wasmpool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
# The official client's HTTP library leaves its generators to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator .http(x|core)2:ResourceWarning")
both_revisions = pytest.mark.parametrize("mode", REVISIONS)


class Plugin:
    """A plugin whose tool `wait` waits until it is let go, and whose tool `spin` computes."""

    def __init__(self) -> None:
        self.waiting = 0
        self.go = trio.Event()
        self.pool: wasmpool.Pool

    async def answer(self, name: str, args: dict[str, Any]) -> str | None:
        if name == "spin":
            return SPIN
        if name == "wait":
            self.waiting += 1
            await self.go.wait()
        if name == "nap":
            await trio.sleep(0.05)
        return f"{name} {args}"

    def leased(self) -> int:
        return self.pool.statistics().leased


@pytest.fixture
async def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
async def busy(plugin: Plugin) -> AsyncGenerator[wasmpool.Loader]:
    """A loader with the plugin, of 32 instances."""
    tools = [tool(name) for name in ("spin", "wait", "nap")]
    async with wasmpool.open_loader(size=32, grace=0) as loader:
        module = await scripted("busy", [*tools, tool("say", word="a word")], plugin.answer)
        plugin.pool = (await loader.load(module)).pool
        yield loader


@both_revisions
async def test_the_official_client(busy: wasmpool.Loader, mode: str) -> None:
    """It lists the tools and calls one; what is wrong with a call is the call's result."""
    async with over_http(busy) as server, Client(server.url, mode=mode) as client:
        assert client.protocol_version == REVISIONS[mode]
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["nap", "say", "spin", "wait"]
        result = await client.call_tool("say", {"word": "hello"})
        assert (result.is_error, result.content[0].text) == (False, "say {'word': 'hello'}")
        for name, arguments, problem in (
            ("sai", {}, "there is no tool 'sai': did you mean 'say'?"),
            ("say", {}, "the tool 'say' was not called: the argument 'word' is missing"),
            ("say", {"wort": "x"}, "there is no argument 'wort': did you mean 'word'?"),
            ("say", {"word": 7}, "the argument 'word' is wrong: 7 is not of type 'string'"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert problem in result.content[0].text


@both_revisions
async def test_calls_overlap(busy: wasmpool.Loader, mode: str) -> None:
    """32 calls of one client wait at the same time."""
    async with over_http(busy) as server, Client(server.url, mode=mode) as client:
        await client.call_tool("nap", {})
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(client.call_tool, "nap", {})
        print(f"{mode}: 32 calls of 50 ms in {trio.current_time() - began:.3f} s")
        assert trio.current_time() - began < 32 * 0.05


@both_revisions
async def test_a_cancelled_call_frees_its_instance(
    busy: wasmpool.Loader, plugin: Plugin, mode: str, until: Until
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
    busy: wasmpool.Loader, plugin: Plugin, mode: str, until: Until
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
    busy: wasmpool.Loader, plugin: Plugin, tool_name: str, until: Until
) -> None:
    """Also one that a client by hand closes without a word."""
    async with over_http(busy) as server:
        async with await server.connect() as stream:
            await stream.send_all(post(call_request(tool_name, {})))
            await until(lambda: plugin.leased() == 1)
        await until(lambda: plugin.leased() == 0)


@both_revisions
async def test_a_shutdown_waits_for_calls(
    busy: wasmpool.Loader, plugin: Plugin, mode: str, until: Until
) -> None:
    """Those under way are answered, no connection is accepted any more, and the server ends."""
    results: list[str] = []
    async with over_http(busy, grace=60) as server, Client(server.url, mode=mode) as client:

        async def call() -> None:
            results.append((await client.call_tool("wait", {})).content[0].text)

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
    busy: wasmpool.Loader, plugin: Plugin, until: Until
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
