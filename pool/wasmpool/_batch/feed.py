"""From the input to chunks: it is read as far as needed, and cut when a place has room.

Who waits for more of the input gets what there is: while a place has nothing to do, a chunk is cut
of whatever has been read.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Protocol, final

import trio

from .cutter import Cutter
from .rows import LONGEST_LINE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .chunk import Chunk
    from .pace import Pace

__all__ = ["Blocks", "Feed"]

_PARTS: Final = 4
"""Of the lines that may be ahead: so many large chunks at least, so that places do not wait for the
rows to be taken."""


class Blocks(Protocol):
    """The input, as blocks of bytes."""

    @property
    def size(self) -> int | None:
        """In bytes; None if it is not known, as for a pipe."""
        ...

    async def read(self) -> bytes:
        """Return the next bytes, at least one; ``b""`` at the end."""
        ...

    async def aclose(self) -> None:
        """Read no more; called in the task that has read."""
        ...


@final
class Feed:
    """Reads an input, and cuts it.

    Args:
        blocks: the input.
        pace: how large chunks are.
        places: how many chunks may be under way at once.
        first_line: the number of the first line.
        most_ahead: how many lines may be cut before the rows of the first are taken; None is no
            limit of its own.
    """

    # Invariant: _ahead is the number of lines that were cut and whose rows were not taken.

    def __init__(
        self,
        blocks: Blocks,
        pace: Pace,
        places: int,
        first_line: int,
        most_ahead: int | None = None,
    ) -> None:
        self._blocks = blocks
        self._pace = pace
        self._places = places
        self._cutter = Cutter(LONGEST_LINE, first_line)
        self._most_ahead = sys.maxsize if most_ahead is None else most_ahead
        self._ahead = 0
        self._under_way = 0
        self._ended = False
        self._failure: Exception | None = None
        self._reader = trio.lowlevel.ParkingLot()
        self._taker = trio.lowlevel.ParkingLot()

    async def read(self) -> None:
        """Read to the end. What this fails with, `chunks` raises after the lines before."""
        try:
            await self._read()
        finally:
            await self._blocks.aclose()

    async def _read(self) -> None:
        try:
            while block := await self._blocks.read():
                self._cutter.feed(block)
                del block
                self._taker.unpark_all()
                while self._is_full():
                    await self._reader.park()
        except Exception as error:  # noqa: BLE001 - raised by `chunks`
            self._failure = error  # half a line that was read before is no line
        else:
            self._cutter.end()
        self._ended = True
        self._taker.unpark_all()

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Return the chunks, each as soon as it is full or a place has nothing to do."""
        while True:
            while not self._may_cut():
                self._reader.unpark_all()
                await self._taker.park()
            chunk = self._cutter.cut(min(self._pace.lines, self._room), self._pace.size)
            if chunk is None:
                break
            self._pace.cut(chunk.size)
            self._under_way += 1
            self._ahead += chunk.count
            yield chunk
        if self._failure is not None:
            raise self._failure

    def done(self) -> None:
        """Note that a chunk is done."""
        self._under_way -= 1
        self._taker.unpark_all()

    def taken(self, lines: int) -> None:
        """Note that the rows of so many lines were taken."""
        self._ahead -= lines
        self._taker.unpark_all()

    @property
    def _room(self) -> int:
        """How many lines may be cut."""
        return self._most_ahead - self._ahead

    def _may_cut(self) -> bool:
        # Rows are taken in pieces, perhaps small ones, which should not make chunks as small.
        if self._room < min(self._pace.lines, self._most_ahead // _PARTS):
            return False
        if self._ended or self._is_full():
            return True
        return self._cutter.lines > 0 and self._under_way < self._places

    def _is_full(self) -> bool:
        cutter = self._cutter
        if cutter.lines >= min(self._pace.lines, max(1, self._room)):
            return True
        return cutter.lines > 0 and cutter.size >= self._pace.size
