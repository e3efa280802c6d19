"""`Loader.changes` and `Loader.failures`: what they tell is what is so in the end."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Self

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wasmpool import Change, ChangeKind
from wasmpool._errors import ReloadFailed
from wasmpool._plugin.errors import AbiError, ConfigureError, PluginClosed
from wasmpool._plugin.loader import Loader, open_loader
from wasmpool_host import CompileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def test_each_kind_is_told(wat: Callable[..., str]) -> None:
    """With the plugin that serves after it, and the error."""
    async with open_loader() as loader, loader.changes() as changes:
        plugin = await loader.load(wat(), "a", {"k": "v"})
        assert await anext(changes) == Change(kind=ChangeKind.LOADED, name="a", plugin=plugin)
        await plugin.reload(wat(version="v2"))
        assert await anext(changes) == Change(kind=ChangeKind.RELOADED, name="a", plugin=plugin)
        await plugin.configure({"k": "w"})
        assert (await anext(changes)).kind is ChangeKind.RELOADED
        with pytest.raises(ReloadFailed):
            await loader.load(b"no wasm", "a")
        failed = await anext(changes)
        assert (failed.kind, failed.plugin) == (ChangeKind.FAILED, plugin)
        assert isinstance(failed.error, ReloadFailed)
        assert failed.error is loader.failures["a"]
        await loader.unload("a")
        assert await anext(changes) == Change(kind=ChangeKind.UNLOADED, name="a")
        with pytest.raises(CompileError):
            await loader.load(b"no wasm", "b")
        failed = await anext(changes)
        assert (failed.kind, failed.name, failed.plugin) == ("failed", "b", None)


async def test_a_plugin_that_is_closed_is_told(wat: Callable[..., str]) -> None:
    """By its own method, not by the loader's."""
    async with open_loader() as loader, loader.changes() as changes:
        plugin = await loader.load(wat(), "a")
        await anext(changes)
        await plugin.aclose()
        assert await anext(changes) == Change(kind=ChangeKind.UNLOADED, name="a")


async def test_a_slow_reader_gets_the_last_change_of_each_name(wat: Callable[..., str]) -> None:
    """And another reader all of them; neither disturbs the other."""
    seen: list[str] = []

    async def read_all(*, task_status: trio.TaskStatus[None]) -> None:
        async with loader.changes() as mine:
            task_status.started()
            async for change in mine:
                seen.append(f"{change.kind} {change.name}")  # noqa: PERF401 - read one by one

    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(read_all)
        async with loader.changes() as changes:
            for name in ("a", "b"):
                await loader.load(wat(), name)
            await loader.load(wat(version="v2"), "a")
            assert [(await anext(changes)).name for _ in range(2)] == ["b", "a"]
            with trio.move_on_after(0):
                await anext(changes)
                raise AssertionError("there is no other change")
            await wait_all_tasks_blocked()
            assert seen == ["loaded a", "loaded b", "reloaded a"]
        nursery.cancel_scope.cancel()


async def test_a_subscription_ends_with_the_loader(wat: Callable[..., str]) -> None:
    """What was told before is read first."""
    async with open_loader() as loader:
        await loader.load(wat(), "a")
        subscription = loader.changes()
        changes = await subscription.__aenter__()
        await loader.load(wat(), "b")
    assert {change.name async for change in changes} >= {"b"}
    await subscription.__aexit__(None, None, None)


async def test_a_cancelled_reader_loses_nothing(wat: Callable[..., str]) -> None:
    """It got the change that came at the same moment, or the next reader gets it."""
    got: list[Change] = []

    async def read() -> None:
        with scope:
            got.append(await anext(changes))

    async with open_loader() as loader, loader.changes() as changes:
        for cancel_first in (True, False):
            scope = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                if cancel_first:
                    scope.cancel()
                loader._registry.failed("a", ValueError())
                scope.cancel()
            if not got:
                got.append(await anext(changes))
            assert [change.name for change in got] == ["a"]
            got.clear()


async def test_failures(wat: Callable[..., str], tmp_path: Path) -> None:
    """By name, else by the file's; until it is loaded, or unloaded."""
    broken = tmp_path / "mine.wasm"
    broken.write_bytes(b"no wasm")
    async with open_loader() as loader:
        with pytest.raises(CompileError):
            await loader.load(broken)
        with pytest.raises(AbiError):
            await loader.load(wat(abi="2"), "named")
        assert {name: type(error) for name, error in loader.failures.items()} == {
            "mine": CompileError,
            "named": AbiError,
        }
        with pytest.raises(TypeError):
            loader.failures["x"] = ValueError()  # type: ignore[index]
        await loader.load(wat(), "named")
        assert list(loader.failures) == ["mine"]
        with pytest.raises(ReloadFailed):
            await loader.load(b"no wasm", "named")
        assert str(loader.failures["named"]).startswith("plugin 'named' goes on as before")
        await loader.unload("named")
        assert list(loader.failures) == ["mine"]


