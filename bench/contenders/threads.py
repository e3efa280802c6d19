"""The obvious pool: N instances, a `trio.CapacityLimiter`, and a worker thread for each call.

Epoch interruption is on, and each call has a deadline, as in any host that can stop a guest. The
epoch advances a hundred times per second, which is enough for a timeout.
"""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from bench.contenders._wheel import Calls, Guest, PluginGuest, Plugins

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    import wasmtime

    from bench.contenders import Call, Execute

__all__ = ["Pool", "open_calls", "open_executes"]

_PERIOD: Final = 0.010
_TIMEOUT: Final = 3_000  # ticks: thirty seconds


class Pool:
    """Free instances, the last used one first, and as many threads."""

    def __init__(self, make: Callable[[], Guest], size: int) -> None:
        self._limiter = trio.CapacityLimiter(size)
        self._free = [make() for _ in range(size)]

    async def run(self, use: Callable[[Any], Any]) -> Any:
        """Use a free instance in a thread."""
        return await trio.to_thread.run_sync(self._run, use, limiter=self._limiter)

    def _run(self, use: Callable[[Any], Any]) -> Any:
        guest = self._free.pop()  # the limiter guarantees that there is one
        try:
            guest.allow_ticks(_TIMEOUT)
            return use(guest)
        finally:
            self._free.append(guest)


@asynccontextmanager
async def open_calls(size: int) -> AsyncGenerator[Call]:
    """A pool of plain instances."""
    source = Calls(epochs=True)
    pool = Pool(lambda: Guest(source), size)

    async def call(name: str, *args: int) -> Any:
        return await pool.run(lambda guest: guest.call(name, *args))

    with _ticking(source.engine):
        yield call


@asynccontextmanager
async def open_executes(size: int) -> AsyncGenerator[Execute]:
    """A pool of plugins."""
    source = Plugins(epochs=True)
    pool = Pool(lambda: PluginGuest(source), size)

    async def execute(tool: str, args: dict[str, Any]) -> Any:
        return await pool.run(lambda guest: guest.execute(tool, args))

    with _ticking(source.engine):
        yield execute


@contextmanager
def _ticking(engine: wasmtime.Engine) -> Iterator[None]:
    done = threading.Event()

    def tick() -> None:
        while not done.wait(_PERIOD):
            engine.increment_epoch()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
