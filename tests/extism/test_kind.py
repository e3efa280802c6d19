"""Extism plugins in a loader: their exports are tools."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.extism.tool_guest import TOOLS, guest_bytes, write_guest, write_manifest

import wasmpool
from wasmpool import AbiError, HttpPolicy, LinkError, ReloadFailed, ToolResult
from wasmpool._extism.kind import ExtismKind
from wasmpool._mcp.catalog import Catalog
from wasmpool._plugin.loader import open_loader_of
from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractContextManager

    from tests.http.server import Server

    from wasmpool import Loader, Plugin
    from wasmpool._plugin.admission import Admit


@asynccontextmanager
async def open_here(admit: Admit | None = None, **options: Any) -> AsyncGenerator[Loader]:
    given: Any = {"grace": 0, **options}
    async with open_loader_of([ExtismKind()], given, admit) as loader:
        yield loader


async def told(plugin: Plugin, tool: str, text: str = "") -> str:
    result = await plugin.execute(tool, {"input": text})
    assert not result.is_error, result
    return result.data


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return write_guest(tmp_path / "guest.wasm")


async def test_exports_are_tools(guest: Path) -> None:
    """Those that can be called with an input; each takes a text, or base64."""
    async with open_here() as loader:
        plugin = await loader.load(guest)
        assert (plugin.name, loader.plugins["guest"]) == ("guest", plugin)
        assert tuple(tool.name for tool in plugin.tools) == TOOLS
        schema = plugin.tools[0].input_schema
        assert schema["properties"].keys() == {"input", "input_base64"}
        assert "required" not in schema
        assert plugin.metadata is not None
        assert repr(plugin) == "<Plugin 'guest' open gen=1: 6 tools>"
        assert await plugin.healthy()
    closed: object = (plugin.tools, plugin.metadata, plugin.compact_specs, await plugin.healthy())
    assert closed == ((), None, {}, False)


async def test_texts_go_in_and_out(guest: Path) -> None:
    """An output that is no UTF-8 is an object with base64; an input can be given so, too."""
    data = b"\xff\x00bytes"
    encoded = b64encode(data).decode()
    async with open_here() as loader:
        plugin = await loader.load(guest)
        assert await told(plugin, "echo", "tëxt") == "tëxt"
        assert await plugin.execute("echo") == ToolResult("")
        result = await plugin.execute("echo", {"input_base64": encoded})
        assert json.loads(result.data) == {"output_base64": encoded}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"text": "x"}, "there is no argument 'text': give input or input_base64"),
        ({"input": "x", "input_base64": "eA=="}, "input and input_base64 are both given"),
        ({"input": 1}, "the input must be a string, not int"),
        ({"input_base64": "abc"}, "Incorrect padding"),
        ({"input": "\ud800"}, "surrogates not allowed"),
    ],
)
async def test_wrong_arguments_are_an_error_result(
    guest: Path, args: dict[str, Any], why: str
) -> None:
    """The guest is not called."""
    async with open_here() as loader:
        plugin = await loader.load(guest)
        result = await plugin.execute("echo", args)
        assert result.is_error
        assert why in result.data
        assert plugin.pool.statistics().granted == 0


async def test_the_guests_error_is_an_error_result(guest: Path) -> None:
    """With its text; a trap is an error of the call, and the plugin serves on."""
    async with open_here() as loader:
        plugin = await loader.load(guest)
        assert await plugin.execute("fail", {"input": "no"}) == ToolResult("no", is_error=True)
        with pytest.raises(wasmpool.GuestTrap):
            await plugin.execute("crash")
        assert await told(plugin, "echo", "on") == "on"


async def test_a_catalog_serves_them(guest: Path) -> None:
    """A client's wrong arguments, unknown tools and traps are results."""
    async with open_here() as loader:
        await loader.load(guest)
        catalog = Catalog(loader)
        assert tuple(catalog.tools) == TOOLS
        assert await catalog.call("echo", {"input": "x"}) == ToolResult("x")
        refused = await catalog.call("echo", {"text": "x"})
        assert "there is no argument 'text'" in refused.data
        assert (await catalog.call("crash", {})).data.startswith("the tool 'crash' failed: ")


