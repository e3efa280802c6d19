"""`open_loader` and `Loader`, on real guests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool._errors import PoolUnavailable, ReloadFailed
from wasmpool._http_policy import HttpPolicy
from wasmpool._loader import open_loader
from wasmpool._metadata import ToolResult
from wasmpool._plugin_errors import AbiError, ConfigureError, PluginClosed
from wasmpool_host import CompileError, GuestTrap, LinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

CLOSED = ToolResult("wasm: module closed", is_error=True)
LOCAL = HttpPolicy(allow_private=True)


async def test_load_by_its_own_name(example: Path, wat: Callable[..., str]) -> None:
    """Plugins are found by the name that they give themselves, and by their tools."""
    async with open_loader() as loader:
        first = await loader.load(example)
        second = await loader.load(wat())
        assert dict(loader.plugins) == {"example": first, "wat_plugin": second}
        assert loader.find_tool("word_count") is first
        assert loader.find_tool("overlap") is second
        assert loader.find_tool("no such tool") is None
        assert repr(loader) == "<Loader open: 2 plugins>"
    assert loader.plugins == {}
    assert (first.name, second.closed) == ("unknown", True)
    assert loader.find_tool("word_count") is None


async def test_load_by_a_given_name(example: Path) -> None:
    """One file under two names is two plugins."""
    async with open_loader() as loader:
        one = await loader.load(example, name="one")
        two = await loader.load(example, name="two")
        assert (one.name, two.name) == ("one", "two")
        assert one is not two


async def test_the_mapping_is_a_view(example: Path) -> None:
    """It is live, and read-only."""
    async with open_loader() as loader:
        view = loader.plugins
        await loader.load(example)
        assert list(view) == ["example"]
        with pytest.raises(TypeError):
            view["other"] = view["example"]  # type: ignore[index]


@pytest.mark.parametrize("name", [None, "wat_plugin"])
async def test_load_of_a_name_that_is_there(wat: Callable[..., str], name: str | None) -> None:
    """It is reloaded in place: the object stays the same, the answers are the new ones."""
    async with open_loader() as loader:
        plugin = await loader.load(wat(), credentials={"k": "v"})
        assert await loader.load(wat(version="v2"), name) is plugin
        assert await plugin.execute("version") == ToolResult("v2")
        assert await plugin.execute("credentials") == ToolResult('{"k":"v"}')
        assert await loader.load(wat(version="v2"), name, {"k": "w"}) is plugin
        assert await plugin.execute("credentials") == ToolResult('{"k":"w"}')
        assert plugin.pool.generation == 3
        assert await loader.load(wat(version="v2"), name) is plugin
        assert plugin.pool.generation == 3


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"abi": "2"}, AbiError),
        ({"without": "execute"}, AbiError),
        ({"start": "(start $trap)"}, GuestTrap),
        ({"replace": "no module"}, CompileError),
        ({"replace": '(module (import "a" "b" (func)))'}, LinkError),
    ],
)
async def test_reload_that_fails(
    wat: Callable[..., str], tmp_path: Path, change: dict[str, str], cause: type[Exception]
) -> None:
    """`ReloadFailed` with the cause; the old one serves as before."""
    file = tmp_path / "plugin.wat"
    file.write_text(change.get("replace") or wat(version="v2", **change))
    async with open_loader() as loader:
        plugin = await loader.load(wat())
        with pytest.raises(ReloadFailed) as caught:
            await loader.load(file, "wat_plugin")
        assert isinstance(caught.value.__cause__, cause)
        assert loader.plugins["wat_plugin"] is plugin
        assert await plugin.execute("version") == ToolResult("v1")


async def test_reload_that_refuses_its_credentials(wat: Callable[..., str]) -> None:
    """Likewise, with the guest's words."""
    async with open_loader() as loader:
        plugin = await loader.load(wat(), credentials={"k": "v"})
        with pytest.raises(ReloadFailed) as caught:
            await loader.load(wat(version="v2"), "wat_plugin", {"refuse": "me"})
        assert isinstance(caught.value.__cause__, ConfigureError)
        assert await plugin.execute("version") == ToolResult("v1")
        assert await plugin.execute("credentials") == ToolResult('{"k":"v"}')


@pytest.mark.parametrize("name", [None, "mine"])
async def test_first_loads_that_fail(wat: Callable[..., str], name: str | None) -> None:
    """They raise what went wrong as itself, with its cause, and leave nothing behind."""
    async with open_loader() as loader:
        with pytest.raises(CompileError):
            await loader.load(b"no wasm", name)
        with pytest.raises(LinkError):
            await loader.load('(module (import "a" "b" (func)))', name)
        with pytest.raises(AbiError, match=r"^tools \(\) -> \(i64\) is missing"):
            await loader.load(wat(without="tools"), name)
        with pytest.raises(AbiError, match=r"^ABI version 2"):
            await loader.load(wat(abi="2"), name)
        with pytest.raises(ConfigureError, match="refused"):
            await loader.load(wat(), name, {"refuse": "me"})
        assert loader.plugins == {}
        with pytest.raises(PoolUnavailable) as caught:
            await loader.load(wat(start="(start $trap)"), name)
        assert isinstance(caught.value.__cause__, GuestTrap)
        await loader.load(wat(), name)


