"""A worker that is a thread of the supervisor's process, where Python has no GIL.

It shares nothing with the others but the process: it has a trio run, a loader and pools of its own,
and talks with the supervisor and with other workers over sockets, as a process does.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, final

import trio

from wasmpool._trio_thread import open_trio_thread

from .worker import serve_in_thread

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Sequence

    from wasmpool._trio_thread import TrioThread

__all__ = ["worker_thread"]


@contextlib.asynccontextmanager
async def worker_thread(
    number: int, end: socket.socket, sockets: Sequence[socket.socket]
) -> AsyncGenerator[WorkerThread]:
    """Yield a worker, which is cancelled at the end of the block; this waits for its end.

    Args:
        number: of the worker.
        end: of its channel to the supervisor, which this closes.
        sockets: which listen. The worker has copies, since it closes them when it drains.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(end)
        copies = [stack.enter_context(each.dup()) for each in sockets]
        async with open_trio_thread(f"wasmpool worker {number}") as thread:
            yield WorkerThread(thread, number, end, copies)


@final
class WorkerThread:
    """A thread that serves, once it is waited for."""

    def __init__(
        self,
        thread: TrioThread,
        number: int,
        end: socket.socket,
        sockets: Sequence[socket.socket],
    ) -> None:
        self._thread = thread
        self._scope = trio.CancelScope()
        self._arguments = number, end, sockets

    def kill(self) -> None:
        """Cancel it; it ends as soon as it has closed what is open."""
        self._scope.cancel()

    async def wait(self) -> str:
        """Serve until its end; return how it ended."""
        is_well = False
        with self._scope:
            is_well = await self._thread.run(serve_in_thread, *self._arguments)
        if self._scope.cancelled_caught:
            return "was cancelled"
        return "has ended" if is_well else "has failed"
