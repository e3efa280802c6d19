"""Processes that do chunks: as one that does lines, however they end."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from tests.batch.children import batch_processes, is_running
from tests.batch.fakes import FakeBlocks

from wasmpool import HttpPolicy, Limits, Module
from wasmpool._batch import processes as module
from wasmpool._batch.chunk import Chunk
from wasmpool._batch.job import Job
from wasmpool._batch.ordered import OrderedRows
from wasmpool._batch.places import PlaceLost, PlacesFailed
from wasmpool._batch.processes import Processes, open_processes
from wasmpool.example import PATH as EXAMPLE
from wasmpool_host.lowlevel import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PROGRAM = Path(__file__).parents[1] / "guests" / "c_program.wasm"

Until = "Callable[[Callable[[], bool]], Awaitable[None]]"


def chunk_of(data: bytes) -> Chunk:
    return Chunk(number=0, first_line=1, count=data.count(b"\n"), data=data)


def texts(content: bytes) -> list[str]:
    return [next(iter(json.loads(row).values())) for row in content.splitlines()]


@asynccontextmanager
async def running(
    cache: Path, count: int = 1, *, program: tuple[str, ...] = (), **options: Any
) -> AsyncGenerator[Processes]:
    """Processes with the example, or a program; none is left of them."""
    file = PROGRAM if program else EXAMPLE
    source = Source.read(file)
    await Module.compile(source, cache=cache) if program else None
    job = Job(
        file=str(file),
        tool=None if program else options.pop("tool", "word_count"),
        args=("program", *program) if program else (),
        size=1,
        tasks=2,
        cache=str(cache),
        **options,
    )
    before = set(batch_processes())
    async with open_processes(job, source, count) as processes:
        yield processes
    assert set(batch_processes()) <= before


async def test_chunks_go_to_all_processes(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Several at once; rows, failures and numbers are there, and what guests log."""
    async with running(cache, 2, program=("say", "out", "warned"), numbered=True) as processes:
        assert processes.size == 4
        rows = await processes.do(chunk_of(b"a\nb\n"))
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(processes.do, chunk_of(b"a\n" * 10))
        assert len(batch_processes()) == 2
        assert list(processes.facts()) == [("processes", "2")]
    assert rows.content == b'{"line": 1, "data": "out"}\n{"line": 2, "data": "out"}\n'
    assert rows.failed == ()
    warned = [each for each in caplog.records if each.name == "wasmpool.guest.stderr"]
    assert [each.getMessage() for each in warned] == ["warned"] * 82
    assert {each.levelno for each in warned} == {logging.WARNING}