async def test_unload(example: Path) -> None:
    """The plugin is gone for who looks and closed for who has it; its name may come back."""
    async with open_loader() as loader:
        plugin = await loader.load(example)
        await loader.unload("example")
        assert loader.plugins == {}
        assert await plugin.execute("echo", {"message": 1}) == CLOSED
        with pytest.raises(KeyError, match="no plugin 'example' is loaded; there are: none"):
            await loader.unload("example")
        assert await loader.load(example) is not plugin


async def test_unload_while_a_call_waits(example: Path, server: Any, until: Until) -> None:
    """The call has its reply; meanwhile the loader loads, also the same name, and unloads."""
    results: list[ToolResult] = []

    async def call() -> None:
        results.append(await plugin.execute("fetch", {"path": "/hang"}))

    async def unload() -> None:
        await loader.unload("example")
        assert results

    async with open_loader(http=LOCAL) as loader, trio.open_nursery() as nursery:
        plugin = await loader.load(example, credentials={"base_url": server.url})
        nursery.start_soon(call)
        await until(lambda: server.waiting == 1)
        nursery.start_soon(unload)
        await until(lambda: plugin.closed)
        assert await plugin.execute("echo", {"message": 1}) == CLOSED
        await loader.load(example, "other")
        again = await loader.load(example)
        assert again is not plugin
        await loader.unload("other")
        assert list(loader.plugins) == ["example"]
        assert results == []
        server.release.set()
    assert json.loads(results[0].data)["body"] == "released"


async def test_reloads_under_load(wat: Callable[..., str]) -> None:
    """50 reloads, 32 tasks: the name is never missing, no call fails, no answer is behind."""
    in_force = "v1"
    done = False
    calls = 0

    async def caller() -> None:
        nonlocal calls
        while not done:
            before = in_force
            result = await loader.plugins["wat_plugin"].execute("version")
            assert result.data in {before, in_force, upcoming}
            calls += 1

    upcoming = "v1"
    async with open_loader(size=4) as loader, trio.open_nursery() as nursery:
        await loader.load(wat())
        for _ in range(32):
            nursery.start_soon(caller)
        for turn in range(50):
            upcoming = "v2" if turn % 2 == 0 else "v1"
            await loader.load(wat(version=upcoming), "wat_plugin")
            in_force = upcoming
            seen = await loader.plugins["wat_plugin"].execute("version")
            assert seen == ToolResult(upcoming)
        done = True
    assert calls > 50


async def test_loads_of_one_name_take_turns(wat: Callable[..., str]) -> None:
    """Started together, the first one loads and the others reload the same plugin."""
    plugins: list[Any] = []

    async def load(version: str) -> None:
        plugins.append(await loader.load(wat(version=version), "mine"))

    async with open_loader() as loader:
        async with trio.open_nursery() as nursery:
            for version in ("v1", "v2", "v3"):
                nursery.start_soon(load, version)
        assert len(set(map(id, plugins))) == 1
        assert loader.plugins["mine"].pool.generation == 3


async def test_a_plugin_that_was_closed_by_hand(wat: Callable[..., str]) -> None:
    """Loading its name again makes a new one."""
    async with open_loader() as loader:
        plugin = await loader.load(wat())
        await plugin.aclose()
        with pytest.raises(PluginClosed):
            await plugin.reload(wat())
        again = await loader.load(wat())
        assert again is not plugin
        assert await again.execute("version") == ToolResult("v1")


async def test_leaving_closes_side_by_side(example: Path, server: Any, until: Until) -> None:
    """Each plugin's calls drain at the same time as the others'."""
    results: list[ToolResult] = []

    async def call(name: str) -> None:
        results.append(await loader.plugins[name].execute("fetch", {"path": "/hang"}))

    async with trio.open_nursery() as nursery, open_loader(http=LOCAL) as loader:
        plugins = [
            await loader.load(example, name, {"base_url": server.url}) for name in ("a", "b")
        ]
        nursery.start_soon(call, "a")
        nursery.start_soon(call, "b")
        await until(lambda: server.waiting == 2)

        async def release() -> None:
            await until(lambda: all(plugin.closed for plugin in plugins))
            server.release.set()

        nursery.start_soon(release)
    assert [json.loads(result.data)["body"] for result in results] == ["released"] * 2


async def test_an_exception_leaves_as_itself_and_at_once(
    example: Path, server: Any, until: Until
) -> None:
    """Calls under way get no grace, and the exception no group."""
    results: list[ToolResult] = []

    async def call() -> None:
        results.append(await plugin.execute("fetch", {"path": "/hang"}))

    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012 - the block is what is tested
            async with open_loader(http=LOCAL) as loader:
                plugin = await loader.load(example, credentials={"base_url": server.url})
                nursery.start_soon(call)
                await until(lambda: server.waiting == 1)
                raise KeyError("mine")
    assert results == [CLOSED]


async def test_a_closed_loader_loads_nothing(example: Path) -> None:
    """It says what to do instead."""
    async with open_loader() as loader:
        pass
    assert loader.closed
    with pytest.raises(RuntimeError, match="the loader is closed"):
        await loader.load(example)


async def test_a_cancelled_load_leaves_nothing(example: Path) -> None:
    """The next one works."""
    async with open_loader() as loader:
        with trio.CancelScope() as scope:
            scope.cancel()
            await loader.load(example, "mine")
        assert loader.plugins == {}
        await loader.load(example, "mine")
        assert list(loader.plugins) == ["mine"]
