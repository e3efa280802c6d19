"""Compiled code on disk: found again, never trusted when damaged, shared by processes."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from wasmpool_host import Module, _cache, _capi, host_function

PLUGIN_IMPORTS = [
    host_function("env", "host_http_request", params=("i64",), results=("i64",))(lambda *_: 0),
    host_function("env", "host_log", params=("i32", "i32"))(lambda *_: None),
]

SEVEN = '(module (func (export "f") (result i32) (i32.const 7)))'
EIGHT = SEVEN.replace("7", "8")


async def result(text: str, directory: Path) -> object:
    """Compile by the cache, and call."""
    module = await Module.compile(text, cache=directory)
    instance = await module.instantiate()
    try:
        return await instance.call("f")
    finally:
        await instance.aclose()


async def test_the_second_time_nothing_is_compiled(
    tmp_path: Path, compiled_here: list[int]
) -> None:
    """One entry for each module; the directory is made if need be."""
    directory = tmp_path / "some" / "where"
    assert await result(SEVEN, directory) == 7
    assert await result(EIGHT, directory) == 8
    assert len(compiled_here) == 2
    assert await result(SEVEN, directory) == 7
    assert await result(EIGHT, directory) == 8
    assert len(compiled_here) == 2
    assert len(list(directory.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign", "sealed rubbish"])
async def test_a_damaged_entry_is_compiled_again_and_replaced(
    tmp_path: Path, compiled_here: list[int], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """It is noticed before any of it is run, and logged."""
    assert await result(SEVEN, tmp_path) == 7
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    rubbish = b"rubbish" * 100
    entry.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "empty": b"",
            "flipped": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
            "foreign": rubbish,
            "sealed rubbish": rubbish + _cache.seal(rubbish),
        }[damage]
    )
    with caplog.at_level(logging.WARNING, "wasmpool.cache"):
        assert await result(SEVEN, tmp_path) == 7
    assert "compiling again" in caplog.text
    assert len(compiled_here) == 2
    assert entry.read_bytes() == whole
    assert await result(SEVEN, tmp_path) == 7
    assert len(compiled_here) == 2


async def test_a_large_guest_loads_in_a_fraction_of_its_compile_time(tmp_path: Path) -> None:
    """A guest of the Go compiler, of megabytes: under a twentieth."""
    source = Path(__file__).parent.parent / "guests" / "go_plugin.wasm"

    async def seconds() -> float:
        began = time.perf_counter()
        await Module.compile(source, imports=PLUGIN_IMPORTS, cache=tmp_path)
        return time.perf_counter() - began

    first = await seconds()
    assert min([await seconds() for _ in range(5)]) < first / 20


async def test_another_version_does_not_find_it(
    tmp_path: Path, compiled_here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key has what the code depends on."""
    await result(SEVEN, tmp_path)
    monkeypatch.setattr(_capi, "engine_key", lambda: "wasmtime-0.0.0")
    await result(SEVEN, tmp_path)
    assert len(compiled_here) == 2


async def test_a_cache_that_cannot_be_written_is_slow_and_not_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    (tmp_path / "file").write_text("no directory")
    assert await result(SEVEN, tmp_path / "file") == 7
    assert "cannot write cache entry" in caplog.text


async def test_processes_share_a_directory(tmp_path: Path) -> None:
    """Many at once, from nothing: each has its module, and one whole entry is left."""
    code = f"""
import sys, trio
from pathlib import Path
from wasmpool_host import Module
async def main():
    module = await Module.compile({SEVEN!r}, cache=Path(sys.argv[1]))
    instance = await module.instantiate()
    assert await instance.call("f") == 7
    await instance.aclose()
trio.run(main)
"""
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(_run, [sys.executable, "-c", code, str(tmp_path)])
    assert len(list(tmp_path.iterdir())) == 1
    assert await result(SEVEN, tmp_path) == 7


async def _run(command: list[str]) -> None:
    done = await trio.run_process(command, capture_stderr=True, check=False)
    assert done.returncode == 0, done.stderr
    assert isinstance(done, subprocess.CompletedProcess)
