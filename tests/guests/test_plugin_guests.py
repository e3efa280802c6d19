"""The plugins of the tests follow the contract, each in its own style, and do what they are for."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from wasmpool_host import (
    Caller,
    FunctionType,
    GuestTrap,
    HostFunction,
    Instance,
    Module,
    host_function,
)

HERE = Path(__file__).parent
REQUIRED = {"name", "metadata", "tools", "configure", "execute", "healthy"}
WAT = (HERE / "wat_plugin.wat").read_text(encoding="utf-8")


@host_function("env", "host_http_request", params=("i64",), results=("i64",))
async def answer_with_the_request(caller: Caller, packed: int) -> int:
    request = json.loads(caller.read(packed))
    return await caller.reply(json.dumps({"status": 200, "body": json.dumps(request)}).encode())


@host_function("env", "host_log", params=("i32", "i32"), results=())
def drop_the_line(caller: Caller, ptr: int, size: int) -> None:
    caller.memory.read(ptr, size)


IMPORTS: list[HostFunction] = [answer_with_the_request, drop_the_line]


async def start(source: Path | str, cache: Path | None = None) -> Instance:
    return await (await Module.compile(source, imports=IMPORTS, cache=cache)).instantiate()


@pytest.fixture(params=["go_plugin.wasm", "leaky.wasm", "wat_plugin.wat"])
async def plugin(request: pytest.FixtureRequest, cache: Path) -> AsyncGenerator[Instance, None]:
    instance = await start(HERE / request.param, cache)
    yield instance
    await instance.aclose()


@pytest.fixture
async def wat() -> AsyncGenerator[Instance, None]:
    instance = await start(WAT)
    yield instance
    await instance.aclose()


async def execute(plugin: Instance, tool: str, **args: object) -> dict[str, Any]:
    request = json.dumps({"tool_name": tool, "args": args}).encode()
    answer = json.loads(await plugin.exchange("execute", request))
    assert isinstance(answer, dict)
    return answer


async def test_each_describes_itself(plugin: Instance) -> None:
    """Name, metadata and tools are of the shapes of the contract."""
    name = (await plugin.exchange("name")).decode()
    metadata = json.loads(await plugin.exchange("metadata"))
    assert (metadata["name"], metadata["abi_version"]) == (name, 1)
    tools = json.loads(await plugin.exchange("tools"))
    assert "echo" in [tool["name"] for tool in tools]
    assert all(isinstance(tool["parameters"], dict) for tool in tools)
    assert await plugin.call("healthy") == 1


async def test_each_echoes(plugin: Instance) -> None:
    """The message comes back in data; an unknown tool is an error result."""
    message = 'q"\\ caf\u00e9\n'
    echoed = json.loads((await execute(plugin, "echo", message=message))["data"])
    assert message in (echoed.get("echo"), echoed.get("args", {}).get("message"))
    assert (await execute(plugin, "sing"))["is_error"] is True


@pytest.mark.parametrize("guest", ["go_plugin.wasm", "leaky.wasm"])
async def test_fetch_asks_the_host(guest: str, cache: Path) -> None:
    """base_url, path and api_key of the one configured reach the host."""
    plugin = await start(HERE / guest, cache)
    assert (await execute(plugin, "fetch", path="/p"))["is_error"] is True
    assert await plugin.exchange("configure", b"{}") != b""
    assert await plugin.exchange("configure", b'{"base_url":"http://h","api_key":"k"}') == b""
    reply = json.loads((await execute(plugin, "fetch", path="/p"))["data"])
    assert json.loads(reply["body"]) == {
        "method": "GET",
        "url": "http://h/p",
        "headers": {"Authorization": "Bearer k"},
    }
    await plugin.aclose()


async def test_go_counts_and_sleeps(cache: Path) -> None:
    """Go's own goroutines and timers run inside a call."""
    plugin = await start(HERE / "go_plugin.wasm", cache)
    counted = json.loads((await execute(plugin, "word_count", text="a b\ncaf\u00e9"))["data"])
    assert counted == {"lines": 2, "words": 3, "characters": 8}
    assert json.loads((await execute(plugin, "nap", ms=1))["data"]) == {"slept": 1}
    assert json.loads((await execute(plugin, "sleep", seconds=0.001))["data"]) == {"slept": 0.001}
    await plugin.aclose()


async def test_free_of_leaky_traps() -> None:
    """The trap is the guest's own, and poisons an instance whose host calls free by hand."""
    plugin = await start(HERE / "leaky.wasm")
    ptr = await plugin.call("malloc", 10)
    assert isinstance(ptr, int)
    with pytest.raises(GuestTrap):
        await plugin.call("free", ptr)
    await plugin.aclose()


async def test_replies_to_leaky_leak_twice_their_size() -> None:
    """A hundred replies of a hundred kilobytes take at least twenty megabytes."""
    plugin = await start(HERE / "leaky.wasm")
    assert await plugin.exchange("configure", b'{"base_url":"http://h"}') == b""
    before = plugin.memory.size
    for _ in range(100):
        await execute(plugin, "fetch", path="x" * 100_000)
    assert plugin.memory.size - before >= 100 * 2 * 100_000
    await plugin.aclose()


async def test_wat_plugin_answers_in_each_of_its_ways(wat: Instance) -> None:
    """Data, the request's own memory, static text that is no JSON, and what was configured."""
    assert await execute(wat, "version") == {"data": "v1"}
    assert await execute(wat, "credentials") == {"data": ""}
    assert await wat.exchange("configure", b'{"a": "b"}') == b""
    assert await wat.exchange("configure", b'{"refuse": ""}') == b"refused"
    assert await execute(wat, "credentials") == {"data": '{"a": "b"}'}
    request = b'{"tool_name": "overlap", "args": {}}'
    assert await wat.exchange("execute", request) == request
    assert await wat.exchange("execute", b'{"tool_name": "plain"}') == b"plain text"
    with pytest.raises(GuestTrap):
        await execute(wat, "crash")


async def test_wat_plugin_takes_no_more_memory_with_each_call(wat: Instance) -> None:
    """Blocks that come back are given out again."""
    before = wat.memory.size
    for k in range(3000):
        await execute(wat, "echo", message="x" * (k % 1000))
    assert wat.memory.size == before


async def test_wat_plugin_has_variants() -> None:
    """Replacing text makes another version, another ABI, or one without an export."""
    second = await start(WAT.replace("v1", "v2"))
    assert await execute(second, "version") == {"data": "v2"}
    assert json.loads(await second.exchange("metadata"))["version"] == "v2"
    await second.aclose()
    other = await start(WAT.replace(r"\"abi_version\":1", r"\"abi_version\":2"))
    assert json.loads(await other.exchange("metadata"))["abi_version"] == 2
    await other.aclose()
    for export in REQUIRED:
        lacking = await Module.compile(WAT.replace(f'(export "{export}")', ""))
        names = {k for k, v in lacking.exports.items() if isinstance(v, FunctionType)}
        assert REQUIRED - names == {export}
    with pytest.raises(GuestTrap):
        await start(WAT.replace(";;start", "(start $trap)"))
