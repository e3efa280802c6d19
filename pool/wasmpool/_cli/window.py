"""The rows between reading and writing, in the order of the input.

Calls end in any order, but results are written in the order of the input, so a finished row waits
here for the rows before it. The window bounds the memory of a run: it is full when it has `rows`
rows or `size` bytes, and then the reader waits, however fast the calls after a slow one end. An
empty window takes any row, so a line larger than `size` can pass alone.

As in the pool, state changes only in synchronous code, and the one reader and the one writer wait
for an event that the other one sets.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from wasmpool._lines import Line

__all__ = ["Row", "Window"]


@final
@attrs.define(eq=False)
class Row:
    """One line of the input and, once its call has ended, its line of the output."""

    size: int
    """Its bytes in the input."""
    held: int
    """Its bytes in memory: those of the input, later those of the result."""
    result: bytes = b""
    failed: bool = False
    done: bool = False


@final
@attrs.define(eq=False)
class Window:
    """The rows that are admitted and not yet taken, in the order of the input."""

    rows: int
    size: int

    # Invariants: _held is the sum of row.held over _rows; once _ended, no row is admitted.
    _rows: deque[Row] = attrs.field(init=False, factory=deque[Row])
    _held: int = attrs.field(init=False, default=0)
    _ended: bool = attrs.field(init=False, default=False)
    _room: trio.Event = attrs.field(init=False, factory=trio.Event)
    _front: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __len__(self) -> int:
        return len(self._rows)

    async def admit(self, line: Line) -> Row:
        """Wait until there is room, then append a row for `line`."""
        row = Row(size=line.size, held=len(line.content))
        while self._rows and (len(self._rows) >= self.rows or self._held + row.held > self.size):
            self._room = trio.Event()
            await self._room.wait()
        assert not self._ended, "a row was admitted after the end"
        self._rows.append(row)
        self._held += row.held
        return row

    def finish(self, row: Row, result: bytes, *, failed: bool) -> None:
        """Set the output line of a row."""
        assert not row.done, "a row was finished twice"
        self._held += len(result) - row.held
        row.held, row.result, row.failed, row.done = len(result), result, failed, True
        if row is self._rows[0]:
            self._front.set()

    def end(self) -> None:
        """Admit no more rows; finished rows can still be taken."""
        self._ended = True
        self._front.set()

    async def take(self) -> list[Row]:
        """Wait for the first row to be done, and take the done rows at the front; [] at the end."""
        while not (done := self._take_done()) and not self._ended:
            self._front = trio.Event()
            await self._front.wait()
        return done

    def _take_done(self) -> list[Row]:
        done: list[Row] = []
        while self._rows and self._rows[0].done:
            row = self._rows.popleft()
            self._held -= row.held
            done.append(row)
        if done:
            self._room.set()
        return done