async def test_credentials_are_the_configuration(tmp_path: Path, guest: Path) -> None:
    """Over that of a manifest; a reload without any keeps them, and other ones replace them."""
    manifest = write_manifest(tmp_path / "guest.json", guest, config={"a": "theirs", "b": "kept"})
    async with open_here() as loader:
        plugin = await loader.load(manifest, credentials={"a": "ours"})
        assert [await told(plugin, "setting", key) for key in "ab"] == ["ours", "kept"]
        plugin = await loader.load(manifest)
        assert await told(plugin, "setting", "a") == "ours"
        plugin = await loader.load(manifest, credentials={"a": "others"})
        assert await told(plugin, "setting", "a") == "others"
        with pytest.raises(RuntimeError, match="load it again, by its loader"):
            await plugin.configure({"a": "never"})
        with pytest.raises(RuntimeError, match="load it again, by its loader"):
            await plugin.reload(guest)


async def test_another_file_takes_the_place_in_one_step(guest: Path) -> None:
    """Calls under way end in the old one; at no moment is the name missing."""
    async with open_here(grace=60) as loader:
        old = await loader.load(guest)
        async with old.pool.lease() as lease:
            new = await loader.load(write_guest(guest, "two"))
            assert loader.plugins["guest"] is new
            assert await told(new, "version") == "two"
            assert await lease.exchange("version", b"") == b"one"
        assert (await old.execute("version")).data == "wasm: module closed"


async def test_kinds_replace_each_other(tmp_path: Path, guest: Path) -> None:
    """A file of the contract can follow one of Extism's under the same name, and the reverse."""
    async with open_here() as loader:
        assert [tool.name for tool in (await loader.load(guest)).tools] == list(TOOLS)
        plugin = await loader.load(EXAMPLE, name="guest")
        assert "word_count" in [tool.name for tool in plugin.tools]
        assert (await plugin.execute("word_count", {"text": "a b"})).data.startswith('{"lines"')
        plugin = await loader.load(guest)
        assert await told(plugin, "echo", "x") == "x"


async def test_what_cannot_be_loaded_leaves_the_old_one(tmp_path: Path, guest: Path) -> None:
    """A manifest that is not valid, a missing host function, too many exports."""
    manifest = tmp_path / "guest.json"
    async with open_here() as loader:
        with pytest.raises(AbiError, match="a member 'allowed_host', which is none of wasm"):
            await loader.load(write_manifest(manifest, guest, allowed_host=[]))
        user = Path(__file__).parent.parent / "guests" / "extism_zig.wasm"
        with pytest.raises(LinkError, match="extism:host/user.transform"):
            await loader.load(user)
        plugin = await loader.load(write_manifest(manifest, guest))
        broken: list[tuple[Path, dict[str, Any], type[Exception]]] = [
            (guest, {"timeout_ms": -1}, AbiError),
            (tmp_path / "nowhere.wasm", {}, FileNotFoundError),
            (user, {}, LinkError),
        ]
        for module, more, cause in broken:
            with pytest.raises(ReloadFailed) as failed:
                await loader.load(write_manifest(manifest, module, **more))
            assert isinstance(failed.value.__cause__, cause)
            assert loader.plugins["guest"] is plugin
        many = "".join(f'(func (export "f{k}"))' for k in range(500))
        with pytest.raises(AbiError, match="506 exports that can be called, above 500"):
            await loader.load(write_guest(tmp_path / "many.wasm", more=many))
        long = f'(func (export "{"x" * 257}"))'
        with pytest.raises(AbiError, match="a name of 257 characters, above 256"):
            await loader.load(write_guest(tmp_path / "long.wasm", more=long))
        assert loader.plugins.keys() == {"guest"}


