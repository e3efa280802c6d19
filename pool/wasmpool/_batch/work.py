"""The work on chunks with one guest, in one trio run: what each place does.

Several chunks may be worked on at once. They share the calls that may be under way, first come,
first served. So a chunk that has one slow line left does not keep the others from using the rest.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from .chunk import ChunkRows
from .guest import open_guest
from .rows import data_row, error_row
from .world import is_of_the_world, pause_before

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from wasmpool._lines import Line
    from wasmpool_host.lowlevel import Source

    from .chunk import Chunk
    from .guest import Answer, Guest
    from .job import Job

__all__ = ["MOST_CONTENT", "MOST_ROWS", "Work", "open_work"]

MOST_ROWS: Final = 16 << 20
"""Bytes of a chunk's rows after which no more of its lines are begun: they are done later. With the
rows of calls under way, it bounds what a chunk takes in memory."""

MOST_CONTENT: Final = 256 << 20
"""Bytes of rows that are returned; calls that were under way may have brought more. The lines of
those are done again, one at a time if need be."""


@final
class Work:
    """A guest that is open, and the calls that may be under way.

    Args:
        guest: answers lines.
        job: says how many calls, and what rows have.
    """

    def __init__(self, guest: Guest, job: Job) -> None:
        self.guest = guest
        self._retries = job.retries
        self._numbered = job.numbered
        self._calls = trio.Semaphore(job.tasks)

    async def do(
        self, chunk: Chunk, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> ChunkRows:
        """Do a chunk: answer its lines, and return the rows of all or of its first lines.

        It has started when its first call may begin: chunks that are started one after the other
        are begun in this order. A cancel ends the calls under way.
        """
        under_way = _UnderWay(chunk.lines(), chunk.first_line, chunk.count)
        began, has_begun = trio.current_time(), False
        async with trio.open_nursery() as nursery:
            with under_way.starting:
                while under_way.go_on:
                    await self._calls.acquire()
                    nursery.start_soon(self._caller, under_way)
                    if not has_begun:
                        has_begun = True
                        task_status.started()
                    await trio.lowlevel.checkpoint()  # so that it can take the last line
        return under_way.rows(trio.current_time() - began)

    async def do_line(self, chunk: Chunk) -> ChunkRows:
        """Do a chunk of one line; who calls this bounds how many are done at once."""
        assert chunk.count == 1
        row, failed = await self._row(chunk.only_line(), chunk.first_line)
        return ChunkRows(count=1, content=row, failed=(0,) if failed else ())

    async def _caller(self, under_way: _UnderWay) -> None:
        try:
            while (taken := under_way.take()) is not None:
                place, line = taken
                row, failed = await self._row(line, under_way.first_line + place)
                under_way.finish(place, row, failed=failed)
        finally:
            self._calls.release()

    async def _row(self, line: Line, number: int) -> tuple[bytes, bool]:
        shown = number if self._numbered else None
        try:
            answer = await self._answer(line)
        except Exception as error:  # noqa: BLE001 - a line that fails must not stop the others
            return error_row(str(error) or type(error).__name__, shown), True
        if answer.is_error:
            return error_row(answer.data, shown), True
        return data_row(answer.data, shown), False

    async def _answer(self, line: Line) -> Answer:
        for retry in range(self._retries):
            try:
                return await self.guest.answer(line)
            except Exception as error:
                if not is_of_the_world(error):
                    raise
            await trio.sleep(pause_before(retry))
        return await self.guest.answer(line)


@final
@attrs.define(eq=False)
class _UnderWay:
    """A chunk whose lines are being answered."""

    # Invariant: the lines that were taken are the first ones, and each has a place in _rows.

    _lines: Iterator[Line]
    first_line: int
    _count: int
    starting: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    """Around the start of callers, which may wait for calls of other chunks: cancelled when no more
    of them are wanted."""
    go_on: bool = attrs.field(init=False, default=True)
    """False once no more lines are taken."""
    _rows: list[bytes] = attrs.field(init=False, factory=list[bytes])
    _failed: list[int] = attrs.field(init=False, factory=list[int])
    _size: int = attrs.field(init=False, default=0)

    def take(self) -> tuple[int, Line] | None:
        """Return the next line and its place; None if there is none, or the rows are large."""
        if not self.go_on:
            return None
        place = len(self._rows)
        self._rows.append(b"")
        if place + 1 == self._count:
            self._take_no_more()
        return place, next(self._lines)

    def finish(self, place: int, row: bytes, *, failed: bool) -> None:
        """Keep the row of a line that was taken."""
        self._rows[place] = row
        self._size += len(row)
        if failed:
            self._failed.append(place)
        if self._size >= MOST_ROWS:
            self._take_no_more()

    def _take_no_more(self) -> None:
        self.go_on = False
        self.starting.cancel()

    def rows(self, seconds: float) -> ChunkRows:
        """Return the rows, when all that were taken are finished."""
        rows = self._rows if self._size <= MOST_CONTENT else self._first_rows()
        return ChunkRows(
            count=len(rows),
            content=b"".join(rows),
            failed=tuple(sorted(place for place in self._failed if place < len(rows))),
            seconds=seconds,
        )

    def _first_rows(self) -> list[bytes]:
        size = 0
        for place, row in enumerate(self._rows):
            size += len(row)
            if place and size > MOST_CONTENT:
                return self._rows[:place]
        return self._rows


@asynccontextmanager
async def open_work(job: Job, source: Source) -> AsyncGenerator[Work]:
    """Open the guest of a job, for chunks.

    Raises:
        Exception: as `open_guest`.
    """
    async with open_guest(job, source) as guest:
        yield Work(guest, job)
