"""Compiling while instances serve: in a subprocess, and what happens if it fails."""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any

import pytest
import trio

from wasmpool.example import PATH as EXAMPLE
from wasmpool_host import CompileError, Module, _capi
from wasmpool_host._compile import compiler
from wasmpool_host._compile.compile_subprocess import PRIORITY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SIZE = "(memory 1) (data (i32.const 0) " + '"' + "x" * compiler.SUBPROCESS_THRESHOLD + '")'
SEVEN = f'(module {SIZE} (func (export "f") (result i32) (i32.const 7)))'
TINY = '(module (func (export "f") (result i32) (i32.const 7)))'

INVALID = b"\0asm\1\0\0\0" + b"\x0b" * compiler.SUBPROCESS_THRESHOLD


@asynccontextmanager
async def serving() -> AsyncGenerator[None]:
    instance = await (await Module.compile(TINY)).instantiate()
    try:
        yield
    finally:
        await instance.aclose()


async def result(module: Module) -> object:
    instance = await module.instantiate()
    try:
        return await instance.call("f")
    finally:
        await instance.aclose()


async def test_a_large_module_is_compiled_elsewhere_while_instances_serve(
    compiled_here: list[int], tmp_path: Path
) -> None:
    """Not before, nor after; a small one never. The cache stores its code as usual."""
    assert await result(await Module.compile(SEVEN)) == 7
    assert len(compiled_here) == 1
    async with serving():
        assert len(compiled_here) == 2
        assert await result(await Module.compile(SEVEN)) == 7
        assert await result(await Module.compile(SEVEN, cache=tmp_path)) == 7
        assert len(compiled_here) == 2
        assert await result(await Module.compile(TINY)) == 7
        assert len(compiled_here) == 3
    assert await result(await Module.compile(SEVEN, cache=tmp_path)) == 7
    assert len(compiled_here) == 3
    assert await result(await Module.compile(SEVEN)) == 7
    assert len(compiled_here) == 4


async def test_the_code_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example plugin, with each setting of the engine: the same bytes as compiled here."""
    monkeypatch.setattr(compiler, "_time_limit", lambda _: 60)  # other processes may be busy
    binary = EXAMPLE.read_bytes()
    engine = _capi.new_engine()
    compiled = compiler.compile_here(engine, binary, "the example")
    code = await compiler.compile_in_subprocess(binary, "the example")
    assert code == _capi.serialize(compiled)


async def test_an_invalid_module_is_refused_with_its_reason() -> None:
    """The same message as from this process."""
    with pytest.raises(CompileError) as plain:
        await Module.compile(INVALID)
    async with serving():
        with pytest.raises(CompileError) as serving_error:
            await Module.compile(INVALID)
    assert str(serving_error.value) == str(plain.value)
    assert "is no valid WebAssembly module" in str(plain.value)


async def test_a_module_that_wasmtime_cannot_compile_is_not_invalid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a version of Wasmtime does not support yet is a feature, too."""

    def refuse(_engine: object, _binary: bytes) -> None:
        raise _capi.CApiError("in one place\n\nCaused by:\n    Unsupported feature: a heap type")

    monkeypatch.setattr(_capi, "compile_binary", refuse)
    with pytest.raises(CompileError, match="needs a feature .*: Unsupported feature: a heap type"):
        await Module.compile(TINY)


