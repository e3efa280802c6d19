"""Threads of this process as places that do chunks, where Python has no GIL.

Each has a trio run and a pool of its own, as a process has; the compiled module comes to all of
them through a cache. A thread is given two chunks at once, so that the next one is there when a
chunk is done. It has no end of its own: what ends the process ends the batch.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from wasmpool._plain_nursery import open_plain_nursery
from wasmpool._trio_thread import open_trio_thread

from .pace import MOST_LINES
from .work import open_work

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from wasmpool._trio_thread import TrioThread
    from wasmpool_host.lowlevel import Source

    from .chunk import Chunk, ChunkRows
    from .job import Job
    from .progress import Progress
    from .work import Work

__all__ = ["Threads", "open_threads"]

_AT_ONCE: Final = 2
"""Chunks of a thread: one that it does, and the next one."""


@final
@attrs.define(eq=False)
class _Place:
    """A thread, and the work that is open in it."""

    thread: TrioThread
    work: Work
    chunks: int = attrs.field(init=False, default=0)
    """How many it has now."""


@final
class Threads:
    """Some threads, as `Places`; `open_threads` opens them."""

    most_lines = MOST_LINES
    most_ahead = None

    def __init__(self, count: int) -> None:
        self.size = count * _AT_ONCE
        self._places: list[_Place] = []
        self._room = trio.Semaphore(self.size)

    async def do(self, chunk: Chunk, _: Progress | None = None, /) -> ChunkRows:
        """Do a chunk in the thread that has the fewest."""
        async with self._room:
            place = min(self._places, key=lambda each: each.chunks)
            place.chunks += 1
            try:
                return await place.thread.run(place.work.do, chunk)
            finally:
                place.chunks -= 1

    def facts(self) -> Iterator[tuple[str, str]]:
        """Return how many threads there were."""
        yield "threads", str(len(self._places))

    async def keep(
        self, job: Job, source: Source, number: int, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Keep the guest of a job open in a thread, until cancelled.

        Raises:
            Exception: as `open_work`, before it has started.
        """
        token = trio.lowlevel.current_trio_token()

        def add(work: Work) -> None:
            self._places.append(_Place(thread, work))
            task_status.started()

        async def hold() -> None:
            async with open_work(job, source) as work:
                token.run_sync_soon(add, work)
                await trio.sleep_forever()

        async with open_trio_thread(f"wasmpool batch {number}") as thread:
            await thread.run(hold)


@asynccontextmanager
async def open_threads(job: Job, source: Source, count: int) -> AsyncGenerator[Threads]:
    """Open the guest of a job in some threads, and end them with the block.

    Args:
        job: what they do. Its ``cache`` should have the module already, compiled by this process.
        source: the module.
        count: how many.

    Raises:
        Exception: as `open_work`.

    A cancel ends the calls under way. None is left when the block has ended.
    """
    threads = Threads(count)
    async with open_plain_nursery() as nursery:
        try:
            for number in range(1, count + 1):
                await nursery.start(threads.keep, job, source, number)
            yield threads
        finally:
            nursery.cancel_scope.cancel()
