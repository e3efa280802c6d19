"""The connection to a scheduler, in the loop of asyncio that Dask's client needs."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import dask.config

from wasmpool._batch.places import PlaceLost, PlacesFailed

from .client import new_client
from .failures import gone, meaning_of
from .recipe import Recipe, Refusal
from .sealed import Sealed
from .versions import PACKAGES, report_differences, versions_here
from .worker import do_chunk, identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed.security import Security

    from wasmpool._batch.chunk import Chunk, ChunkRows
    from wasmpool._batch.job import Job
    from wasmpool_host.lowlevel import Source

    from .client import AsyncClient, AsyncFuture

__all__ = ["Connection", "connect"]

CONNECT_SECONDS: Final = 10.0
"""That a scheduler has to answer. Dask's own client waits as long."""
_CLOSE_SECONDS: Final = 3.0
"""That the scheduler has to hear of the end; it notices that the connection ends, too."""
_MOST_ATTEMPTS: Final = 5
"""For one chunk, if Dask forgets it: each restart of the workers does that once."""
_TOPIC: Final = "worker-restart-memory"
"""Where Dask tells of workers that it ends because of their memory."""
_NO_WARNING: Final = {"distributed.admin.large-graph-warning-threshold": "1 TiB"}
"""A module is a large part of a graph, and is sent in it on purpose: if its last copy is lost with
a worker, Dask makes another one."""


@final
@attrs.define(eq=False, kw_only=True)
class Connection:
    """A client of a scheduler, in its loop."""

    address: str
    """Of the scheduler."""
    threads: int
    """Of all workers that were there."""
    _client: AsyncClient = attrs.field(alias="client")
    _versions: Mapping[str, str] = attrs.field(alias="versions")
    """Of this side. A worker that comes later compares them with its own."""
    _recipe: Sealed[Recipe] = attrs.field(alias="recipe")
    _binary: Sealed[bytes] = attrs.field(alias="binary")
    _name: str = attrs.field(init=False, factory=lambda: uuid.uuid4().hex)
    """Part of the keys of all tasks, which are shown in Dask's logs and pages: it tells nothing."""
    _is_lost: bool = attrs.field(init=False, default=False)
    _tasks: int = attrs.field(init=False, default=0)
    _module: AsyncFuture = attrs.field(init=False)
    _out_of_memory: deque[str] = attrs.field(init=False, factory=lambda: deque[str](maxlen=1000))
    _waiting: set[asyncio.Task[Any]] = attrs.field(init=False, factory=set[asyncio.Task[Any]])

    def __attrs_post_init__(self) -> None:
        self._module = self._send_module()
        self._client.subscribe_topic(_TOPIC, self._note_memory)

    async def close(self) -> None:
        """Release all tasks, and end the connection."""
        await _close(self._client)

    async def do(self, chunk: Chunk) -> ChunkRows:
        """Have a chunk done by a worker.

        Raises:
            PlaceLost: several workers have ended while they did it.
            PlacesFailed: the scheduler is gone, or the workers cannot do any.

        A cancel takes the task back from Dask.
        """
        for _ in range(_MOST_ATTEMPTS):
            if self._was_lost():
                raise gone(self.address)
            try:
                rows = await self._do_once(chunk)
            except Exception as error:
                meaning = meaning_of(error, self.address, self._out_of_memory)
                if self._was_lost() and not isinstance(meaning, PlaceLost):
                    meaning = gone(self.address)
                if meaning is not None:
                    raise meaning from error
                continue
            if isinstance(rows, Refusal):
                raise PlacesFailed(rows.why)
            return rows
        raise PlaceLost(f"the scheduler {self.address} has dropped these lines repeatedly")

    async def _do_once(self, chunk: Chunk) -> ChunkRows | Refusal:
        self._tasks += 1
        key = f"wasmpool-chunk-{self._name}-{chunk.number}-{self._tasks}"
        if self._module.cancelled():  # dropped with all tasks
            self._module = self._send_module()
        with dask.config.set(_NO_WARNING):
            future = self._client.submit(
                do_chunk,
                self._versions,
                self._module,
                self._recipe,
                Sealed((key, chunk)),
                key=key,
                priority=-chunk.number,  # the first rows are waited for
                pure=False,
            )
        try:
            rows: ChunkRows | Refusal = await self._result_of(future)
            return rows
        except asyncio.CancelledError:
            await future.cancel()
            raise
        finally:
            future.release()

    def _was_lost(self) -> bool:
        """Return True once the scheduler was gone. Dask connects again, but its tasks are lost."""
        self._is_lost = self._is_lost or self._client.status != "running"
        return self._is_lost

    def _send_module(self) -> AsyncFuture:
        """Give the module to Dask: chunks depend on it, so each worker fetches it once."""
        self._tasks += 1
        key = f"wasmpool-module-{self._name}-{self._tasks}"
        with dask.config.set(_NO_WARNING):
            return self._client.submit(identity, self._binary, key=key, pure=False)

    async def _result_of(self, future: AsyncFuture) -> Any:
        """Wait for a result in a task of its own.

        The client fetches several results by one request. A cancel of one task that waits for it
        would end it for all.
        """
        waiting = asyncio.ensure_future(future.result())
        self._waiting.add(waiting)
        waiting.add_done_callback(self._forget)
        return await asyncio.shield(waiting)

    def _forget(self, waiting: asyncio.Task[Any]) -> None:
        self._waiting.discard(waiting)
        if not waiting.cancelled():
            waiting.exception()  # seen by the one who waited, or by nobody after a cancel

    def _note_memory(self, event: tuple[float, Any]) -> None:
        """Note a worker that Dask has ended because of its memory."""
        _, report = event
        if isinstance(report, dict):
            self._out_of_memory.append(str(report.get("worker")))


async def connect(address: str, security: Security | None, job: Job, source: Source) -> Connection:
    """Connect to a scheduler.

    Args:
        address: of the scheduler.
        security: None for what Dask's configuration says.
        job: what is done with each line.
        source: the module.

    Raises:
        PlacesFailed: it does not answer, or its versions differ.
    """
    client = await _connected(address, security)
    try:
        versions = await _checked_versions(client)
        threads = await client.nthreads()
        return Connection(
            address=address,
            threads=sum(threads.values()),
            client=client,
            versions=versions,
            recipe=Sealed(Recipe(job=job, module_digest=source.digest)),
            binary=Sealed(source.binary),
        )
    except BaseException:
        await _close(client)
        raise


async def _connected(address: str, security: Security | None) -> AsyncClient:
    try:
        async with asyncio.timeout(CONNECT_SECONDS + 1):
            client = new_client(address, security, CONNECT_SECONDS)
            try:
                await client
            except BaseException:
                await _close(client)
                raise
    except Exception as error:
        why = str(error) or type(error).__name__
        raise PlacesFailed(f"there is no scheduler of Dask at {address}: {why}") from error
    return client


async def _close(client: AsyncClient) -> None:
    with contextlib.suppress(Exception):  # the scheduler is gone
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()


async def _checked_versions(client: AsyncClient) -> dict[str, str]:
    """Return the versions of this side, which are those of all that are there."""
    here = versions_here()
    found = report_differences(here, await client.get_versions(packages=list(PACKAGES)))
    if found is not None:
        raise PlacesFailed(f"the versions differ: {found}. Install the same on all sides")
    return here
