"""Workers of Dask as places that do chunks."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import trio

from wasmpool._batch.pace import MOST_LINES
from wasmpool._batch.places import PlaceLost

from .address import Local, read_address
from .asyncio_thread import open_asyncio_thread
from .cluster import open_cluster
from .connection import connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from wasmpool._batch.chunk import Chunk, ChunkRows
    from wasmpool._batch.job import Job
    from wasmpool._batch.progress import Progress
    from wasmpool_host.lowlevel import Source

    from .asyncio_thread import AsyncioThread
    from .connection import Connection

__all__ = ["DaskPlaces", "open_dask"]

_log = logging.getLogger("wasmpool.dask")

_AT_ONCE: Final = 2
"""Chunks for each thread of a worker: one that it does, and the next one."""
_LEAST: Final = 8
"""Chunks at once, if there are no workers yet: some clusters start them when there is work."""


@final
class DaskPlaces:
    """A connection to a scheduler, as `Places`.

    Args:
        thread: with the loop of the connection.
        connection: of that loop.
        page: the address of Dask's page, if this has started the cluster.
    """

    most_lines = MOST_LINES
    most_ahead = None

    def __init__(self, thread: AsyncioThread, connection: Connection, page: str | None) -> None:
        self.size = max(_AT_ONCE * connection.threads, _LEAST)
        self.page = page
        self._thread = thread
        self._connection = connection
        self._suspects: set[tuple[int, int]] = set()
        self._one_suspect = trio.Lock()

    async def do(self, chunk: Chunk, _: Progress | None = None, /) -> ChunkRows:
        """Have a chunk done by a worker, as `Places` says.

        Dask blames all chunks that a worker had when it ended, those that it had not begun, too.
        So those that were lost are tried again one at a time: the one that ends workers is then
        lost alone.
        """
        lines = chunk.first_line, chunk.count
        if lines in self._suspects:
            self._suspects.remove(lines)
            async with self._one_suspect:
                return await self._thread.run(self._connection.do, chunk)
        try:
            return await self._thread.run(self._connection.do, chunk)
        except PlaceLost:
            self._suspects.add(lines)
            raise

    def facts(self) -> Iterator[tuple[str, str]]:
        """Return where the lines were done."""
        yield "scheduler", self._connection.address
        yield "threads of workers", str(self._connection.threads)


@asynccontextmanager
async def open_dask(address: str, job: Job, source: Source) -> AsyncGenerator[DaskPlaces]:
    """Connect to a cluster, or start one, and leave or end it with the block.

    Args:
        address: as `read_address` reads it.
        job: what is done with each line. Its instances and calls are for each thread of a worker.
        source: the module.

    Raises:
        PlacesFailed: the scheduler does not answer, the versions differ, or the cluster cannot be
            started.
        ValueError: it is no address.

    A cancel takes all chunks back. No thread, process or connection is left after the block.
    """
    place = read_address(address)
    async with AsyncExitStack() as stack:
        security, page = None, None
        if isinstance(place, Local):
            cluster = await stack.enter_async_context(open_cluster(place.workers))
            scheduler, security, page = cluster.address, cluster.security, cluster.page
        else:
            scheduler = place.scheduler
        thread = await stack.enter_async_context(open_asyncio_thread())
        connection = await thread.run(connect, scheduler, security, job, source)
        try:
            if not connection.threads:
                _log.warning("the scheduler %s has no workers yet: lines wait for them", scheduler)
            yield DaskPlaces(thread, connection, page)
        finally:
            with trio.CancelScope(shield=True):  # it takes seconds at most
                await thread.run(connection.close)
