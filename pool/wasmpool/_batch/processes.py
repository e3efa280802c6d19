"""Processes as places that do chunks: each has one trio run, and one pool.

They are spawned, never forked. Each has a socket to the batch, and ends when that does: so none is
left when the batch is killed. Signals of a terminal go to the batch alone, since each process is in
a process group of its own. Each is given two chunks at once, so that the next one is there when a
chunk is done.
"""

from __future__ import annotations

import logging
import socket
import subprocess
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio

from wasmpool._child_process import kill, python_command
from wasmpool._frames import Frames, FrameTooLarge
from wasmpool._plain_nursery import open_plain_nursery

from .log_sender import log_record
from .messages import MOST_TO_BATCH, chunk_message, message_of, read_message, rows_of
from .pace import MOST_LINES
from .places import PlaceLost, PlacesFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from wasmpool_host.lowlevel import Source

    from .chunk import Chunk, ChunkRows
    from .job import Job
    from .progress import Progress

__all__ = ["Processes", "open_processes"]

_log = logging.getLogger("wasmpool.batch")

_AT_ONCE: Final = 2
"""Chunks of a process: one that it does, and the next one."""
_MOST_FAILED_STARTS: Final = 3
"""One after the other; then a process is not tried again."""
_FIRST_PAUSE: Final = 0.5
"""Seconds before a start is tried again; doubled each time."""
_LAST_SECONDS: Final = 5.0
"""That a process has to end, when it is told to or its socket has ended; then it is killed."""


@final
@attrs.define(eq=False)
class _Task:
    """A chunk in a process."""

    done: trio.Event = attrs.field(init=False, factory=trio.Event)
    rows: ChunkRows | None = attrs.field(init=False, default=None)
    """None if the process has ended before."""
    ending: str = attrs.field(init=False, default="")
    """How it has ended, in that case."""


@final
@attrs.define(eq=False)
class _Process:
    """A process while it runs."""

    frames: Frames
    child: trio.Process
    tasks: dict[int, _Task] = attrs.field(init=False, factory=dict[int, _Task])
    is_ready: bool = attrs.field(init=False, default=False)
    why: str | None = attrs.field(init=False, default=None)
    """Why it could not open its guest, in its words."""


