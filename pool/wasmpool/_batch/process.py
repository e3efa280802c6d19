"""A process that does chunks until its socket to the batch ends."""

from __future__ import annotations

import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from wasmpool._frames import Frames
from wasmpool_host.lowlevel import Source

from .job import Job
from .log_sender import LogSender
from .messages import MOST_TO_PROCESS, chunk_of, message_of, read_message, rows_message
from .work import open_work

if TYPE_CHECKING:
    from .chunk import Chunk
    from .messages import Message
    from .work import Work

__all__ = ["main"]

_WAITING: Final = 16
"""Chunks: more than the batch gives at once, so that its end is read whatever waits."""


def main() -> None:
    """Do chunks; the argument is the descriptor of the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the batch's
    with socket.socket(fileno=int(sys.argv[1])) as end:
        trio.run(_serve, end)


async def _serve(end: socket.socket) -> None:
    frames = Frames(end, MOST_TO_PROCESS)
    opening = await frames.receive()
    if opening is None:
        return
    async with trio.open_nursery() as nursery:
        log = LogSender(frames)
        nursery.start_soon(log.send)
        chunks, received = trio.open_memory_channel[tuple[int, "Chunk"]](_WAITING)
        working = trio.CancelScope()
        nursery.start_soon(_listen, frames, chunks, working, nursery.cancel_scope)
        with working:
            await _work(frames, read_message(opening), received, log)
        await log.send_waiting()
        nursery.cancel_scope.cancel()


async def _listen(
    frames: Frames,
    chunks: trio.MemorySendChannel[tuple[int, Chunk]],
    working: trio.CancelScope,
    scope: trio.CancelScope,
) -> None:
    """Pass on chunks, until nothing more is wanted; where the batch is gone, all ends at once."""
    while (received := await frames.receive()) is not None:
        message = read_message(received)
        if message[0]["do"] == "end":
            working.cancel()
        else:
            await chunks.send((message[0]["task"], chunk_of(message)))
    scope.cancel()


async def _work(
    frames: Frames,
    opening: Message,
    chunks: trio.MemoryReceiveChannel[tuple[int, Chunk]],
    log: LogSender,
) -> None:
    head, binary = opening
    log.show(head["level"])
    job = Job.of_json(head["job"])
    read = partial(Source, binary, Path(job.file))
    source = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
    del opening, binary, read
    try:
        async with open_work(job, source) as work, trio.open_nursery() as nursery:
            await frames.send(message_of({"say": "ready"}))
            async for task, chunk in chunks:
                await nursery.start(_do, frames, work, task, chunk)
    except Exception as error:  # noqa: BLE001 - the batch says it
        why = str(error) or type(error).__name__
        await frames.send(message_of({"say": "failed", "why": why}))


async def _do(
    frames: Frames, work: Work, task: int, chunk: Chunk, *, task_status: trio.TaskStatus[None]
) -> None:
    rows = await work.do(chunk, task_status=task_status)
    await frames.send(rows_message(task, rows))
