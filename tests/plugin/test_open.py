"""A plugin is loaded, or says what is wrong with it; options are checked before that."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.plugin.answers import data

from wasmpool._errors import PoolUnavailable
from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.errors import AbiError, ConfigureError
from wasmpool._plugin.loader import open_loader
from wasmpool._plugin.metadata import Tool
from wasmpool._plugin.plugin import Plugin, open_plugin
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

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

LOCAL = HttpPolicy(allow_private=True)


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
    """The description is there from the load on, and failures come out of it, also then."""
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


async def test_busy_plugins_answer_from_their_descriptions(
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