async def test_a_failure_is_kept_as_it_reads_and_without_its_frames(tmp_path: Path) -> None:
    """With the path of a missing file, and with causes; nothing holds the frames' variables."""
    async with open_loader() as loader:
        with pytest.raises(FileNotFoundError) as missing:
            await loader.load(tmp_path / "missing.wasm")
        kept = loader.failures["missing"]
        assert str(kept) == str(missing.value)
        assert "missing.wasm" in str(kept)
        with pytest.raises(CompileError):
            await loader.load(b"no wasm", "a")
        error: BaseException | None = loader.failures["a"]
        while error is not None:
            assert error.__traceback__ is None
            assert error.__context__ is None
            error = error.__cause__


class _Particular(Exception):
    """An error of an application, which cannot be made from its ``args``."""

    def __new__(cls, *, code: int) -> Self:
        made = super().__new__(cls)
        made.code = code
        return made

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


async def test_a_failure_of_any_class_is_kept(wat: Callable[..., str]) -> None:
    """Also one that cannot be copied, and one that is its own cause."""

    def refuse(_candidate: object) -> None:
        raise errors.pop()

    particular, circle = _Particular(code=7), ValueError("circle")
    circle.__cause__ = _Particular(code=8)
    circle.__cause__.__cause__ = circle
    errors: list[Exception] = [circle, particular]
    async with open_loader(admit=refuse) as loader:
        with pytest.raises(_Particular, match="code 7"):
            await loader.load(wat(), "a")
        assert "code 7" in str(loader.failures["a"])
        with pytest.raises(ValueError, match="circle"):
            await loader.load(wat(), "b")
        assert "circle" in str(loader.failures["b"])


async def test_a_failure_that_is_over_is_told(wat: Callable[..., str]) -> None:
    """Also where the module that serves is loaded once more, which changes nothing else."""
    async with open_loader() as loader, loader.changes() as changes:
        plugin = await loader.load(wat(), "a")
        with pytest.raises(ReloadFailed):
            await loader.load(b"no wasm", "a")
        assert (await anext(changes)).kind is ChangeKind.FAILED
        await loader.load(wat(), "a")
        assert loader.failures == {}
        assert await anext(changes) == Change(kind=ChangeKind.RELOADED, name="a", plugin=plugin)


async def test_many_failures_are_bounded() -> None:
    """The oldest are forgotten."""
    async with open_loader() as loader:
        for at in range(1_002):
            loader._registry.failed(f"n{at}", ValueError(at))
        assert len(loader.failures) == 1_000
        assert next(iter(loader.failures)) == "n2"


async def _follow(loader: Loader, seen: dict[str, Any], failed: dict[str, Any], pause: int) -> None:
    async with loader.changes() as changes:
        seen.update(loader.plugins)
        failed.update(loader.failures)
        async for change in changes:
            for _ in range(pause):
                await trio.lowlevel.checkpoint()
            seen.pop(change.name, None)
            failed.pop(change.name, None)
            if change.plugin is not None:
                seen[change.name] = change.plugin
            if change.error is not None:
                failed[change.name] = change.error


@pytest.mark.parametrize("seed", range(3))
async def test_who_follows_the_changes_is_right_in_the_end(
    wat: Callable[..., str], seed: int
) -> None:
    """After loads, reloads, closes, unloads and failures of all kinds, by several tasks."""
    chance = random.Random(seed)
    sources: list[str | bytes] = [wat(), wat(version="v2"), wat(abi="2"), b"no wasm"]
    expected = (AbiError, CompileError, ConfigureError, KeyError, PluginClosed, ReloadFailed)
    followers: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {}) for _ in range(3)]

    async def disturb() -> None:
        for _ in range(30):
            name = chance.choice("abc")
            try:
                match chance.randrange(6):
                    case 0:
                        await loader.unload(name)
                    case 1:
                        await loader.plugins[name].aclose()
                    case 2:
                        await loader.plugins[name].configure({"k": str(chance.random())})
                    case 3:
                        await loader.load(chance.choice(sources), name, size=chance.choice([1, 2]))
                    case _:
                        await loader.load(chance.choice(sources), name)
            except expected:
                pass

    async with open_loader(size=1) as loader, trio.open_nursery() as nursery:
        nursery.start_soon(_follow, loader, *followers[0], 0)
        nursery.start_soon(_follow, loader, *followers[1], 20)
        async with trio.open_nursery() as disturbing:
            for _ in range(4):
                disturbing.start_soon(disturb)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(_follow, loader, *followers[2], 3)
        await wait_all_tasks_blocked()
        for seen, failed in followers:
            assert seen == dict(loader.plugins)
            assert failed == dict(loader.failures)
        nursery.cancel_scope.cancel()
