"""The rows between reading and writing, in the order of the input.

Calls end in any order, results leave in the order of the input: a row that is done waits here for
those before it. The window is what bounds the memory of a run. It is full when it holds `rows`
rows or `size` bytes, and then the reader waits, however fast the calls behind a slow one go. An
empty window takes any row, so a line larger than `size` passes, alone.

The same rule as in the pool: state changes are synchronous, and the waiting (one reader, one
writer) is parking on an event until somebody else has changed the state.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from .lines import Line

__all__ = ["Row", "Window"]


@final
@attrs.define(eq=False)
class Row:
    """One line of the input and, once its call has ended, its line of the output."""

    size: int
    """Bytes that it took of the input."""
    held: int
    """Bytes that it keeps in memory: those of its input, later those of its result."""
    result: bytes = b""
    failed: bool = False
    done: bool = False


@final
@attrs.define(eq=False)
class Window:
    """Rows admitted and not yet taken for writing, in the order of the input."""

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
        """Wait until there is room, then take `line` in as the last row."""
        row = Row(size=line.size, held=len(line.content))
        while self._rows and (len(self._rows) >= self.rows or self._held + row.held > self.size):
            self._room = trio.Event()
            await self._room.wait()
        assert not self._ended, "a row was admitted after the end"
        self._rows.append(row)
        self._held += row.held
        return row

    def finish(self, row: Row, result: bytes, *, failed: bool) -> None:
        """Give `row` its line of the output."""
        assert not row.done, "a row was finished twice"
        self._held += len(result) - row.held
        row.held, row.result, row.failed, row.done = len(result), result, failed, True
        if row is self._rows[0]:
            self._front.set()

    def end(self) -> None:
        """No more rows will be admitted or finished; what is done may still be taken."""
        self._ended = True
        self._front.set()

    async def take(self) -> list[Row]:
        """Wait until the first row is done; take it and those done behind it. Empty: the end."""
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