async def test_without_files_in_memory_it_is_compiled_here(
    compiled_here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python may be built for a C library without them."""
    monkeypatch.delattr(os, "memfd_create")
    async with serving():
        assert await result(await Module.compile(SEVEN)) == 7
    assert len(compiled_here) == 2


@pytest.mark.parametrize("executable", ["", "/nowhere/python3", "/usr/bin/uwsgi"])
async def test_without_an_interpreter_it_is_compiled_here(
    compiled_here: list[int], monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    """None, a missing one, and a program that embeds Python, which is not started."""
    async with serving():
        monkeypatch.setattr(sys, "executable", executable)
        assert await result(await Module.compile(SEVEN)) == 7
    assert len(compiled_here) == 2


def script(directory: Path, text: str) -> Path:
    path = directory / "script.py"
    path.write_text(f"import os, signal, time\n{text}\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "raise SystemExit(2)",
        "print('no code')",
        "os.kill(os.getpid(), signal.SIGSYS)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "signal.signal(signal.SIGINT, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGINT)",
    ],
)
async def test_a_process_that_fails_costs_only_time(
    compiled_here: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    """It fails, writes rubbish, or is asked to end: then the module is compiled here."""
    monkeypatch.setattr(compiler, "_SCRIPT", script(tmp_path, text))
    async with serving():
        assert await result(await Module.compile(SEVEN)) == 7
    assert len(compiled_here) == 2


@pytest.mark.parametrize(("number", "name"), [(9, "Killed"), (11, "Segm"), (40, "Real-time")])
async def test_a_process_that_is_killed_is_an_error(
    compiled_here: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: int,
    name: str,
) -> None:
    """For example because memory ran out: this process must not try the same."""
    text = f"os.kill(os.getpid(), {number})"
    monkeypatch.setattr(compiler, "_SCRIPT", script(tmp_path, text))
    async with serving():
        with pytest.raises(CompileError, match=rf"the module of .* signal {number} \({name}"):
            await Module.compile(SEVEN)
    assert len(compiled_here) == 1


async def test_a_process_that_takes_too_long_is_ended(
    compiled_here: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Guests on all CPUs may leave it almost no time; then the module is compiled here."""
    monkeypatch.setattr(compiler, "_SCRIPT", script(tmp_path, "time.sleep(1000)"))
    monkeypatch.setattr(compiler, "_time_limit", lambda _: 0.05)
    caplog.set_level(logging.INFO, "wasmpool.compiler")
    async with serving():
        assert await result(await Module.compile(SEVEN)) == 7
    assert len(compiled_here) == 2
    assert "is compiled in this process after all: the subprocess took too long" in caplog.text


async def test_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each uses all cores that are left; the others run after it."""
    running = tmp_path / "running"
    text = f"os.mkdir({str(running)!r}); time.sleep(0.02); os.rmdir({str(running)!r})"
    monkeypatch.setattr(compiler, "_SCRIPT", script(tmp_path, text))
    statuses: list[int | None] = []
    real = compiler._run

    async def run(*args: Any) -> int | None:
        status = await real(*args)
        statuses.append(status)
        return status

    monkeypatch.setattr(compiler, "_run", run)
    async with serving(), trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(Module.compile, SEVEN)
    assert statuses == [0] * 5  # mkdir fails where it is there already


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_cancel_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, deaf: bool
) -> None:
    """It is gone when `compile` raises, even if it ignores SIGTERM; no descriptor is left."""
    started = tmp_path / "started"
    text = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if deaf else ""
    text += f"open({str(started)!r} + '.new', 'w').write(str(os.getpid()))\n"
    text += f"os.rename({str(started)!r} + '.new', {str(started)!r})\ntime.sleep(1000)"
    monkeypatch.setattr(compiler, "_SCRIPT", script(tmp_path, text))
    monkeypatch.setattr(compiler, "_time_limit", lambda _: 1_000)
    async with serving():
        gc.collect()  # modules of earlier tests, which hold their memory's image open
        files = len(list(Path("/proc/self/fd").iterdir()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Module.compile, SEVEN)
            while not started.exists():  # noqa: ASYNC110 - by another process
                await trio.sleep(0.005)
            assert os.getpgid(int(started.read_text())) != os.getpgid(0)  # Ctrl-C is not for it
            nursery.cancel_scope.cancel()
        with pytest.raises(ProcessLookupError):
            os.kill(int(started.read_text()), 0)
        gc.collect()
        assert len(list(Path("/proc/self/fd").iterdir())) == files


async def test_it_has_a_low_priority() -> None:
    """So that it takes almost no CPU from the instances that serve."""
    command = [sys.executable, "-I", "-S", str(compiler._SCRIPT), _capi.library(), "module"]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(trio.run_process, command, stdin=PIPE, stdout=DEVNULL, check=False)
        )
        with trio.fail_after(30):  # it waits for its input, which does not come
            while os.getpriority(os.PRIO_PROCESS, process.pid) != PRIORITY:  # noqa: ASYNC110 - by another process
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
