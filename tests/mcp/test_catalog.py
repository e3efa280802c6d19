from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from tests.mcp.scripted import SPIN, scripted, tool
from trio.testing import wait_all_tasks_blocked

import wasmpool
from wasmpool._mcp.catalog import Catalog, NameTaken
from wasmpool._mcp.exposure import Exposure
from wasmpool._plugin.metadata import Tool

if TYPE_CHECKING:
    from pathlib import Path


async def _echo(name: str, args: dict[str, Any]) -> str | None:
    return SPIN if name == "spin" else f"{name} {args}"


async def test_tools_are_served_by_their_own_names(loader: wasmpool.Loader) -> None:
    """A plugin of which nothing is said is served with all of its tools."""
    catalog = Catalog(loader)
    assert set(catalog.tools) == {tool.name for tool in loader.plugins["example"].tools}
    assert repr(catalog) == "<Catalog: 10 tools of 1 plugins>"
    result = await catalog.call("echo", {"message": "hello"})
    assert (result.is_error, "hello" in result.data) == (False, True)


async def test_patterns_and_prefixes(loader: wasmpool.Loader) -> None:
    """A tool that matches no pattern is neither listed nor called; a prefix is part of the name."""
    catalog = Catalog(loader, {"example": Exposure(("re*", "echo"), "ex_")})
    assert set(catalog.tools) == {"ex_recall", "ex_remember", "ex_echo"}
    assert not (await catalog.call("ex_echo", {"message": "hi"})).is_error
    for hidden in ("echo", "ex_spin", "spin"):
        result = await catalog.call(hidden, {})
        assert result.is_error
        assert result.data.startswith(f"there is no tool '{hidden}'")


async def test_the_list_follows_the_loader(loader: wasmpool.Loader) -> None:
    """What is loaded, reloaded and unloaded is seen at the next look."""
    catalog = Catalog(loader)
    assert "one" not in catalog.tools
    await loader.load(await scripted("more", [tool("one")], _echo))
    assert "one" in catalog.tools
    await loader.load(await scripted("more", [tool("two")], _echo))
    assert {"one", "two"} & set(catalog.tools) == {"two"}
    await loader.unload("more")
    assert "two" not in catalog.tools


async def test_a_name_that_there_is_not_gets_a_suggestion(loader: wasmpool.Loader) -> None:
    """So that a model can correct itself."""
    catalog = Catalog(loader)
    result = await catalog.call("word_cuont", {})
    assert result == wasmpool.ToolResult(
        "there is no tool 'word_cuont': did you mean 'word_count'?", is_error=True
    )
    long = await catalog.call("x" * 10_000, {})
    assert long.data == "there is no tool whose name has 10,000 characters"


@attrs.frozen
class _Candidate:
    name: str
    tools: tuple[Tool, ...]


async def test_two_plugins_with_a_tool_of_one_name(
    loader: wasmpool.Loader, caplog: pytest.LogCaptureFixture
) -> None:
    """The later one is refused; without that, the first one serves and the log says so."""
    catalog = Catalog(loader, {"prefixed": Exposure(prefix="p_")})
    with pytest.raises(NameTaken, match="'other' has a tool 'echo', and plugin 'example' is"):
        catalog.admit(_Candidate("other", (Tool("echo"),)))
    catalog.admit(_Candidate("example", (Tool("echo"),)))  # a reload
    catalog.admit(_Candidate("prefixed", (Tool("echo"),)))
    catalog.admit(_Candidate("other", (Tool("another"),)))
    await loader.load(await scripted("other", [tool("echo")], _echo))
    assert catalog.tools["echo"].owner == "example"
    assert "the tool 'echo' of plugin 'other' is not served" in caplog.text


async def test_a_pattern_that_matches_no_tool_is_a_warning(
    loader: wasmpool.Loader, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a slip in a pattern only shows by a tool that clients do not find."""
    catalog = Catalog(loader, {"p": Exposure(("reapet", "*_echo", "other", "*"))})
    catalog.admit(_Candidate("p", (Tool("repeat"), Tool("my_echo"))))
    assert [record.getMessage() for record in caplog.records] == [
        "plugin 'p' has no tool that matches the pattern 'reapet': did you mean 'repeat'?",
        "plugin 'p' has no tool that matches the pattern 'other'",
    ]


async def test_a_loader_asks_the_catalog(example: Path) -> None:
    """A plugin with a tool of another one's name is not loaded, and a reload is."""
    catalogs: list[Catalog] = []

    def admit(candidate: wasmpool.Candidate) -> None:
        catalogs[0].admit(candidate)

    async with wasmpool.open_loader(admit=admit, size=1, grace=0) as loader:
        catalogs.append(Catalog(loader))
        await loader.load(example)
        await loader.load(example)
        with pytest.raises(NameTaken, match="'other' has a tool 'echo'"):
            await loader.load(await scripted("other", [tool("echo")], _echo))
        assert set(loader.plugins) == {"example"}


async def test_a_trap_and_a_time_limit_are_results() -> None:
    """Each is a sentence that names the tool."""
    async with wasmpool.open_loader(size=1, grace=0) as loader:
        spinning = await scripted("p", [tool("spin")], _echo, call_seconds=0.05)
        await loader.load(spinning)
        slow = await Catalog(loader).call("spin", {})
    assert slow.is_error
    assert slow.data.startswith("the tool 'spin' took too long: ")


async def test_a_full_pool_is_a_result(example: Path) -> None:
    """It says who holds the instance."""
    async with wasmpool.open_loader(size=1, max_waiting=0, grace=0) as loader:
        plugin = await loader.load(example)
        async with plugin.pool.lease():
            busy = await Catalog(loader).call("echo", {"message": "x"})
    assert busy.is_error
    assert busy.data.startswith("the tool 'echo' is busy: ")
    assert "test_a_full_pool_is_a_result" in busy.data


async def test_a_plugin_that_is_unloaded_during_a_call(nursery: trio.Nursery) -> None:
    """The call's result says that it is gone."""
    results: list[wasmpool.ToolResult] = []
    async with wasmpool.open_loader(size=1, grace=0) as loader:
        await loader.load(await scripted("p", [tool("spin")], _echo))
        catalog = Catalog(loader)

        @nursery.start_soon
        async def call() -> None:
            results.append(await catalog.call("spin", {}))

        await wait_all_tasks_blocked()
        await loader.unload("p")
        await wait_all_tasks_blocked()
    assert [result.data for result in results] == [
        "the tool 'spin' is gone: its plugin was unloaded during the call"
    ]


async def test_an_error_of_the_application_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A host function raises what may hold secrets: the log has it, the client does not."""

    async def fail(name: str, args: dict[str, Any]) -> str:
        raise KeyError("secret")

    async with wasmpool.open_loader(size=1, grace=0) as loader:
        await loader.load(await scripted("p", [tool("one")], fail))
        result = await Catalog(loader).call("one", {})
    assert result.is_error
    assert "secret" not in result.data
    assert "secret" in caplog.text


async def test_a_cancelled_call_frees_its_instance() -> None:
    """The guest spins, and has ended when the scope is left."""
    async with wasmpool.open_loader(size=1, grace=0) as loader:
        plugin = await loader.load(await scripted("p", [tool("spin")], _echo))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Catalog(loader).call, "spin", {})
                await wait_all_tasks_blocked()
                assert plugin.pool.statistics().leased == 1
                scope.cancel()
        assert plugin.pool.statistics().leased == 0
