"""The work on chunks with one guest, in one trio run: what each place does.

Several chunks may be worked on at once. They share the calls that may be under way, first come,
first served: the lines of one chunk are all begun before those of the next. So a chunk that has one
slow line left does not keep the others from using the rest.
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
    from collections.abc import AsyncGenerator, Callable, Iterator

    from wasmpool._lines import Line
    from wasmpool_host.lowlevel import Source

    from .chunk import Chunk
    from .guest import Answer, Guest
    from .job import Job
    from .progress import Progress

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
        self._beginning = trio.Lock()  # first come, first served: held until all lines are begun

    async def do(
        self,
        chunk: Chunk,
        progress: Progress | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> ChunkRows:
        """Do a chunk: answer its lines, and return the rows of all or of its first lines.

        It has started when its first call may begin: chunks that are started one after the other
        are begun in this order. A cancel ends the calls under way.

        With ``progress``, the first rows can be taken from it before, and are not returned.
        """
        under_way = _UnderWay(chunk.lines(), chunk.first_line, chunk.count)
        if progress is not None:
            under_way.tell, progress.first_rows = progress.tell, under_way.first_rows
        began = None
        async with trio.open_nursery() as nursery:
            with under_way.starting:
                async with self._beginning:
                    while under_way.go_on:
                        await self._calls.acquire()
                        nursery.start_soon(self._caller, under_way)
                        if began is None:
                            began = trio.current_time()
                            task_status.started()
                        await trio.lowlevel.checkpoint()  # so that it can take the last line
        assert began is not None
        return under_way.rows(trio.current_time() - began)

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


def _nothing() -> None:
    pass


@final
@attrs.define(eq=False)
class _UnderWay:
    """A chunk whose lines are being answered."""

    # Invariants: the lines that were taken are the first ones, and each has a place in _rows, empty
    # until it is finished. The first _given rows were given out, and are empty again. At the end,
    # the last of the rows has not been given out, unless first_rows was asked for all.

    _lines: Iterator[Line]
    first_line: int
    _count: int
    starting: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    """Around the start of callers, which may wait for calls of other chunks: cancelled when no more
    of them are wanted."""
    go_on: bool = attrs.field(init=False, default=True)
    """False once no more lines are taken."""
    tell: Callable[[], None] = attrs.field(init=False, default=_nothing)
    """Called when there are rows for `first_rows`."""
    _rows: list[bytes] = attrs.field(init=False, factory=list[bytes])
    _failed: list[int] = attrs.field(init=False, factory=list[int])
    _size: int = attrs.field(init=False, default=0)
    _given: int = attrs.field(init=False, default=0)

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
        if place == self._given:
            self.tell()

    def first_rows(self, whole: bool) -> ChunkRows | None:  # noqa: FBT001 - as `Progress` has it
        """Return the finished rows before the first unfinished one, each once.

        The last row is among them only if ``whole`` is True.
        """
        start = end = self._given
        while end < len(self._rows) and self._rows[end]:
            end += 1
        if end == len(self._rows) and not (self.go_on or whole):
            end -= 1
        if end <= start:
            return None
        rows = self._rows[start:end]
        self._rows[start:end] = [b""] * len(rows)
        self._given = end
        given = _chunk_rows(rows, self._failed, start)
        self._size -= len(given.content)
        return given

    def _take_no_more(self) -> None:
        self.go_on = False
        self.starting.cancel()

    def rows(self, seconds: float) -> ChunkRows:
        """Return the rows that were not given out, when all that were taken are finished."""
        rows = self._rows[self._given :]
        if self._size > MOST_CONTENT:
            rows = _first_of(rows)
        return _chunk_rows(rows, self._failed, self._given, seconds)


def _first_of(rows: list[bytes]) -> list[bytes]:
    """Return as many of the first rows as may be returned, and one at least."""
    size = 0
    for place, row in enumerate(rows):
        size += len(row)
        if place and size > MOST_CONTENT:
            return rows[:place]
    return rows


def _chunk_rows(
    rows: list[bytes], failed: list[int], start: int, seconds: float = 0.0
) -> ChunkRows:
    """Return rows, the first of which has the place ``start``."""
    places = range(start, start + len(rows))
    return ChunkRows(
        count=len(rows),
        content=b"".join(rows),
        failed=tuple(sorted(place - start for place in failed if place in places)),
        seconds=seconds,
    )


@asynccontextmanager
async def open_work(job: Job, source: Source) -> AsyncGenerator[Work]:
    """Open the guest of a job, for chunks.

    Raises:
        Exception: as `open_guest`.
    """
    async with open_guest(job, source) as guest:
        yield Work(guest, job)
