"""What a worker of Dask does: chunks, in a trio run that it keeps.

`do_chunk` is the task that the batch gives to Dask; workers find it by its name. The workers of one
process share the trio run and what is open in it, and the last one that closes ends it.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import attrs
import trio
from distributed import Reschedule, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from wasmpool._batch.work import Work, open_work
from wasmpool_host.lowlevel import Source

from .open_work import OpenWork, keep_open
from .recipe import Refusal
from .trio_thread import Ended, Job, TrioThread
from .versions import differences, versions_here

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from distributed import Worker

    from wasmpool._batch.chunk import Chunk, ChunkRows

    from .recipe import Recipe
    from .sealed import Sealed

__all__ = ["do_chunk", "identity"]

_PLUGIN: Final = "wasmpool"
"""The name of the plugin that each worker gets."""
_CACHE: Final = "wasmpool"
"""The folder for compiled code. It is in the worker's directory, which Dask removes."""

_Thread: TypeAlias = TrioThread[OpenWork[Work]]


def identity(module: Sealed[bytes]) -> Sealed[bytes]:
    """Return the module: the result of this task is what Dask brings to each worker once."""
    return module


async def do_chunk(
    versions: Mapping[str, str],
    module: Sealed[bytes],
    recipe: Sealed[Recipe],
    chunk: Sealed[tuple[str, Chunk]],
) -> ChunkRows | Refusal:
    """Do a chunk, in the loop of a worker.

    What is wrong with the versions or the module is returned. Raised, it would be logged.

    Args:
        versions: of the batch.
        module: its bytes.
        recipe: what is done with each line.
        chunk: the key of this task, and the lines.

    Raises:
        Reschedule: the work was ended: Dask gives the task to another worker, if it is still
            wanted.
    """
    worker = get_worker()
    if found := list(differences(versions, versions_here())):  # before anything is unpickled
        return Refusal(f"the worker {worker.address} {'; '.join(found)}")
    resident = await _resident(worker)
    key, lines = chunk.open()

    @asynccontextmanager
    async def opening() -> AsyncGenerator[Work]:
        async with _open(recipe.open(), module.open(), worker) as work:
            yield work

    async def do(open_: OpenWork[Work]) -> ChunkRows:
        async with open_.use(recipe.digest, opening) as work:
            return await work.do(lines)

    try:
        rows: ChunkRows = await resident.do(key, do)
    except Ended as ended:
        raise Reschedule from ended
    except _CannotOpen as error:
        return Refusal(f"the worker {worker.address} cannot open the module: {error}")
    return rows


class _CannotOpen(Exception):
    """The module cannot be opened; the message says why."""


@asynccontextmanager
async def _open(recipe: Recipe, binary: bytes, worker: Worker) -> AsyncGenerator[Work]:
    """Open the guest in the trio run of this process; its job is that of one thread."""
    threads = worker.state.nthreads
    job = attrs.evolve(
        recipe.job,
        size=recipe.job.size * threads,
        tasks=recipe.job.tasks * threads,
        cache=str(Path(worker.local_directory) / _CACHE),
    )
    source = await trio.to_thread.run_sync(Source, binary, Path(job.file))
    assert source.digest == recipe.module_digest
    async with AsyncExitStack() as stack:
        try:
            work = await stack.enter_async_context(open_work(job, source))
        except Exception as error:
            raise _CannotOpen(str(error) or type(error).__name__) from error
        yield work


async def _resident(worker: Worker) -> _Resident:
    """Return the plugin of a worker; the first chunk installs it."""
    plugin = worker.plugins.get(_PLUGIN)
    if not isinstance(plugin, _Resident):
        plugin = _Resident()
        await worker.plugin_add(plugin, name=_PLUGIN, catch_errors=False)
    return plugin


@final
class _SharedRun:
    """The trio run of this process, while there are workers that use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # workers of one process may have loops of their own
        self._users: set[object] = set()
        self._thread: _Thread | None = None

    def enter(self, user: object) -> None:
        """Use it."""
        with self._lock:
            self._users.add(user)

    def leave(self, user: object) -> None:
        """Use it no more; the last one waits until its thread has ended."""
        with self._lock:
            self._users.discard(user)
            if self._thread is not None and not self._users:
                self._thread.stop()
                self._thread = None

    def thread(self) -> _Thread:
        """Return the thread that it is in."""
        with self._lock:
            if self._thread is None or self._thread.is_over:
                self._thread = TrioThread("wasmpool", keep_open)
            return self._thread


_shared: Final = _SharedRun()


@final
class _Resident(WorkerPlugin):
    """What a worker has of wasmpool: it knows which tasks are wanted, and when the worker ends."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[_Thread, Job[OpenWork[Work]]]] = {}

    def setup(self, worker: Worker) -> None:
        """Use the trio run of the process."""
        del worker
        _shared.enter(self)

    async def teardown(self, worker: Worker) -> None:
        """Leave the trio run, which ends with its last worker."""
        del worker
        for thread, job in self._jobs.values():
            thread.cancel(job)
        await asyncio.get_running_loop().run_in_executor(None, _shared.leave, self)

    async def do(self, key: str, work: Callable[[OpenWork[Work]], Awaitable[ChunkRows]]) -> Any:
        """Do the work for the task of this key, as long as Dask wants it.

        Raises:
            Ended: it is no longer wanted, or the worker closes.
            Exception: as the work.
        """
        thread = _shared.thread()
        job = thread.begin(work)
        self._jobs[key] = thread, job
        try:
            return await asyncio.wrap_future(job.result)
        finally:
            thread.cancel(job)  # nothing, if it has ended
            del self._jobs[key]

    def transition(self, key: object, start: str, finish: str, **_: object) -> None:
        """End the work on a task that is released while it runs: its batch has ended, say."""
        del start
        if isinstance(key, str) and key in self._jobs and finish == "released":
            thread, job = self._jobs[key]
            thread.cancel(job)
