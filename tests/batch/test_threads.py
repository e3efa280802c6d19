"""Threads that do chunks: as one trio run that does lines. With the GIL they do so, too, slowly."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.batch.fakes import FakeBlocks
from tests.host.seams import open_instances

from wasmpool import Limits, LinkError
from wasmpool._batch.chunk import Chunk
from wasmpool._batch.job import Job
from wasmpool._batch.ordered import OrderedRows
from wasmpool._batch.threads import open_threads
from wasmpool.example import PATH as EXAMPLE
from wasmpool_host.lowlevel import Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

PROGRAM = Path(__file__).parents[1] / "guests" / "c_program.wasm"


def chunk_of(data: bytes) -> Chunk:
    return Chunk(number=0, first_line=1, count=data.count(b"\n"), data=data)


def job(cache: Path, **options: Any) -> Job:
    options = {"tool": "word_count", "size": 1, "tasks": 2, "cache": str(cache), **options}
    return Job(file=str(EXAMPLE), **options)


async def test_chunks_go_to_all_threads(cache: Path) -> None:
    """Several at once; what the rows say is of their lines, and nothing is left of the threads."""
    before = open_instances()
    async with open_threads(job(cache, numbered=True), Source.read(EXAMPLE), 2) as threads:
        assert threads.size == 4
        rows = await threads.do(chunk_of(b"a b c\n{\n"))
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(threads.do, chunk_of(b"a\n" * 10))
        assert open_instances() - before == 2
        assert list(threads.facts()) == [("threads", "2")]
    first, second = map(json.loads, rows.content.splitlines())
    assert json.loads(first["data"])["words"] == 3
    assert (rows.failed, second["line"], "error" in second) == ((1,), 2, True)
    assert open_instances() == before


async def test_rows_are_in_the_order_of_the_input(cache: Path) -> None:
    """Whichever thread does a chunk."""
    blocks = FakeBlocks(b"".join(b'{"ms": %d}\n' % (k % 7) for k in range(100)))
    blocks.end()
    numbers: list[int] = []
    napping = job(cache, tool="nap", tasks=8, size=4, numbered=True)
    async with (
        open_threads(napping, Source.read(EXAMPLE), 2) as threads,
        trio.open_nursery() as nursery,
    ):
        rows = OrderedRows(threads, blocks, numbered=True)
        nursery.start_soon(rows.work)
        while done := await rows.take():
            for each in done:
                numbers += [json.loads(row)["line"] for row in each.rows.content.splitlines()]
    assert numbers == list(range(1, 101))


@pytest.mark.parametrize("program", [False, True])
async def test_a_cancel_ends_the_calls_under_way(cache: Path, *, program: bool) -> None:
    """Of guests that wait, and of those that compute; the block ends with nothing left."""
    before = open_instances()
    if program:
        spinning = job(cache, tool=None, args=("program", "spin"))
        opening = open_threads(spinning, Source.read(PROGRAM), 2)
    else:
        opening = open_threads(job(cache, tool="nap"), Source.read(EXAMPLE), 2)
    async with opening as threads, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(threads.do, chunk_of(b'{"ms": 600000}\n'))
        for _ in range(20):
            await trio.sleep(0.005)  # they are at any point of their way
        nursery.cancel_scope.cancel()
    assert open_instances() == before
    assert not [each for each in threading.enumerate() if each.name == "wasmpool ticker"]


async def test_a_chunk_that_is_cancelled_leaves_room(cache: Path) -> None:
    """The next ones are done."""
    async with open_threads(job(cache, tool="nap"), Source.read(EXAMPLE), 1) as threads:
        for _ in range(3):
            with trio.move_on_after(0.02) as scope:
                await threads.do(chunk_of(b'{"ms": 600000}\n'))
            assert scope.cancelled_caught
        assert (await threads.do(chunk_of(b'{"ms": 1}\n'))).failed == ()


async def test_a_guest_that_cannot_be_opened_is_an_error(cache: Path) -> None:
    """As itself, and no thread is left."""
    source = Source.read('(module (import "env" "nothing" (func)) (func (export "_start")))')
    unlinked = job(cache, tool=None, args=("program",), limits=Limits())
    with pytest.raises(LinkError, match="nothing"):
        async with open_threads(unlinked, source, 2):
            pass