async def test_each_call_can_have_an_instance_of_its_own(guest: Path) -> None:
    """With ``pristine``, as for a plugin of the contract."""
    async with open_here(pristine=True) as loader:
        plugin = await loader.load(guest)
        assert [await told(plugin, "echo", each) for each in "ab"] == ["a", "b"]
        assert plugin.pool.statistics().retired["uses"] == 2


async def test_admission_sees_the_tools(guest: Path) -> None:
    """What a host raises refuses a plugin of this kind as any other."""
    seen: list[tuple[str, int]] = []

    def admit(candidate: wasmpool.Candidate) -> None:
        seen.append((candidate.name, len(candidate.tools)))
        if candidate.replaces is not None:
            raise ValueError("not again")

    async with open_here(admit) as loader:
        plugin = await loader.load(guest)
        with pytest.raises(ReloadFailed, match="not again"):
            await loader.load(write_guest(guest, "two"))
        assert loader.plugins["guest"] is plugin
        assert seen == [("guest", 6), ("guest", 6)]


async def test_a_program_is_no_tool(tmp_path: Path) -> None:
    """``_start`` is left out."""
    path = write_guest(tmp_path / "guest.wasm", more='(func (export "_start"))')
    async with open_here() as loader:
        assert "_start" not in [tool.name for tool in (await loader.load(path)).tools]


async def test_the_policy_bounds_what_a_module_reaches(guest: Path, server: Server) -> None:
    """A module without a manifest reaches the hosts of the policy, and none by default."""
    request = json.dumps({"url": f"{server.url}/bytes"})
    async with open_here() as loader:
        shut = await loader.load(guest)
        result = await shut.execute("fetch", {"input": request})
        assert result.is_error
        assert "is not allowed" in result.data
        policy = HttpPolicy(allow_hosts=("127.0.0.1",), allow_private=True)
        opened = await loader.load(guest, http=policy)
        result = await opened.execute("fetch", {"input": request})
        assert json.loads(result.data).keys() == {"output_base64"}


async def test_a_watched_file_is_loaded_again(
    tmp_path: Path, nursery: trio.Nursery, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    """A module that changes, a manifest that changes, and a manifest that is only touched."""
    module = write_guest(tmp_path / "module.wasm")
    manifest = write_manifest(tmp_path / "made.json", module)
    async with open_here() as loader:
        await nursery.start(loader.watch_file, module)
        await nursery.start(loader.watch_file, manifest)
        first, second = loader.plugins["module"], loader.plugins["made"]
        write_guest(module, "two")
        await until(lambda: loader.plugins["module"] is not first)
        assert await told(loader.plugins["module"], "version") == "two"
        assert loader.plugins["made"] is second
        assert await told(second, "version") == "one"
        manifest.touch()
        await until(lambda: loader.plugins["made"] is not second)
        assert await told(loader.plugins["made"], "version") == "two"
        write_manifest(manifest, module, memory={"max_pages": 0})
        await until(lambda: "made" in loader.failures)
        assert await told(loader.plugins["made"], "version") == "two"


async def test_a_cancelled_load_leaves_nothing(
    guest: Path, cancelled_at: Callable[[int], AbstractContextManager[trio.CancelScope]]
) -> None:
    """Cancelled at any step, it has loaded the plugin or not; a call that is cancelled ends."""
    async with open_here() as loader:
        for step in range(1, 60):
            with cancelled_at(step) as scope:
                await loader.load(guest)
            if scope.cancelled_caught:
                assert loader.plugins.keys() <= {"guest"}
            if "guest" in loader.plugins:
                await loader.unload("guest")
        plugin = await loader.load(guest)
        with trio.CancelScope() as scope:
            scope.cancel()
            await plugin.execute("echo", {"input": "x"})
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await plugin.execute("echo", {"wrong": "x"})
        assert scope.cancelled_caught
        assert await told(plugin, "echo", "on") == "on"


async def test_bytes_are_a_module_too() -> None:
    """A plugin that is no file is called as a loader calls those."""
    async with open_here() as loader:
        plugin = await loader.load(guest_bytes(), name="bytes")
        assert await told(plugin, "echo", "x") == "x"