async def test_a_killed_process_is_replaced_and_its_chunks_are_lost(
    cache: Path, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Both of them say how it ended; the next one finds another process."""
    endings: list[str] = []

    async def lose(processes: Processes) -> None:
        with pytest.raises(PlaceLost) as lost:
            await processes.do(chunk_of(b'{"ms": 60000}\n'))
        endings.append(str(lost.value))

    async with running(cache, tool="nap") as processes:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, processes)
            nursery.start_soon(lose, processes)
            await until(lambda: sum(len(each.tasks) for each in processes._ready) == 2)
            (pid,) = batch_processes()
            os.kill(pid, signal.SIGKILL)
        rows = await processes.do(chunk_of(b'{"ms": 1}\n'))
        assert rows.count == 1
        assert batch_processes() != [pid]
        assert ("processes replaced", "1") in list(processes.facts())
    assert endings == ["the process was killed by signal 9"] * 2
    assert "another one takes its place" in caplog.text


async def test_a_line_whose_processes_are_killed_is_an_error(cache: Path, until: Any) -> None:
    """It is tried once more; then its row says how they ended, and the others are answered."""
    blocks = FakeBlocks(b'{"ms": 600000}\n')
    killed: list[int] = []
    async with running(cache, tool="nap") as processes, trio.open_nursery() as nursery:
        rows = OrderedRows(processes, blocks)
        nursery.start_soon(rows.work)
        for _ in range(2):
            await until(lambda: any(each.tasks for each in processes._ready))
            killed += batch_processes()
            os.kill(killed[-1], signal.SIGKILL)
            await until(lambda: not processes._ready)
        (done,) = await rows.take()
        blocks.send.send_nowait(b'{"ms": 1}\n')
        (after,) = await rows.take()
        blocks.end()
        assert await rows.take() == []
    assert len(set(killed)) == 2
    assert done.rows.content == b'{"error": "the process was killed by signal 9"}\n'
    assert (done.rows.failed, after.rows.failed) == ((0,), ())


async def test_a_cancel_kills_processes_that_compute(cache: Path, until: Any) -> None:
    """At once, and the block has nothing left when it ends."""
    pid = 0
    with trio.CancelScope() as scope:
        async with (
            running(cache, 1, program=("spin",)) as processes,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(processes.do, chunk_of(b"\n"))
            await until(lambda: bool(processes._ready))
            (pid,) = batch_processes()
            scope.cancel()
    assert scope.cancelled_caught
    assert not is_running(pid)


async def test_a_cancel_while_processes_start_leaves_none(cache: Path) -> None:
    """Also one that is not ready."""
    with trio.move_on_after(0.05):
        async with running(cache, 2) as processes:
            await processes.do(chunk_of(b"a\n"))
    assert batch_processes() == []


async def test_an_error_of_the_block_is_raised_as_it_is(cache: Path) -> None:
    """No group around it."""
    with pytest.raises(ZeroDivisionError):
        async with running(cache):
            raise ZeroDivisionError


async def test_processes_that_cannot_start_are_given_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some attempts; who waits is told why."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "_MOST_FAILED_STARTS", 1)
    async with running(cache, 1, tool="nonsense") as processes:
        with pytest.raises(
            PlacesFailed, match="no process can be started: plugin 'example' has no tool 'nonsense'"
        ):
            await processes.do(chunk_of(b"a\n"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with running(cache, 1) as processes:
        with pytest.raises(PlacesFailed, match="No such file or directory"):
            await processes.do(chunk_of(b"a\n"))


@pytest.mark.slow
async def test_a_process_that_sends_nonsense_is_ended(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not believed."""
    monkeypatch.setattr(module, "_MOST_FAILED_STARTS", 1)
    monkeypatch.setattr(module, "MOST_TO_BATCH", 1)
    async with running(cache, 1) as processes:
        with pytest.raises(PlacesFailed, match="what is no message: a message of .* bytes"):
            await processes.do(chunk_of(b"a\n"))


def test_a_job_is_sent_as_it_is() -> None:
    """With all that a plugin may do."""
    job = Job(
        file="a.wasm",
        tool="t",
        args=("x",),
        size=1,
        tasks=2,
        limits=Limits(memory=65536, call_seconds=1.5),
        max_uses=3,
        http=HttpPolicy(allow_hosts=["a.example", "*.b.example"], max_response=10),
        credentials={"k": "v"},
        numbered=True,
        retries=4,
        cache="/c",
    )
    assert Job.of_json(json.loads(json.dumps(job.as_json()))) == job
    plain = Job(file="a.wasm", size=1, tasks=1)
    assert Job.of_json(json.loads(json.dumps(plain.as_json()))) == plain
    assert "v" not in repr(attrs.evolve(plain, credentials={"k": "v"}))


PARENT = """
import sys, trio
from pathlib import Path
from wasmpool._batch.chunk import Chunk
from wasmpool._batch.job import Job
from wasmpool._batch.processes import open_processes
from wasmpool_host.lowlevel import Source

async def main(file, cache):
    job = Job(file=file, args=("program", "spin"), size=1, tasks=1, cache=cache)
    async with open_processes(job, Source.read(Path(file)), 1) as processes:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(processes.do, Chunk(number=0, first_line=1, count=1, data=b"\\n"))
            while not processes._ready:
                await trio.sleep(0.01)
            await trio.sleep(0.05)  # the guest may be at it; it need not
            print("spins", flush=True)
            await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""


async def test_no_process_survives_the_batch(cache: Path, until: Any) -> None:
    """Not even one that computes, when the batch is killed."""
    await Module.compile(PROGRAM, cache=cache)
    command = [sys.executable, "-c", PARENT, str(PROGRAM), str(cache)]
    with Popen(command, stdout=PIPE) as parent:  # noqa: ASYNC220 - it is not waited for
        assert parent.stdout is not None
        assert await trio.to_thread.run_sync(parent.stdout.readline) == b"spins\n"
        (pid,) = batch_processes(str(parent.pid))
        parent.kill()
        await until(lambda: not is_running(pid))
