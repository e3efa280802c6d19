"""`open_loader` and `Loader`, on real guests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.plugin.answers import CLOSED

from wasmpool._errors import PoolUnavailable, ReloadFailed
from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.errors import AbiError, ConfigureError, PluginClosed
from wasmpool._plugin.loader import open_loader
from wasmpool._plugin.plugin import open_plugin
from wasmpool._plugin.tool_result import ToolResult
from wasmpool._pool.pool_state import PoolState
from wasmpool_host import CompileError, GuestTrap, LinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from wasmpool import Plugin

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

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


@pytest.mark.parametrize("close", ["plugin.aclose", "pool.aclose", "pool.drain"])
async def test_a_plugin_that_was_closed_by_hand(wat: Callable[..., str], close: str) -> None:
    """It is not in service any more, by whichever way; loading its name again makes a new one."""
    async with open_loader() as loader:
        plugin = await loader.load(wat())
        other = await loader.load(wat(), "other")
        pool = plugin.pool
        await {
            "plugin.aclose": plugin.aclose,
            "pool.aclose": pool.aclose,
            "pool.drain": pool.drain,
        }[close]()
        assert dict(loader.plugins) == {"other": other}
        assert "wat_plugin" not in loader.plugins
        assert loader.plugins.get("wat_plugin") is None
        assert len(loader.plugins) == 1
        assert loader.find_tool("version") is other
        assert repr(loader) == "<Loader open: 1 plugins>"
        with pytest.raises(KeyError, match="no plugin 'wat_plugin' is loaded; there are: 'other'"):
            await loader.unload("wat_plugin")
        with pytest.raises(PluginClosed):
            await plugin.reload(wat())
        await trio.testing.wait_all_tasks_blocked()
        assert list(loader._registry._entries) == ["other"]  # its task has ended
        again = await loader.load(wat())
        assert again is not plugin
        assert list(loader.plugins) == ["other", "wat_plugin"]
        assert await again.execute("version") == ToolResult("v1")


async def test_a_plugin_that_is_about_to_close(wat: Callable[..., str]) -> None:
    """It is out of the mapping while its last call runs; its name may be loaded meanwhile."""
    async with open_loader() as loader, trio.open_nursery() as nursery:
        plugin = await loader.load(wat())
        async with plugin.pool.lease():
            nursery.start_soon(plugin.aclose)
            await trio.testing.wait_all_tasks_blocked()
            assert loader.plugins == {}
            again = await loader.load(wat())
            assert loader.plugins == {"wat_plugin": again}
        await trio.testing.wait_all_tasks_blocked()
        assert loader.plugins == {"wat_plugin": again}
        assert plugin.pool.state is PoolState.CLOSED


async def test_the_mapping_may_change_in_a_loop_over_it(wat: Callable[..., str]) -> None:
    """A loop that waits sees the names that there were when it began."""
    async with open_loader() as loader:
        for name in ("a", "b"):
            await loader.load(wat(), name)
        seen: list[str] = []
        for name in loader.plugins:
            seen.append(name)
            await loader.load(wat(), f"{name}{name}")
        assert seen == ["a", "b"]
        assert list(loader.plugins) == ["a", "b", "aa", "bb"]


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("", ValueError, "name must not be blank, as '' is: leave it out"),
        (" \t", ValueError, r"name must not be blank, as ' \\t' is"),
        ("a\nb", ValueError, r"name must have no control characters.*, not 'a\\nb'"),
        ("\x1b[31m", ValueError, "name must have no control characters"),
        ("a\u202eb", ValueError, r"name must have no control .*, not 'a\\u202eb'"),
        ("\udcff", ValueError, r"name must have no control .*, not '\\udcff'"),
        (7, TypeError, "name must be a str or None, not 7"),
        (b"a", TypeError, "name must be a str or None, not b'a'"),
    ],
)
async def test_what_is_no_name(example: Path, name: Any, error: type[Exception], says: str) -> None:
    """It is refused before anything is read, by `load` and by `open_plugin`."""
    async with open_loader() as loader:
        with pytest.raises(error, match=f"^{says}"):
            await loader.load(example, name)
    with pytest.raises(error, match=f"^{says}"):
        open_plugin(example, name=name)


@pytest.mark.parametrize("name", ["name with spaces", "日本語\u3000名", "v1.0/x", "Ω\u00a0"])
async def test_what_is_a_name(wat: Callable[..., str], name: str) -> None:
    """In any script."""
    async with open_loader() as loader:
        plugin = await loader.load(wat(), name)
        assert dict(loader.plugins) == {name: plugin}
        assert plugin.name == name


async def test_a_plugin_without_a_name_of_its_own(tmp_path: Path, wat: Callable[..., str]) -> None:
    """It goes by its file's, in the loader, in messages and in the pool."""
    nameless = wat(without="name").rstrip().removesuffix(")")
    (tmp_path / "mine.wat").write_text(
        f'{nameless} (func (export "name") (result i64) i64.const 0))'
    )
    async with open_loader() as loader:
        plugin = await loader.load(tmp_path / "mine.wat")
        assert loader.plugins == {"mine": plugin}
        assert (plugin.name, plugin.pool.name) == ("mine", "mine")


async def test_a_plugin_that_does_not_tell_its_name(wat: Callable[..., str]) -> None:
    """The load ends after `start_timeout`, as it does with a name."""
    silent = wat(without="name").rstrip().removesuffix(")")
    silent += '(func (export "name") (result i64) (loop $for_ever (br $for_ever)) i64.const 0))'
    async with open_loader(start_timeout=0.05) as loader:
        with pytest.raises(PoolUnavailable, match="does not tell its name within start_timeout"):
            await loader.load(silent)
        with pytest.raises(PoolUnavailable):
            await loader.load(silent, "mine")


async def test_names_that_came_and_went_leave_nothing(wat: Callable[..., str]) -> None:
    """A loader may live long, and see many names."""
    async with open_loader() as loader:
        for number in range(3):
            await loader.load(wat(), f"name {number}")
            await loader.unload(f"name {number}")
            with pytest.raises(CompileError):
                await loader.load(b"no wasm", f"other {number}")
        assert loader._registry._entries == {}
        assert loader._registry._load_locks == {}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("leave", ["closed", "cancelled"])
async def test_a_load_that_the_loader_closes_under(
    wat: Callable[..., str], leave: str, there: bool
) -> None:
    """It ends at once, in the words of any load of a closed loader, and leaves nothing."""
    spins = wat(without="configure").rstrip().removesuffix(")")
    spins += """(func (export "configure") (param i64) (result i64)
        (loop $for_ever (br $for_ever)) i64.const 0))"""

    async def load() -> None:
        with pytest.raises(RuntimeError, match="^the loader is closed: its block has been left$"):
            await loader.load(spins, "mine", {"spin": "for ever"})
        ended.set()

    ended = trio.Event()
    plugins: list[Mapping[str, Plugin]] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with open_loader(start_timeout=1000) as loader:
                    plugins.append(loader.plugins)
                    if there:
                        await loader.load(wat(), "mine")
                    nursery.start_soon(load)
                    await trio.testing.wait_all_tasks_blocked(0.05)
                    if leave == "cancelled":
                        scope.cancel()
                        await trio.sleep_forever()
            await ended.wait()
            assert plugins == [{}]


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
