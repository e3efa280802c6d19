from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

import attrs
import pytest
from distributed import Scheduler, Worker
from tests.compiled_once import each_module_compiled_once

from wasmpool._batch.dask.asyncio_thread import open_asyncio_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from wasmpool._batch.dask.asyncio_thread import AsyncioThread


@final
@attrs.frozen
class InThread:
    """A scheduler and workers of this process, in the loop of a thread: they start at once."""

    thread: AsyncioThread
    scheduler: Any
    workers: list[Any]

    @property
    def address(self) -> str:
        address: str = self.scheduler.address
        return address

    async def do(self, function: Callable[[], Any]) -> Any:
        """Call a function in the loop; what it returns is awaited, if it can be."""

        async def call() -> Any:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return await self.thread.run(call)

    async def close(self) -> None:
        """Close all of it."""
        for worker in self.workers:
            await self.do(worker.close)
        await self.do(self.scheduler.close)


@asynccontextmanager
async def open_in_thread(directory: str, workers: int) -> AsyncGenerator[InThread]:
    async with open_asyncio_thread() as thread:
        cluster: InThread | None = None

        async def start() -> InThread:
            new_scheduler: Any = Scheduler
            new_worker: Any = Worker
            scheduler = await new_scheduler(
                host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"
            )
            started = [
                await new_worker(
                    scheduler.address, nthreads=1, local_directory=directory, host="127.0.0.1"
                )
                for _ in range(workers)
            ]
            return InThread(thread, scheduler, started)

        try:
            cluster = await thread.run(start)
            yield cluster
        finally:
            if cluster is not None:
                await cluster.close()


@pytest.fixture
def in_thread(tmp_path: Path) -> Callable[[int], AbstractAsyncContextManager[InThread]]:
    """Opens a scheduler and workers of this process, however many."""
    return lambda workers: open_in_thread(str(tmp_path), workers)


@pytest.fixture(autouse=True)
def compiled_once() -> Iterator[None]:
    with each_module_compiled_once():
        yield


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Dask logs to standard error from its import on; here its records go nowhere."""
    logger = logging.getLogger("distributed")
    handlers = logger.handlers
    logger.handlers = list[logging.Handler]([logging.NullHandler()])
    yield
    logger.handlers = handlers
