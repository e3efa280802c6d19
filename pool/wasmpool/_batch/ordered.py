"""Lines in, rows out, in the order of the input, whichever places do the chunks.

A chunk whose place is lost is done in another one. If that is lost as well, its lines have error
rows that say how the place ended. Where retries are allowed, it is first tried again in halves, so
that a line that ends its place takes few others with it.

Where a place shows the first rows of a chunk before it is done, they leave when they are first in
order, some times a second: rows of short lines leave with their chunk.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs
import trio

from wasmpool._in_order import InOrder
from wasmpool._window import Window

from .chunk import Chunk, ChunkRows
from .feed import Feed
from .pace import Pace
from .places import PlaceLost, PlacesFailed
from .progress import Progress
from .rows import error_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .feed import Blocks
    from .places import Places

__all__ = ["CHUNKS_AHEAD", "PAUSE", "Done", "OrderedRows"]

CHUNKS_AHEAD: Final = 8
"""Chunks in the window for each that may be under way: how far others get ahead of a slow one."""

_WINDOW_SIZE: Final = 32 << 20
"""Bytes of lines and rows in the window: two lines of the maximum length."""

PAUSE: Final = 0.02
"""Seconds after other rows that those of a chunk under way wait for more of them. A write costs as
much as some short lines, and people do not notice this."""


@final
@attrs.frozen(eq=False)
class Done:
    """A chunk that is done, as a whole or in part."""

    chunk: Chunk
    rows: ChunkRows
    """Those of its first lines, at least."""

    @property
    def data(self) -> bytes:
        """The lines that have rows."""
        return self._done_part.data

    @property
    def size(self) -> int:
        """The bytes in the input of the lines that have rows."""
        return self._done_part.size

    @property
    def _done_part(self) -> Chunk:
        whole = self.rows.count == self.chunk.count
        return self.chunk if whole else self.chunk.parts(self.rows.count)[0]


@final
class OrderedRows:
    """One input, worked through in some places.

    Args:
        places: do the chunks.
        blocks: the input.
        numbered: True if rows have the numbers of their lines.
        retries: how often a chunk that has lost two places is tried again.
        first_line: the number of the input's first line.
        tasks: how many lines each place can answer at once.
    """

    def __init__(  # noqa: PLR0913 - options, by name
        self,
        places: Places,
        blocks: Blocks,
        *,
        numbered: bool = False,
        retries: int = 0,
        first_line: int = 1,
        tasks: int = 1,
    ) -> None:
        self._places = places
        self._numbered = numbered
        self._retries = retries
        self._pace = Pace(places.most_lines, places.size, blocks.size, tasks)
        self._feed = Feed(blocks, self._pace, places.size, first_line, places.most_ahead)
        self._window = Window[Chunk, "_Outcome"](rows=places.size * CHUNKS_AHEAD, size=_WINDOW_SIZE)
        self._calls = InOrder(
            function=self._outcome,
            calls=places.size,
            window=self._window,
            weigh_item=_size_of,
            weigh_outcome=_size_of_rows,
        )
        self._progress: dict[int, Progress] = {}  # of chunks that are not done
        self._next_early = -math.inf
        self._taken: deque[_Outcome] = deque()
        self._rest: Chunk | None = None
        self._stopped = False

    async def work(self) -> None:
        """Do all chunks. Then, or when this is cancelled, `take` ends behind what is done."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed.read)
            try:
                await self._calls.work(self._feed.chunks())
            except BaseException:
                self._stopped = True
                raise

    async def take(self) -> list[Done]:
        """Wait for the next rows, in the order of the input; [] at the end.

        Raises:
            PlacesFailed: no more chunks can be done.
            Exception: as reading the input failed, after the rows of the lines before.

        A cancel loses no rows.
        """
        if self._rest is not None:
            return [] if self._stopped else [await self._take_rest(self._rest)]
        if not self._taken:
            self._taken.extend(await self._outcomes())
            self._next_early = trio.current_time() + PAUSE
        done: list[Done] = []
        while self._taken and self._rest is None:
            outcome = self._taken[0]
            if isinstance(outcome, PlacesFailed):
                if done:
                    break
                raise outcome
            done.append(outcome)
            self._feed.taken(outcome.rows.count)
            self._taken.popleft()
            self._rest = self._rest_of(outcome)
        return done

    async def _outcomes(self) -> list[_Outcome]:
        """Wait for chunks that are done, or for first rows of one that is not; [] at the end."""
        with trio.move_on_at(self._next_early):
            return await self._window.take() or self._early()
        while not self._window.is_ready:
            if early := self._early():
                return early
            await self._window.wait()
        return await self._window.take() or self._early()

    def _early(self) -> list[_Outcome]:
        """Return the rows that are there of the first chunk, if it is under way."""
        chunk = self._window.front
        progress = None if chunk is None else self._progress.get(chunk.number)
        taken = None if progress is None else progress.take(whole=self._stopped)
        return [] if taken is None else [Done(*taken)]

    async def _take_rest(self, rest: Chunk) -> Done:
        done = Done(rest, await self._rows(rest))
        self._feed.taken(done.rows.count)
        self._rest = self._rest_of(done)
        return done

    def _rest_of(self, done: Done) -> Chunk | None:
        """Return the lines that have no rows: they are done when those before were taken."""
        if done.rows.count == done.chunk.count:
            return None
        return done.chunk.parts(done.rows.count)[1]

    async def _outcome(self, chunk: Chunk) -> _Outcome:
        progress = self._progress[chunk.number] = Progress(chunk, self._window.wake)
        try:
            while self._window.is_over and self._window.front is not chunk:
                await self._window.wait_taken()  # of those before; this one would only add to them
            rows = await self._rows(chunk, progress)
        except PlacesFailed as failed:
            return failed
        finally:
            self._feed.done()
        del self._progress[chunk.number]
        return Done(progress.rest, rows)

    async def _rows(self, chunk: Chunk, progress: Progress | None = None) -> ChunkRows:
        rows = await self._rows_in_spite_of_losses(chunk, progress)
        self._pace.done(rows, chunk.count - progress.rest.count if progress else 0)
        return rows

    async def _rows_in_spite_of_losses(self, chunk: Chunk, progress: Progress | None) -> ChunkRows:
        try:
            return await self._places.do(chunk, progress)
        except PlaceLost:
            pass  # any chunk may be in a place that is ended, by a shortage of memory say
        try:
            return await self._places.do(chunk)
        except PlaceLost as lost:
            return await self._rows_in_halves(chunk, self._retries, lost)

    async def _rows_in_halves(self, chunk: Chunk, retries: int, lost: PlaceLost) -> ChunkRows:
        """Do a chunk that may end each place that it is given to."""
        if not retries:
            return self._lost_rows(chunk, lost)
        parts: list[ChunkRows] = []
        for half in (chunk,) if chunk.count == 1 else chunk.parts(chunk.count // 2):
            try:
                rows = await self._places.do(half)
            except PlaceLost as again:
                rows = await self._rows_in_halves(half, retries - 1, again)
            parts.append(rows)
            if rows.count < half.count:
                break
        return _joined(parts)

    def _lost_rows(self, chunk: Chunk, lost: PlaceLost) -> ChunkRows:
        numbers = range(chunk.first_line, chunk.first_line + chunk.count)
        rows = [error_row(str(lost), number if self._numbered else None) for number in numbers]
        return ChunkRows(
            count=chunk.count, content=b"".join(rows), failed=tuple(range(chunk.count))
        )


_Outcome: TypeAlias = Done | PlacesFailed


def _size_of(chunk: Chunk) -> int:
    return len(chunk.data)


def _size_of_rows(outcome: _Outcome) -> int:
    return len(outcome.rows.content) if isinstance(outcome, Done) else 0


def _joined(parts: Sequence[ChunkRows]) -> ChunkRows:
    """Return the rows of one part after the other."""
    failed: list[int] = []
    count = 0
    for part in parts:
        failed += (count + place for place in part.failed)
        count += part.count
    return ChunkRows(
        count=count,
        content=b"".join(part.content for part in parts),
        failed=tuple(failed),
        seconds=sum(part.seconds for part in parts),
    )
