"""A plugin in service takes a new module, or goes on with the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.plugin.answers import data

from wasmpool._errors import LeaseRevoked, ReloadFailed
from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.errors import AbiError, ConfigureError
from wasmpool._plugin.plugin import open_plugin
from wasmpool._plugin.tool_result import ToolResult
from wasmpool_host import (
    CompileError,
    GuestTrap,
    LinkError,
    Module,
    host_function,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from wasmpool._plugin.source import PluginSource

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

LOCAL = HttpPolicy(allow_private=True)


async def test_reload(example: Path, wat: Callable[..., str]) -> None:
    """Name, tools, metadata and answers are the new module's, with the current credentials."""
    async with open_plugin(wat(), credentials={"base_url": "http://k"}) as plugin:
        assert plugin.name == "wat_plugin"
        assert await plugin.reload(wat(version="v2")) == 2
        assert plugin.metadata is not None
        assert plugin.metadata.version == "v2"
        assert await plugin.execute("version") == ToolResult("v2")
        assert await plugin.execute("credentials") == ToolResult('{"base_url":"http://k"}')
        await plugin.reload(example)
        assert plugin.name == "example"
        assert data(await plugin.execute("echo", {"message": 1})) == {"echo": 1}


async def test_reload_of_the_same(example: Path) -> None:
    """It changes nothing."""
    async with open_plugin(example) as plugin:
        assert await plugin.reload(example) == 1
        binary = await trio.Path(example).read_bytes()
        assert await plugin.reload(binary) == 1
        module = await Module.compile(binary, imports=IMPORTS)
        assert await plugin.reload(module) == 2
        assert await plugin.reload(module) == 2


@host_function("env", "host_log", params=("i32", "i32"))
def _host_log(*_: object) -> None: ...


@host_function("env", "host_http_request", params=("i64",), results=("i64",))
def _host_http_request(*_: object) -> int:
    return 0


IMPORTS = [_host_log, _host_http_request]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"abi": "2"}, AbiError),
        ({"without": "tools"}, AbiError),
        ({"start": "(start $trap)"}, GuestTrap),
    ],
)
async def test_reload_that_fails(
    wat: Callable[..., str], change: dict[str, str], cause: type[Exception]
) -> None:
    """`ReloadFailed` with the cause; the old module goes on as before."""
    async with open_plugin(wat()) as plugin:
        with pytest.raises(ReloadFailed) as caught:
            await plugin.reload(wat(version="v2", **change))
        assert isinstance(caught.value.__cause__, cause)
        assert await plugin.execute("version") == ToolResult("v1")
        assert plugin.name == "wat_plugin"
        assert plugin.pool.generation == 1


async def test_reload_of_no_module(wat: Callable[..., str], tmp_path: Path) -> None:
    """Broken bytes, a missing file and unknown imports are `ReloadFailed` as well."""
    async with open_plugin(wat()) as plugin:
        sources: tuple[PluginSource, ...] = (
            b"no wasm",
            tmp_path / "missing",
            '(module (import "a" "b" (func)))',
        )
        for source, cause in zip(sources, (CompileError, OSError, LinkError), strict=True):
            with pytest.raises(ReloadFailed, match="plugin 'wat_plugin' goes on") as caught:
                await plugin.reload(source)
            assert isinstance(caught.value.__cause__, cause)
        assert await plugin.execute("version") == ToolResult("v1")


async def test_reload_that_refuses_the_credentials(example: Path, wat: Callable[..., str]) -> None:
    """A new module that does not take the current credentials does not serve."""
    async with open_plugin(wat(), credentials={"k": "v"}) as plugin:
        with pytest.raises(ReloadFailed) as caught:
            await plugin.reload(example)
        assert isinstance(caught.value.__cause__, ConfigureError)
        assert plugin.name == "wat_plugin"


async def test_the_description_changes_at_the_switch(wat: Callable[..., str]) -> None:
    """No call that sees the new tools is answered by the old module, and the other way round."""
    done = False

    async def caller() -> None:
        while not done:
            assert plugin.metadata is not None
            before = plugin.metadata.version
            answer = (await plugin.execute("version")).data
            assert plugin.metadata is not None
            assert answer in {before, plugin.metadata.version}

    async with open_plugin(wat(), size=4) as plugin, trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(caller)
        for turn in range(10):
            await plugin.reload(wat(version="v2" if turn % 2 == 0 else "v1"))
        done = True


async def test_configure_and_reload_take_turns(wat: Callable[..., str]) -> None:
    """Started together, both are in force in the end."""
    async with open_plugin(wat(), credentials={"k": "old"}) as plugin:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.reload, wat(version="v2"))
            nursery.start_soon(plugin.configure, {"k": "new"})
        assert await plugin.execute("version") == ToolResult("v2")
        assert await plugin.execute("credentials") == ToolResult('{"k":"new"}')


async def test_a_cancelled_reload_changes_nothing(wat: Callable[..., str]) -> None:
    """The old module goes on, and the next reload works."""
    async with open_plugin(wat()) as plugin:
        with trio.CancelScope() as scope:
            scope.cancel()
            await plugin.reload(wat(version="v2"))
        assert await plugin.execute("version") == ToolResult("v1")
        await plugin.reload(wat(version="v2"))
        assert await plugin.execute("version") == ToolResult("v2")


async def test_a_reload_that_is_cancelled_anywhere(
    wat: Callable[..., str], cancelled_at: Any
) -> None:
    """Wherever it is cancelled, one version serves and describes itself, and reload goes on."""
    step, done, version = 0, False, ""
    async with open_plugin(wat(), size=2) as plugin:
        while not done:
            step += 1
            version = f"v{step % 9 + 1}"
            with cancelled_at(step):
                await plugin.reload(wat(version=version))
                done = True
            assert plugin.metadata is not None
            assert await plugin.execute("version") == ToolResult(plugin.metadata.version)
        assert await plugin.execute("version") == ToolResult(version)
    assert step > 5


async def test_a_load_that_is_cancelled_anywhere(
    wat: Callable[..., str], cancelled_at: Any
) -> None:
    """Wherever it is cancelled, nothing is left of it."""
    module = await Module.compile(wat())
    step, done = 0, False
    while not done:
        step += 1
        with cancelled_at(step):
            async with open_plugin(module, credentials={"k": "v"}) as plugin:
                assert await plugin.execute("credentials") == ToolResult('{"k":"v"}')
                await plugin.configure({"k": "w"})
                assert await plugin.execute("credentials") == ToolResult('{"k":"w"}')
            done = True
    assert step > 10


async def test_a_revoked_call_of_an_old_generation_says_so(
    example: Path, server: Any, until: Until
) -> None:
    """The grace of a reload is not a close: the plugin is open, and the call raises."""

    async def call() -> None:
        with pytest.raises(LeaseRevoked):
            await plugin.execute("fetch", {"path": "/hang"})

    credentials = {"base_url": server.url}
    async with (
        open_plugin(example, http=LOCAL, credentials=credentials, grace=0.05) as plugin,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(call)
        await until(lambda: server.waiting == 1)
        await plugin.configure({"base_url": server.url})
