"""`open_plugin` and `Plugin`, on real guests."""

from __future__ import annotations

import json
import logging
import tracemalloc
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool._errors import LeaseRevoked, PoolUnavailable, ReloadFailed
from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.environment import PluginEnvironment
from wasmpool._plugin.errors import AbiError, ConfigureError, PluginClosed
from wasmpool._plugin.loader import open_loader
from wasmpool._plugin.metadata import Tool
from wasmpool._plugin.options import PluginOptions
from wasmpool._plugin.plugin import Plugin, open_plugin
from wasmpool._plugin.tool_result import ToolResult
from wasmpool_host import (
    CompileError,
    GuestExit,
    GuestTrap,
    Limits,
    LinkError,
    Module,
    host_function,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from wasmpool._plugin.source import PluginSource

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

CLOSED = ToolResult("wasm: module closed", is_error=True)
LOCAL = HttpPolicy(allow_private=True)


def data(result: ToolResult) -> Any:
    assert not result.is_error, result
    return json.loads(result.data)


# --- loading ---


async def test_what_it_says_of_itself(example: Path) -> None:
    """Name, metadata, tools and compact_specs, typed, from the load on."""
    async with open_plugin(example) as plugin:
        assert plugin.name == "example"
        assert plugin.metadata is not None
        assert plugin.metadata.abi_version == 1
        assert plugin.metadata.credential_keys == ("base_url", "api_key")
        echo = next(tool for tool in plugin.tools if tool.name == "echo")
        assert isinstance(echo, Tool)
        assert echo.required == ("message",)
        assert all(isinstance(fields, tuple) for fields in plugin.compact_specs.values())
        assert plugin.compact_specs
        assert repr(plugin) == f"<Plugin 'example' open gen=1: {len(plugin.tools)} tools>"


async def test_every_source(example: Path, wat: Callable[..., str]) -> None:
    """A path, its text, its bytes, a compiled module, and the text of a module."""
    module = await Module.compile(wat())
    binary = await trio.Path(example).read_bytes()
    for source in (example, str(example), binary, module, wat()):
        async with open_plugin(source) as plugin:
            assert plugin.name in {"example", "wat_plugin"}


async def test_a_given_module_keeps_its_own_imports() -> None:
    """A module that was compiled with imports of its own is run with them."""

    @host_function("env", "mine", results=("i32",))
    def mine(_: object) -> int:
        return 1

    module = await Module.compile(
        """(module (import "env" "mine" (func $mine (result i32)))
             (memory (export "memory") 1)
             (func (export "malloc") (param i32) (result i32) i32.const 4096)
             (data (i32.const 8) "mine") (data (i32.const 16) "{\\"abi_version\\":1}")
             (func (export "name") (result i64) i64.const 0x800000004)
             (func (export "metadata") (result i64) i64.const 0x1000000011)
             (func (export "tools") (result i64) i64.const 0)
             (func (export "configure") (param i64) (result i64) i64.const 0)
             (func (export "execute") (param i64) (result i64) i64.const 0)
             (func (export "healthy") (result i32) call $mine))""",
        imports=[mine],
    )
    async with open_plugin(module) as plugin:
        assert plugin.name == "mine"
        assert plugin.tools == ()
        assert plugin.compact_specs == {}
        assert await plugin.healthy()


async def test_name_override(example: Path) -> None:
    """The given name counts, also after close."""
    async with open_plugin(example, name="mine") as plugin:
        assert plugin.name == "mine"
    assert plugin.name == "mine"


async def test_no_module(tmp_path: Path) -> None:
    """Bytes that are no module raise `CompileError`, a missing file its OSError."""
    with pytest.raises(CompileError):
        async with open_plugin(b"no wasm"):
            pass
    with pytest.raises(FileNotFoundError):
        async with open_plugin(tmp_path / "missing.wasm"):
            pass


async def test_imports_that_this_host_has_not() -> None:
    """They are a `LinkError`."""
    with pytest.raises(LinkError, match=r"env\.other"):
        async with open_plugin('(module (import "env" "other" (func)))'):
            pass


@pytest.mark.parametrize("export", ["name", "metadata", "tools", "configure", "execute", "healthy"])
async def test_a_missing_export(wat: Callable[..., str], export: str) -> None:
    """An `AbiError` whose first word is the export."""
    with pytest.raises(AbiError, match=rf"^{export} \(.*\) -> \(.*\) is missing"):
        async with open_plugin(wat(without=export)):
            pass


async def test_compact_specs_may_be_missing(wat: Callable[..., str]) -> None:
    """It is optional."""
    async with open_plugin(wat(without="compact_specs")) as plugin:
        assert plugin.compact_specs == {}


async def test_another_abi_version(wat: Callable[..., str]) -> None:
    """It is refused with both versions, before it is configured."""
    with pytest.raises(AbiError, match=r"^ABI version 2 .* 1 \(module '"):
        async with open_plugin(wat(abi="2"), credentials={"refuse": "me"}):
            pass


async def test_credentials_that_the_guest_refuses(example: Path) -> None:
    """`ConfigureError` with the guest's words."""
    with pytest.raises(
        ConfigureError, match=r"plugin 'example' refused its credentials: .*base_url"
    ):
        async with open_plugin(example, credentials={"base_url": ""}):
            pass


async def test_credentials_that_are_no_strings(example: Path) -> None:
    """A TypeError that names the key and never shows the value."""
    with pytest.raises(TypeError, match=r"^credentials: the name 1 must be a string, not int$"):
        async with open_plugin(example, credentials={1: "x"}):  # type: ignore[dict-item]
            pass
    wrong = r"^credentials: the value of 'api_key' must be a string, not int$"
    with pytest.raises(TypeError, match=wrong) as caught:
        async with open_plugin(example, credentials={"api_key": 123456}):  # type: ignore[dict-item]
            pass
    assert "123456" not in str(caught.value)


async def test_a_guest_that_cannot_start(wat: Callable[..., str]) -> None:
    """`PoolUnavailable` with the guest's trap as the cause."""
    with pytest.raises(PoolUnavailable) as caught:
        async with open_plugin(wat(start="(start $trap)")):
            pass
    assert isinstance(caught.value.__cause__, GuestTrap)


async def test_no_credentials_never_call_configure(wat: Callable[..., str]) -> None:
    """None is not an empty object."""
    async with open_plugin(wat()) as plugin:
        assert await plugin.execute("credentials") == ToolResult("")
    async with open_plugin(wat(), credentials={}) as plugin:
        assert await plugin.execute("credentials") == ToolResult("{}")


async def test_no_instance_kept_warm(wat: Callable[..., str]) -> None:
    """The snapshot is there from the load on, and failures come out of it, with min_size=0 too."""
    async with open_plugin(wat(), min_size=0) as plugin:
        assert plugin.name == "wat_plugin"
        await plugin.reload(wat(version="v2"))
        assert await plugin.execute("version") == ToolResult("v2")
    with pytest.raises(AbiError, match=r"^ABI version 2"):
        async with open_plugin(wat(abi="2"), min_size=0):
            pass


async def test_an_exception_in_the_block_comes_out_as_itself(example: Path) -> None:
    """No group around it, and the plugin is closed."""
    plugins: list[Plugin] = []
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012 - the block is what is tested
        async with open_plugin(example) as plugin:
            plugins.append(plugin)
            raise KeyError("mine")
    assert plugins[0].closed


async def test_an_error_of_the_pool_in_the_block_stays_what_it_is(example: Path) -> None:
    """What the body raises is not taken for a failed load."""
    with pytest.raises(PoolUnavailable, match="mine"):
        async with open_plugin(example):
            raise PoolUnavailable("mine") from AbiError("not this")


# --- calls ---


async def test_execute_in_each_plugin(each_plugin: Path, cache: Path) -> None:
    """Every plugin of the contract runs, whatever it is written in."""
    async with open_plugin(each_plugin, cache=cache) as plugin:
        result = await plugin.execute("echo", {"message": "grüße"})
        assert "grüße" in result.data
        assert not result.is_error
        assert (await plugin.execute("no such tool", {})).is_error
        assert await plugin.healthy() is True


async def test_a_reply_that_is_no_json(wat: Callable[..., str]) -> None:
    """It is data as it stands; a JSON object without data is an empty result."""
    async with open_plugin(wat()) as plugin:
        assert await plugin.execute("plain") == ToolResult("plain text")
        assert await plugin.execute("overlap") == ToolResult("")


@pytest.mark.parametrize(
    "args", [{"a": object()}, {"a": float("nan")}, {"a": {1, 2}}, {"a": b"x"}, {"a": "\ud800"}]
)
async def test_arguments_that_are_no_json(example: Path, args: dict[str, Any]) -> None:
    """An error result that says so; the guest is not called."""
    async with open_plugin(example) as plugin:
        with trio.testing.assert_checkpoints():
            result = await plugin.execute("echo", args)
        assert result.is_error
        assert result.data.startswith("the arguments cannot be written as JSON: ")
        assert plugin.pool.statistics().asked == 0


async def test_arguments_that_hold_themselves(example: Path) -> None:
    """They are refused where the cycle closes, not after writing them a thousand times over."""
    args: dict[str, Any] = {"text": "x" * 1_000_000}
    args["itself"] = args
    async with open_plugin(example) as plugin:
        tracemalloc.start()
        result = await plugin.execute("echo", args)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert result.data == "the arguments cannot be written as JSON: Circular reference detected"
    assert peak < 50_000_000


@pytest.mark.parametrize("args", [[1, 2], "text", 7, [("a", 1)]])
async def test_arguments_that_are_no_mapping(example: Path, args: Any) -> None:
    """An error result that names them; the guest is not called."""
    async with open_plugin(example) as plugin:
        result = await plugin.execute("echo", args)
        assert result.is_error
        assert result.data.endswith(f"must be a mapping of names to values, not {args!r}")
        assert plugin.pool.statistics().asked == 0


async def test_any_mapping_is_an_object(example: Path) -> None:
    """Not only a dict."""
    async with open_plugin(example) as plugin:
        result = await plugin.execute("echo", MappingProxyType({"message": 1}))
        assert data(result) == {"echo": 1}


async def test_a_guest_that_fails(example: Path) -> None:
    """A trap and an exit are raised, and the next call has an instance as before."""
    async with open_plugin(example, size=1) as plugin:
        with pytest.raises(GuestTrap):
            await plugin.execute("crash", {})
        with pytest.raises(GuestExit, match="3"):
            await plugin.execute("quit", {"status": 3})
        assert data(await plugin.execute("echo", {"message": 1})) == {"echo": 1}


async def test_isolation(example: Path) -> None:
    """What one instance remembers another does not, and max_uses=1 has none remember."""
    async with open_plugin(example, max_uses=1) as plugin:
        await plugin.execute("remember", {"value": 1})
        assert data(await plugin.execute("recall", {})) != {"value": 1}


async def test_a_guest_that_is_not_well(wat: Callable[..., str]) -> None:
    """Any guest error is False."""
    text = wat(without="healthy").rstrip().removesuffix(")")
    async with open_plugin(f'{text} (func (export "healthy") (result i32) unreachable))') as plugin:
        assert await plugin.healthy() is False
    async with open_plugin(f'{text} (func (export "healthy") (result i32) i32.const 2))') as plugin:
        assert await plugin.healthy() is False


async def test_host_log(caplog: pytest.LogCaptureFixture) -> None:
    """One call is one line, at info, that begins with the plugin's name."""
    text = """(module (import "env" "host_log" (func $log (param i32 i32)))
         (memory (export "memory") 1)
         (func (export "malloc") (param i32) (result i32) i32.const 4096)
         (data (i32.const 8) "loud") (data (i32.const 16) "{\\"abi_version\\":1}")
         (data (i32.const 64) "one\\ntwo\\ff")
         (func (export "name") (result i64) i64.const 0x800000004)
         (func (export "metadata") (result i64) i64.const 0x1000000011)
         (func (export "tools") (result i64) i64.const 0)
         (func (export "configure") (param i64) (result i64) i64.const 0)
         (func (export "execute") (param i64) (result i64) i64.const 0)
         (func (export "healthy") (result i32)
           (call $log (i32.const 64) (i32.const 8))
           (call $log (i32.const 0) (i32.const 65535)) i32.const 1))"""
    caplog.set_level(logging.INFO, logger="wasmpool.plugin")
    async with open_plugin(text) as plugin:
        assert await plugin.healthy()
    first, second = [record.getMessage() for record in caplog.records]
    assert first == "loud: one\\ntwo\ufffd"
    assert second.startswith("loud: \\x00")


async def test_a_log_line_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """A guest's line, and its name, send nothing to a terminal and begin no line of their own."""
    said: list[str] = []

    class Memory:
        def read(self, ptr: int, size: int) -> bytes:
            return said[-1].encode()[ptr : ptr + size]

    class Caller:
        memory = Memory()

    host = PluginEnvironment(None, Limits(), None, None)
    host.name = lambda: "a\nb"
    host_log = host.imports[0]
    caplog.set_level(logging.INFO, logger="wasmpool.plugin")
    for text in ("\x1b[2J\u202edone\r\n", "one\ntwo\n", "x" * 70_000, ""):
        said.append(text)
        host_log(Caller(), 0, len(text.encode()))
    first, second, third, fourth = [record.getMessage() for record in caplog.records]
    assert first == r"a\nb: \x1b[2J\u202edone"
    assert second == r"a\nb: one\ntwo"
    assert third == rf"a\nb: {'x' * 8_192} ... (70,000 bytes)"
    assert fourth == r"a\nb: "


@pytest.mark.parametrize("name", [None, "mine"])
async def test_host_log_during_the_load(
    wat: Callable[..., str], caplog: pytest.LogCaptureFixture, name: str | None
) -> None:
    """The lines carry the override or the module's name: the plugin's own is not known yet."""
    import_log = '(module $early (import "env" "host_log" (func $log (param i32 i32)))'
    text = wat(without="name").replace("(module", import_log, 1).rstrip().removesuffix(")")
    text += """(func (export "name") (result i64)
        (call $log (i32.const 0) (i32.const 0)) (i64.const 0)))"""
    caplog.set_level(logging.INFO, logger="wasmpool.plugin")
    module = await Module.compile(
        text, imports=PluginEnvironment(LOCAL, Limits(), None, None).imports
    )
    async with open_plugin(text, name=name):
        assert [record.getMessage() for record in caplog.records] == [f"{name or module.name}: "]
    caplog.clear()
    async with open_loader() as loader:
        await loader.load(text, name)
        assert {record.getMessage() for record in caplog.records} == {f"{name or module.name}: "}


# --- http ---


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


async def test_a_large_answer_is_whole(example: Path) -> None:
    """To the character, though it is read in pieces."""
    text = "x é \U0001f600 \n" * 20_000
    async with open_plugin(example) as plugin:
        assert data(await plugin.execute("echo", {"message": text})) == {"echo": text}


# --- options ---


@pytest.mark.parametrize("opening", [partial(open_plugin, b""), open_loader])
@pytest.mark.parametrize(
    ("option", "error", "says"),
    [
        ({"sise": 3}, TypeError, "has no option 'sise'; it has: .*limits, .*size, "),
        ({"setup": print}, TypeError, "takes no setup"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"http": True}, TypeError, "http must be an HttpPolicy, not True"),
        ({"limits": 3}, TypeError, "limits must be Limits, not 3"),
    ],
)
def test_options_are_checked_on_the_call(
    opening: Callable[..., object], option: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Before anything is read or compiled; what there is is named."""
    with pytest.raises(error, match=says):
        opening(**option)


def test_an_unknown_option_names_the_call() -> None:
    """What was called, and only its own options."""
    with pytest.raises(TypeError, match=r"^open_plugin has no option 'a', 'b'; .* name, "):
        open_plugin(b"", a=1, b=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^open_loader has no option 'name'; "):
        open_loader(name="x")  # type: ignore[call-arg]


# --- the four scenarios of the start ---


async def test_each_reply_is_the_callers_own(example: Path) -> None:
    """32 tasks, 8 executes each, on 4 instances."""

    async def caller(task: int) -> None:
        for call in range(8):
            message = f"{task}/{call}"
            assert data(await plugin.execute("echo", {"message": message})) == {"echo": message}

    async with open_plugin(example, size=4) as plugin, trio.open_nursery() as nursery:
        for task in range(32):
            nursery.start_soon(caller, task)


async def test_everything_at_once(example: Path) -> None:
    """20 tasks mix execute, tools, name, healthy and metadata."""

    async def caller(task: int) -> None:
        for turn in range(10):
            match (task + turn) % 5:
                case 0:
                    assert data(await plugin.execute("echo", {"message": turn})) == {"echo": turn}
                case 1:
                    assert plugin.tools
                case 2:
                    assert plugin.name == "example"
                case 3:
                    assert await plugin.healthy()
                case 4:
                    assert plugin.metadata is not None
            await trio.lowlevel.checkpoint()

    async with open_plugin(example, size=2) as plugin, trio.open_nursery() as nursery:
        for task in range(20):
            nursery.start_soon(caller, task)


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


# --- HTTP by a guest ---


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


async def test_busy_plugins_answer_from_their_snapshots(
    example: Path, server: Any, until: Until
) -> None:
    """While the only instance waits, its own name and tools and all of another's are at hand."""
    credentials = {"base_url": server.url}
    async with (
        open_plugin(example, size=1, http=LOCAL, credentials=credentials) as busy,
        open_plugin(example, name="other") as other,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(busy.execute, "fetch", {"path": "/hang"})
        await until(lambda: server.waiting == 1)
        assert busy.tools
        assert busy.metadata is not None
        assert (busy.name, other.name) == ("example", "other")
        for turn in range(50):
            assert data(await other.execute("echo", {"message": turn})) == {"echo": turn}
        assert busy.pool.statistics().leased == 1
        server.release.set()


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


# --- configure ---


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


# --- reload ---


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


async def test_the_snapshot_changes_at_the_switch(wat: Callable[..., str]) -> None:
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
    """Wherever it is cancelled, one version serves, with its own snapshot, and reload goes on."""
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


# --- guests that leak ---


async def test_a_guest_that_leaks_is_recycled(leaky: Path) -> None:
    """A free that traps fails no call, and `max_memory` retires the instances that have grown."""
    async with open_plugin(leaky, size=2, max_memory=1 << 20) as plugin:
        message = "x" * 10_000
        for _ in range(300):
            result = await plugin.execute("echo", {"message": message})
            assert not result.is_error
        statistics = plugin.pool.statistics()
        assert statistics.retired["memory"] >= 3
        assert statistics.retired["trap"] == 0
