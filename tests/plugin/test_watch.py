"""`Loader.watch`: a directory's plugins follow its files."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio

from wasmpool._loader import Loader, open_loader
from wasmpool._metadata import ToolResult
from wasmpool_host._capi import text_to_binary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def binary(wat: Callable[..., str]) -> Callable[..., bytes]:
    """The plugin by hand as a file has it."""
    return lambda **replaced: text_to_binary(wat(**replaced))


def version(loader: Loader, name: str) -> str:
    metadata = loader.plugins[name].metadata
    return metadata.version if metadata else ""


async def test_plugins_follow_their_files(
    tmp_path: Path, binary: Callable[..., bytes], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """Files that are there, come, change, break, are mended and go."""
    caplog.set_level(logging.INFO, logger="wasmpool.loader")
    (tmp_path / "first.wasm").write_bytes(binary())
    (tmp_path / "other.txt").write_text("no plugin")
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        assert list(loader.plugins) == ["first"]
        first = loader.plugins["first"]
        assert first.name == "first"

        (tmp_path / "second.wasm").write_bytes(binary())
        await until(lambda: "second" in loader.plugins)

        (tmp_path / "first.wasm").write_bytes(binary(version="v2"))
        await until(lambda: version(loader, "first") == "v2")
        assert loader.plugins["first"] is first

        (tmp_path / "first.wasm").write_bytes(binary(version="v3")[:-100])
        await until(lambda: "'first' goes on as it was: CompileError" in caplog.text)
        assert caplog.text.count("goes on") == 1
        assert await first.execute("version") == ToolResult("v2")

        (tmp_path / "first.wasm").write_bytes(binary(version="v3"))
        await until(lambda: version(loader, "first") == "v3")

        (tmp_path / "second.wasm").unlink()
        await until(lambda: "second" not in loader.plugins)
        assert loader.plugins["first"] is first
        nursery.cancel_scope.cancel()
    assert first.closed


async def test_a_file_that_is_broken_from_the_start(
    tmp_path: Path, binary: Callable[..., bytes], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """It is logged and does not keep the others from serving; mended, it is loaded."""
    (tmp_path / "broken.wasm").write_bytes(binary(abi="2"))
    (tmp_path / "good.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        assert list(loader.plugins) == ["good"]
        assert "plugin 'broken' is not loaded: AbiError: ABI version 2" in caplog.text
        (tmp_path / "broken.wasm").write_bytes(binary())
        await until(lambda: "broken" in loader.plugins)
        nursery.cancel_scope.cancel()


async def test_a_file_that_is_replaced_in_one_step(
    tmp_path: Path, binary: Callable[..., bytes], until: Until
) -> None:
    """As careful deployments do: a rename over the old file."""
    (tmp_path / "mine.wasm").write_bytes(binary())
    async with open_loader() as loader, trio.open_nursery() as nursery:
        await nursery.start(loader.watch, tmp_path)
        (tmp_path / "mine.new").write_bytes(binary(version="v2"))
        (tmp_path / "mine.new").rename(tmp_path / "mine.wasm")
        await until(lambda: version(loader, "mine") == "v2")
        nursery.cancel_scope.cancel()


async def test_the_loader_closes_while_it_watches(
    tmp_path: Path, binary: Callable[..., bytes]
) -> None:
    """Watching ends by itself."""
    (tmp_path / "mine.wasm").write_bytes(binary())
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, open_loader() as loader:
            await nursery.start(loader.watch, tmp_path)


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """The OSError comes out as itself."""
    async with open_loader() as loader:
        with pytest.raises(FileNotFoundError):
            await loader.watch(tmp_path / "missing")


async def test_what_is_no_directory() -> None:
    """A TypeError by itself, before anything is watched."""
    async with open_loader() as loader:
        with pytest.raises(TypeError, match="takes the path of a directory, not None"):
            await loader.watch(None)  # type: ignore[arg-type]


async def test_a_closed_loader_watches_nothing(tmp_path: Path) -> None:
    """It says so, as `load` does."""
    async with open_loader() as loader:
        pass
    with pytest.raises(RuntimeError, match="the loader is closed"):
        await loader.watch(tmp_path)


async def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    async with open_loader() as loader:
        with pytest.raises(ModuleNotFoundError, match=r'pip install "wasmpool\[plugin\]"'):
            await loader.watch(tmp_path)
