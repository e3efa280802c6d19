"""What a caller passes is copied at the call: it may be changed afterwards, and is not felt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.loader import open_loader
from wasmpool._plugin.plugin import open_plugin
from wasmpool._plugin.tool_result import ToolResult
from wasmpool._pool.instruments import Instrument
from wasmpool._pool.pool import Pool, open_pool
from wasmpool_host import Module, Wasi, host_function
from wasmpool_host._capi import text_to_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SMALL = '(module (import "env" "f" (func)) (func (export "g") call 0))'


# --- credentials ---


async def test_credentials_of_open_plugin(wat: Callable[..., str]) -> None:
    """Changed before the block is entered or after; a reload goes on with them as they were."""
    credentials = {"k": "old"}
    opening = open_plugin(wat(), credentials=credentials, size=1)
    credentials["k"] = "new"
    async with opening as plugin:
        assert await plugin.execute("credentials") == ToolResult('{"k":"old"}')
        credentials.clear()
        await plugin.reload(wat(version="v2"))
        assert await plugin.execute("credentials") == ToolResult('{"k":"old"}')


async def test_credentials_of_load(wat: Callable[..., str]) -> None:
    """The same dict with another token in it is other credentials, and is put in service."""
    credentials = {"k": "old"}
    async with open_loader(size=1) as loader:
        plugin = await loader.load(wat(), "p", credentials)
        credentials["k"] = "new"
        await loader.load(wat(version="v2"), "p")
        assert await plugin.execute("credentials") == ToolResult('{"k":"old"}')
        await loader.load(wat(version="v2"), "p", credentials)
        assert await plugin.execute("credentials") == ToolResult('{"k":"new"}')


async def test_credentials_of_a_load_and_a_configure_that_wait(wat: Callable[..., str]) -> None:
    """While another load, or a reload, has its turn."""
    one, two = {"k": "one"}, {"k": "two"}
    async with open_loader(size=1) as loader:
        plugin = await loader.load(wat(), "p")
        async with trio.open_nursery() as nursery, loader._registry._load_lock("p"):
            nursery.start_soon(loader.load, wat(), "p", one)
            await trio.testing.wait_all_tasks_blocked()
            one["k"] = "changed"
        assert await plugin.execute("credentials") == ToolResult('{"k":"one"}')
        async with trio.open_nursery() as nursery, plugin._switching:
            nursery.start_soon(plugin.configure, two)
            await trio.testing.wait_all_tasks_blocked()
            two["k"] = "changed"
        assert await plugin.execute("credentials") == ToolResult('{"k":"two"}')


@pytest.mark.parametrize(
    ("credentials", "error", "says"),
    [
        ({"k": 123456}, TypeError, "the value of 'k' must be a string, not int"),
        ({"k": b"123456"}, TypeError, "the value of 'k' must be a string, not bytes"),
        ({"k": None}, TypeError, "the value of 'k' must be a string, not NoneType"),
        ({1: "123456"}, TypeError, "the name 1 must be a string, not int"),
        ({"k": "123456\ud800"}, ValueError, "the value of 'k' cannot be written as UTF-8"),
        ({"\ud800": "123456"}, ValueError, r"the name of '\\ud800' cannot be written as UTF-8"),
        ("123456", TypeError, "credentials must be a mapping of strings, not str"),
        ([("k", "123456")], TypeError, "credentials must be a mapping of strings, not list"),
    ],
)
async def test_what_are_no_credentials(
    wat: Callable[..., str], credentials: Any, error: type[Exception], says: str
) -> None:
    """They are refused by every call that takes them, at once, and no secret is shown."""
    with pytest.raises(error, match=says) as caught:
        open_plugin(wat(), credentials=credentials)
    said = [caught.value]
    async with open_loader() as loader:
        plugin = await loader.load(wat(), "p", {"k": "v"})
        for call in (loader.load(wat(), "p", credentials), plugin.configure(credentials)):
            with pytest.raises(error, match=says) as caught:
                await call
            said.append(caught.value)
        assert await plugin.execute("credentials") == ToolResult('{"k":"v"}')
    for each in said:
        assert "123456" not in repr(each)
        assert each.__cause__ is None
        assert each.__context__ is None


# --- calls ---


async def test_arguments_of_an_execute_that_waits(wat: Callable[..., str]) -> None:
    """What is sent is what they were at the call."""
    results: list[ToolResult] = []

    async def call(args: Mapping[str, Any]) -> None:
        results.append(await plugin.execute("echo", args))

    args: dict[str, Any] = {"message": ["old"]}
    async with (
        open_plugin(wat(), size=1) as plugin,
        trio.open_nursery() as nursery,
        plugin.pool.lease(),
    ):
        nursery.start_soon(call, args)
        await trio.testing.wait_all_tasks_blocked()
        assert plugin.pool.statistics().waiting == 1
        args["message"][0] = "new"
        args["more"] = 1
    assert '"message":["old"]' in results[0].data
    assert "more" not in results[0].data


@pytest.mark.parametrize("payload", [bytearray(b"{}"), memoryview(b"{}")])
async def test_a_payload_that_could_change_is_refused(
    wat: Callable[..., str], payload: Any
) -> None:
    """An exchange may wait in line, so it takes bytes."""
    async with open_plugin(wat()) as plugin:
        with pytest.raises(TypeError, match="the payload must be bytes or None, not"):
            await plugin.pool.exchange("execute", payload)


# --- sources and imports ---


async def test_a_source_that_is_overwritten(wat: Callable[..., str], nursery: trio.Nursery) -> None:
    """A buffer may be used again once it was passed, though nothing was compiled yet."""
    source: Any = bytearray(text_to_binary(wat()))
    opening = open_plugin(source)
    source[:] = bytes(len(source))
    async with opening as plugin:
        source[:] = text_to_binary(wat(version="v2"))
        async with plugin._switching:
            nursery.start_soon(plugin.reload, source)
            await trio.testing.wait_all_tasks_blocked()
            source[:] = bytes(len(source))
        async with plugin._switching:  # after the reload, which was first in line
            assert await plugin.execute("version") == ToolResult("v2")


async def test_imports_that_change_while_a_module_compiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The module is linked with what was given."""
    calls: list[str] = []

    @host_function("env", "f")
    def given(_: object) -> None:
        calls.append("given")

    @host_function("env", "f")
    def other(_: object) -> None:
        calls.append("other")

    imports = [given]
    run_sync = trio.to_thread.run_sync

    async def change_first(*args: Any, **kwargs: Any) -> Any:
        imports[0] = other
        return await run_sync(*args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", change_first)
    module = await Module.compile(SMALL, imports=imports)
    async with open_pool(module) as pool:
        await pool.call("g")
    assert calls == ["given"]


# --- options ---


async def test_instruments(wat: Callable[..., str]) -> None:
    """A list may change, and a generator is asked once: each plugin has all that were given."""
    started: list[str] = []

    class Notes(Instrument):
        def instance_started(
            self, pool: Pool, instance: int, generation: int, seconds: float
        ) -> None:
            started.append(pool.name)

    given: list[Instrument] = [Notes()]
    async with open_loader(instruments=given) as loader:
        given.clear()
        await loader.load(wat(), "a")
        await loader.load(wat(), "b")
        assert started == ["a", "b"]
    some: Any = (each for each in [Notes()])
    async with open_loader(instruments=some) as loader:
        await loader.load(wat(), "c")
        await loader.load(wat(), "d")
    async with open_plugin(wat(), name="e", instruments=(each for each in [Notes()])):  # type: ignore[arg-type]
        pass
    assert started == ["a", "b", "c", "d", "e"]


async def test_a_cache_by_a_relative_path(
    wat: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays the directory that it was, wherever the process goes."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    async with open_loader(cache="cache") as loader:
        monkeypatch.chdir(tmp_path / "there")
        await loader.load(wat())
    assert list((tmp_path / "here" / "cache").iterdir())
    assert list((tmp_path / "there").iterdir()) == []
    with pytest.raises(TypeError, match="cache must be the path of a directory or None, not 7"):
        open_loader(cache=7)  # type: ignore[arg-type]


def test_values_of_configuration() -> None:
    """The objects that configure a guest keep nothing that their caller can change."""
    hosts, args, env = ["a.example"], ["one"], {"K": "v"}
    policy = HttpPolicy(allow_hosts=hosts)
    wasi = Wasi(args=args, env=env)
    hosts.append("b.example")
    args.append("two")
    env["L"] = "w"
    assert policy.allow_hosts == {"a.example"}
    assert tuple(wasi.args) == ("one",)
    assert dict(wasi.env) == {"K": "v"}
    stdin: Any = bytearray(b"x")
    with pytest.raises(TypeError, match="stdin"):
        Wasi(stdin=stdin)


async def test_what_a_plugin_says_of_itself_is_read_only(wat: Callable[..., str]) -> None:
    """All callers see the same description."""
    async with open_plugin(wat()) as plugin:
        specs: Any = plugin.compact_specs
        with pytest.raises(TypeError):
            specs["echo"] = ()
        assert plugin.compact_specs == {"echo": ("message",)}
