"""A worker that is a process.

It is in a process group of its own, so signals of a terminal go to the supervisor alone.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Sequence

__all__ = ["worker_process"]

_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1));"
    " from wasmpool._serve.worker import main; main()"
)
"""A worker finds its modules where the supervisor has found them, as in `multiprocessing`."""


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
        command = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(number)]
        run = partial(
            trio.run_process,
            [*command, *map(str, fds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=fds,
            process_group=0,
            check=False,
            deliver_cancel=_kill,
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


async def _kill(process: trio.Process) -> None:
    process.kill()
    await trio.lowlevel.checkpoint()


def _ending(status: int) -> str:
    if status >= 0:
        return f"has ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
