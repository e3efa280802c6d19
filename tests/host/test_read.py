from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool_host import Module, _read
from wasmpool_host._blocking import BlockingCalls, TooManyAbandoned

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPTY = b"\0asm\1\0\0\0"


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.wasm"
    os.mkfifo(path)
    return path


class Disk:
    """One that is silent until it is told to answer."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked = 0
        self._read = _read._read_regular

    def read(self, descriptor: int, path: Path) -> bytes:
        self.asked += 1
        assert self.answers.wait(60)
        return self._read(descriptor, path)

    async def was_asked(self, times: int) -> None:
        while self.asked < times:
            await trio.lowlevel.checkpoint()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Files lie on such a disk; the counts are as new."""
    monkeypatch.setattr(_read, "_FILES", BlockingCalls("reads of modules from files"))
    disk = Disk()
    monkeypatch.setattr(_read, "_read_regular", disk.read)
    yield disk
    disk.answers.set()


async def begun() -> None:
    """The task that was started before is at its first checkpoint at least."""
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()


async def ended(calls: BlockingCalls) -> None:
    while calls.abandoned:
        await trio.lowlevel.checkpoint()


async def test_a_module_comes_through_a_pipe_piece_by_piece(pipe: Path) -> None:
    """Its writer may come late and be slow: it is waited for, and the end is when it closes."""
    modules: list[Module] = []

    async def compile_it() -> None:
        modules.append(await Module.compile(pipe))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(compile_it)
        writer = -1
        while writer < 0:  # until the reader is there
            await trio.lowlevel.checkpoint()
            with contextlib.suppress(OSError):
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, EMPTY[:3])
        await trio.testing.wait_all_tasks_blocked()
        os.write(writer, EMPTY[3:])
        os.close(writer)
    assert modules[0].name == "pipe"


async def test_a_hundred_pipes_without_writers_hold_up_nobody(pipe: Path, tmp_path: Path) -> None:
    """They have no threads: a module from a file compiles meanwhile, and a cancel frees them."""
    (tmp_path / "empty.wasm").write_bytes(EMPTY)
    before = open_descriptors()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(Module.compile, pipe)
        await trio.testing.wait_all_tasks_blocked()
        assert (await Module.compile(tmp_path / "empty.wasm")).name == "empty"
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        nursery.cancel_scope.cancel()
    await ended(_read._FILES)
    assert open_descriptors() <= before + 1  # the module's image


async def test_reads_of_a_silent_disk_are_abandoned_up_to_a_cap(
    silent: Disk, tmp_path: Path
) -> None:
    """Cancelled reads free their tasks; the 33rd fails at once and says why; then all is well."""
    path = tmp_path / "empty.wasm"
    path.write_bytes(EMPTY)
    for number in range(1, 33):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Module.compile, path)
            await silent.was_asked(number)
            nursery.cancel_scope.cancel()
        assert _read._FILES.abandoned == number
    with pytest.raises(TooManyAbandoned, match="32 reads of modules from files were cancelled"):
        await Module.compile(path)
    assert (await Module.compile(EMPTY)).exports == {}
    silent.answers.set()
    await ended(_read._FILES)
    assert (await Module.compile(path)).name == "empty"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/full"])
async def test_a_device_is_no_module(device: str) -> None:
    """Some never end: they are refused unread, by a sentence."""
    with pytest.raises(OSError, match="is a device, neither a file nor a pipe"):
        await Module.compile(Path(device))


async def test_a_directory_and_a_missing_file_are_what_they_are(tmp_path: Path) -> None:
    """The system's own errors, with the path."""
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        await Module.compile(tmp_path)
    with pytest.raises(FileNotFoundError, match="nope"):
        await Module.compile(tmp_path / "nope")


async def test_what_never_ends_is_cut_short(
    tmp_path: Path, pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file or a pipe above the bound is an error, and nothing stays open."""
    monkeypatch.setattr(_read, "MOST", 1000)
    path = tmp_path / "large.wasm"
    path.write_bytes(bytes(1001))
    before = open_descriptors()
    with pytest.raises(OSError, match="too large a module"):
        await Module.compile(path)
    writer = os.open(pipe, os.O_RDWR)
    os.write(writer, bytes(1001))
    with pytest.raises(OSError, match="too large a module"):
        await Module.compile(pipe)
    os.close(writer)
    assert open_descriptors() == before


async def test_a_pipe_in_the_cache_is_compiled_again(tmp_path: Path) -> None:
    """An entry that is no file is not waited for; it is replaced by one that is."""
    cache = tmp_path / "cache"
    await Module.compile(EMPTY, cache=cache)
    (entry,) = cache.iterdir()
    entry.unlink()
    os.mkfifo(entry)
    await Module.compile(EMPTY, cache=cache)
    assert entry.is_file()


async def test_a_relative_cache_is_that_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may change its directory while a module is compiled."""
    monkeypatch.chdir(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: Module.compile(EMPTY, cache="cache"))
        await begun()
        os.chdir("/")
    assert list((tmp_path / "cache").iterdir())


async def test_bytes_are_those_of_the_call() -> None:
    """A bytearray that changes while it waits for a thread is compiled as it was."""
    source = bytearray(EMPTY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Module.compile, source)
        await begun()
        source[:] = b"nonsense"
