"""The interpreters of scripts: a pool that is opened while its owner serves already.

To compile CPython for the first time takes minutes, and a client that has just started the server
does not wait that long for its first answer. So the pool is opened by a task of its own, and only
scripts wait for it.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import trio

from wasmpool._errors import as_one_line
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from wasmpool import Pool

__all__ = ["Interpreters", "open_interpreters"]

_log: Final = logging.getLogger("wasmpool.scripts")


@final
class Interpreters:
    """A pool that is there, or will be, or cannot be opened."""

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._settled: Final = trio.Event()
        self._closing: Final = trio.Event()

    async def pool(self) -> Pool | None:
        """Wait for the pool; None if it cannot be opened, which the log says."""
        await self._settled.wait()
        return self._pool

    async def serve(self, open_: Callable[[], AbstractAsyncContextManager[Pool]]) -> None:
        """Hold the pool open."""
        try:
            async with open_() as pool:
                self._pool = pool
                self._settled.set()
                await self._closing.wait()
        except Exception as error:  # noqa: BLE001 - the others are served
            _log.error("no scripts can be run: %s", escaped(as_one_line(error)), exc_info=error)
        finally:
            self._settled.set()

    def close(self) -> bool:
        """Begin to close the pool; False if there is none yet, so that a cancel has to do it."""
        self._closing.set()
        return self._pool is not None


@asynccontextmanager
async def open_interpreters(
    open_: Callable[[], AbstractAsyncContextManager[Pool]],
) -> AsyncGenerator[Interpreters]:
    """Open a pool, by a task that is gone at the end of the block.

    After an exception in the block, and a cancel, its scripts are ended at once.
    """
    interpreters = Interpreters()
    async with open_plain_nursery() as nursery:
        nursery.start_soon(interpreters.serve, open_)
        try:
            yield interpreters
        except BaseException:
            nursery.cancel_scope.cancel()
            raise
        if not interpreters.close():
            nursery.cancel_scope.cancel()
