"""`open_loader(admit=...)`, options of one plugin, and single files that are watched."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import trio

from wasmpool import Candidate, DigestError
from wasmpool._errors import ReloadFailed
from wasmpool._plugin.loader import Loader, open_loader
from wasmpool._plugin.tool_result import ToolResult
from wasmpool_host._capi import text_to_binary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Until = Callable[[Callable[[], bool]], Awaitable[None]]


class SameTool(Exception):
    """Two plugins have a tool of the same name."""


def unique_tools(loader: Callable[[], Loader]) -> Callable[[Candidate], None]:
    """Refuse a plugin with a tool that another one has."""

    def admit(candidate: Candidate) -> None:
        for name, plugin in loader().plugins.items():
            if name != candidate.name and {t.name for t in plugin.tools} & {
                t.name for t in candidate.tools
            }:
                raise SameTool(name)

    return admit


async def test_of_two_loads_at_once_one_is_refused(wat: Callable[..., str]) -> None:
    """Whichever is ready first serves; the other one is in the failures."""
    refused: list[str] = []

    async def load(name: str) -> None:
        try:
            await loader.load(wat(), name)
        except SameTool:
            refused.append(name)

    async with open_loader(admit=unique_tools(lambda: loader)) as loader:
        async with trio.open_nursery() as nursery:
            for name in "abcd":
                nursery.start_soon(load, name)
        assert len(refused) == 3
        assert sorted([*loader.plugins, *refused]) == ["a", "b", "c", "d"]
        assert set(loader.failures) == set(refused)


async def test_a_reload_that_is_refused(wat: Callable[..., str]) -> None:
    """The old module serves, with the same options or with others; the cause is the refusal."""
    seen: list[Candidate] = []

    def admit(candidate: Candidate) -> None:
        seen.append(candidate)
        if candidate.metadata.version == "v2":
            raise SameTool("v2")

    async with open_loader(admit=admit) as loader:
        plugin = await loader.load(wat(), "a")
        assert (seen[0].name, seen[0].replaces, seen[0].tools) == ("a", None, plugin.tools)
        for size in (None, 3):
            options = {} if size is None else {"size": size}
            with pytest.raises(ReloadFailed) as failed:
                await loader.load(wat(version="v2"), "a", **options)  # type: ignore[arg-type]
            assert isinstance(failed.value.__cause__, SameTool)
            assert seen[-1].replaces is plugin
            assert loader.plugins["a"] is plugin
            assert await plugin.execute("version") == ToolResult("v1")
        with pytest.raises(ReloadFailed):
            await plugin.reload(wat(version="v2"))
        assert await plugin.execute("version") == ToolResult("v1")


async def test_options_of_one_plugin(wat: Callable[..., str]) -> None:
    """Over the loader's; a load with others puts a new plugin in service, none keeps them."""
    async with open_loader(size=4) as loader:
        assert (await loader.load(wat(), "other")).pool.statistics().size == 4
        first = await loader.load(wat(), "a", {"k": "v"}, size=2)
        assert first.pool.statistics().size == 2
        assert await loader.load(wat(version="v2"), "a") is first
        second = await loader.load(wat(version="v2"), "a", size=3)
        assert second is loader.plugins["a"]
        assert second is not first
        assert second.pool.statistics().size == 3
        assert await second.execute("credentials") == ToolResult('{"k":"v"}')
        assert first.closed
        with pytest.raises(TypeError, match="sizes"):
            await loader.load(wat(), "a", sizes=3)  # type: ignore[call-arg]


async def test_another_file_than_was_asked_for(wat: Callable[..., str], tmp_path: Path) -> None:
    """It is refused before it is compiled."""
    file = tmp_path / "mine.wasm"
    file.write_bytes(text_to_binary(wat()))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    async with open_loader() as loader:
        with pytest.raises(DigestError):
            await loader.load(file, "mine", sha256="0" * 64)
        assert isinstance(loader.failures["mine"], DigestError)
        await loader.load(file, "mine", sha256=digest.upper())
        assert not loader.failures


@pytest.mark.usefixtures("quick_watch")
async def test_a_single_file(wat: Callable[..., str], tmp_path: Path, until: Until) -> None:
    """With a name, credentials, options and a digest; missing, there, another, removed."""
    file = tmp_path / "file.wasm"
    content = text_to_binary(wat())
    digest = hashlib.sha256(content).hexdigest()
    async with open_loader() as loader, trio.open_nursery() as nursery:

        async def start(*, task_status: trio.TaskStatus[None]) -> None:
            await loader.watch_file(
                file, "mine", {"k": "v"}, sha256=digest, size=2, task_status=task_status
            )

        await nursery.start(start)
        assert isinstance(loader.failures["mine"], FileNotFoundError)
        assert str(file) in str(loader.failures["mine"])
        (tmp_path / "neighbour.wasm").write_bytes(content)
        file.write_bytes(content)
        await until(lambda: "mine" in loader.plugins)
        plugin = loader.plugins["mine"]
        assert list(loader.plugins) == ["mine"]
        assert plugin.pool.statistics().size == 2
        assert await plugin.execute("credentials") == ToolResult('{"k":"v"}')
        assert not loader.failures
        file.write_bytes(text_to_binary(wat(version="v2")))
        await until(lambda: "mine" in loader.failures)
        assert isinstance(loader.failures["mine"], DigestError)
        assert await plugin.execute("version") == ToolResult("v1")
        file.write_bytes(content)
        await until(lambda: "mine" not in loader.failures)
        assert loader.plugins["mine"] is plugin
        file.unlink()
        await until(lambda: "mine" not in loader.plugins)
        await until(lambda: isinstance(loader.failures.get("mine"), FileNotFoundError))
        nursery.cancel_scope.cancel()
