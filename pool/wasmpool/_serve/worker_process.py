"""A worker that is a process.

It is in a process group of its own, so signals of a terminal go to the supervisor alone.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING, final

import trio

from wasmpool._child_process import kill, python_command

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Sequence

__all__ = ["worker_process"]


@contextlib.asynccontextmanager
async def worker_process(
    number: int, end: socket.socket, sockets: Sequence[socket.socket]
) -> AsyncGenerator[WorkerProcess]:
    """Yield a worker, which is killed at the end of the block.

    Args:
        number: of the worker.
        end: of its channel to the supervisor. This closes it here, once the process has it.
        sockets: which listen.
    """
    with end:
        fds = [end.fileno(), *(each.fileno() for each in sockets)]
        run = partial(
            trio.run_process,
            python_command("wasmpool._serve.worker", [str(number), *map(str, fds)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=fds,
            process_group=0,
            check=False,
            deliver_cancel=kill,
        )
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(run)
            end.close()
            yield WorkerProcess(process)
            nursery.cancel_scope.cancel()


@final
class WorkerProcess:
    """A process that serves."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process

    def kill(self) -> None:
        """Kill it; nothing, if it has ended."""
        self._process.kill()

    async def wait(self) -> str:
        """Wait for its end; return how it ended."""
        return _ending(await self._process.wait())


def _ending(status: int) -> str:
    if status >= 0:
        return f"has ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