@final
class Processes:
    """Some processes, as `Places`. A process that ends is replaced.

    Args:
        job: whose ``cache`` has the compiled module.
        source: the module.
        count: how many processes.
    """

    most_lines = MOST_LINES
    most_ahead = None

    def __init__(self, job: Job, source: Source, count: int) -> None:
        self.size = count * _AT_ONCE
        self._count = count
        level = logging.getLogger("wasmpool").getEffectiveLevel()
        self._opening = message_of(
            {"do": "open", "job": job.as_json(), "level": level}, source.binary
        )
        # Invariant: those of _running that have said so are in _ready.
        self._running: list[_Process] = []
        self._ready: list[_Process] = []
        self._room = trio.lowlevel.ParkingLot()
        self._turn = trio.Lock()  # first come, first served: the next rows are those of the first
        self._tasks = 0
        self._replaced = 0
        self._given_up = 0
        self._failure: str | None = None
        self._is_ending = False

    async def do(self, chunk: Chunk, _: Progress | None = None, /) -> ChunkRows:
        """Do a chunk in the process that has the fewest."""
        async with self._turn:
            process = await self._process_with_room()
            self._tasks += 1
            number, task = self._tasks, _Task()
            process.tasks[number] = task
        try:
            await process.frames.send(chunk_message(number, chunk))
            await task.done.wait()
        finally:
            process.tasks.pop(number, None)
            self._room.unpark()
        if task.rows is None:
            raise PlaceLost(task.ending)
        return task.rows

    def facts(self) -> Iterator[tuple[str, str]]:
        """Return how many processes there were."""
        yield "processes", str(self._count)
        if self._replaced:
            yield "processes replaced", str(self._replaced)

    async def _process_with_room(self) -> _Process:
        while True:
            if self._given_up == self._count:
                raise PlacesFailed(f"no process can be started: {self._failure}")
            process = min(self._ready, key=lambda each: len(each.tasks), default=None)
            if process is not None and len(process.tasks) < _AT_ONCE:
                return process
            await self._room.park()

    # --- one process after the other ---

    async def keep(self, number: int) -> None:
        """Keep one process running, until it is told to end or cannot be started."""
        failed_starts = 0
        while failed_starts < _MOST_FAILED_STARTS:
            was_ready, ending = await self._run()
            if self._is_ending:
                return
            if was_ready:
                failed_starts = 0
                self._replaced += 1
                _log.warning("process %d: %s: another one takes its place", number, ending)
                continue
            self._failure = ending
            failed_starts += 1
            await trio.sleep(_FIRST_PAUSE * 2.0 ** (failed_starts - 1))
        self._given_up += 1
        if self._given_up < self._count:
            _log.error("process %d cannot be started: %s", number, self._failure)
        self._room.unpark_all()

    async def end(self) -> None:
        """Tell all processes to end: they close what they have, and send the rest of their logs."""
        self._is_ending = True
        async with trio.open_nursery() as nursery:
            for process in self._running:
                if process.is_ready:
                    nursery.start_soon(process.frames.send, message_of({"do": "end"}))
                else:
                    process.child.kill()

    async def _run(self) -> tuple[bool, str]:
        """Run a process to its end; return if it was ready, and how it has ended."""
        ours, theirs = socket.socketpair()
        frames = Frames(ours, MOST_TO_BATCH)
        run = partial(
            trio.run_process,
            python_command("wasmpool._batch.process", [str(theirs.fileno())]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,
            check=False,
            deliver_cancel=kill,
        )
        try:
            async with open_plain_nursery() as nursery:
                with theirs:
                    child: trio.Process = await nursery.start(run)
                return await self._talk(_Process(frames, child))
        except OSError as error:
            return False, str(error)
        finally:
            frames.close()

    async def _talk(self, process: _Process) -> tuple[bool, str]:
        """Do as the process says, until it has ended."""
        child = process.child
        ending = "the process has ended"
        self._running.append(process)
        try:
            await self._listen(process)
            with trio.move_on_after(_LAST_SECONDS):
                await child.wait()
            child.kill()  # nothing, if it has ended
            ending = _ending(await child.wait())
        finally:
            self._running.remove(process)
            if process.is_ready:
                self._ready.remove(process)
            for task in process.tasks.values():
                task.ending = ending
                task.done.set()
        return process.is_ready, process.why or ending

    async def _listen(self, process: _Process) -> None:
        await process.frames.send(self._opening)
        try:
            while (received := await process.frames.receive()) is not None:
                self._hear(process, *read_message(received))
        except (FrameTooLarge, LookupError, TypeError, ValueError) as error:
            process.why = f"the process sent what is no message: {error}"
            process.child.kill()

    def _hear(self, process: _Process, head: dict[str, Any], body: bytes) -> None:
        match head["say"]:
            case "rows":
                task = process.tasks.get(head["task"])
                if task is not None:  # its chunk is still wanted
                    task.rows = rows_of((head, body))
                    task.done.set()
            case "ready":
                process.is_ready = True
                self._ready.append(process)
                self._room.unpark_all()
            case "log":
                log_record(head)
            case "failed":
                process.why = head["why"]


@asynccontextmanager
async def open_processes(job: Job, source: Source, count: int) -> AsyncGenerator[Processes]:
    """Start processes, and end them with the block: in order, or at once if it raises.

    Args:
        job: what they do. Its ``cache`` should have the module already, compiled by this process.
        source: the module.
        count: how many.

    A cancel kills them. None is left when the block has ended.
    """
    processes = Processes(job, source, count)
    async with open_plain_nursery() as nursery:
        try:
            for number in range(1, count + 1):
                nursery.start_soon(processes.keep, number)
            yield processes
            await processes.end()
            nursery.cancel_scope.deadline = trio.current_time() + _LAST_SECONDS
        except BaseException:
            nursery.cancel_scope.cancel()
            raise


def _ending(status: int) -> str:
    if status < 0:
        return f"the process was killed by signal {-status}"
    return f"the process ended with status {status}"
