"""The rows between reading and giving out, in the order of the input.

Calls end in any order, but their outcomes leave in the order of the input, so a finished row waits
here for the rows before it. The window bounds what is kept: it is full when it has `rows` rows or
`size` bytes, and then the reader waits, however fast the calls after a slow one end. An empty
window takes any row, so an item larger than `size` can pass alone.

As in the pool, state changes only in synchronous code, and those who read and those who take are
parked until the other side wakes them.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar, cast, final

import attrs
import trio

__all__ = ["Row", "Window"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@final
@attrs.define(eq=False)
class Row(Generic[Item, Outcome]):
    """One item of the input and, once its call has ended, its outcome."""

    item: Item | None
    """None once there is an outcome: it may be large."""
    held: int
    """Its bytes in memory: those of the item, later those of the outcome."""
    outcome: Outcome | None = None
    done: bool = False


@final
@attrs.define(eq=False)
class Window(Generic[Item, Outcome]):
    """The rows that are admitted and not yet taken, in the order of the input."""

    rows: int
    size: int | None = None
    """Bytes; None if rows are not weighed."""

    # Invariants: _held is the sum of row.held over _rows; once _ended, no row is admitted.
    _rows: deque[Row[Item, Outcome]] = attrs.field(init=False, factory=deque[Row[Item, Outcome]])
    _held: int = attrs.field(init=False, default=0)
    _ended: bool = attrs.field(init=False, default=False)
    _failure: Exception | None = attrs.field(init=False, default=None)
    _room: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    _front: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)

    def __len__(self) -> int:
        return len(self._rows)

    async def admit(self, item: Item, held: int = 0) -> Row[Item, Outcome]:
        """Wait until there is room, then append a row for an item of ``held`` bytes."""
        while self._is_full_for(held):
            await self._room.park()
        assert not self._ended, "a row was admitted after the end"
        row = Row[Item, Outcome](item, held)
        self._rows.append(row)
        self._held += held
        return row

    def _is_full_for(self, held: int) -> bool:
        if not self._rows:
            return False
        too_large = self.size is not None and self._held + held > self.size
        return too_large or len(self._rows) >= self.rows

    def finish(self, row: Row[Item, Outcome], outcome: Outcome, held: int = 0) -> None:
        """Set the outcome of a row, which has ``held`` bytes."""
        assert not row.done, "a row was finished twice"
        self._held += held - row.held
        row.item, row.held, row.outcome, row.done = None, held, outcome, True
        if self._rows and row is self._rows[0]:
            self._front.unpark_all()

    def end(self, failure: Exception | None = None) -> None:
        """Admit no more rows; finished rows can still be taken, and after them ``failure``."""
        self._ended = True
        self._failure = self._failure or failure
        self._front.unpark_all()

    @property
    def front(self) -> Item | None:
        """The first item, while it has no outcome; else None."""
        return self._rows[0].item if self._rows else None

    @property
    def is_ready(self) -> bool:
        """True if `take` has nothing to wait for."""
        return self._ended or (bool(self._rows) and self._rows[0].done)

    @property
    def is_over(self) -> bool:
        """True if more bytes are kept than `size`: outcomes were larger than their items."""
        return self.size is not None and self._held > self.size

    async def wait_taken(self) -> None:
        """Wait until outcomes are taken."""
        await self._room.park()

    def wake(self) -> None:
        """Wake those who wait in `take` or `wait`, to look at the front."""
        self._front.unpark_all()

    async def wait(self) -> None:
        """Wait until the front may have changed."""
        await self._front.park()

    async def take(self, most: int | None = None) -> list[Outcome]:
        """Wait for the first row to be done, and take the outcomes at the front.

        Returns:
            At least one, and ``most`` at most; [] at the end.

        Raises:
            Exception: the failure that `end` was given, instead of [], and once.
        """
        while not self.is_ready:
            await self._front.park()
        outcomes = self._take_done(len(self._rows) if most is None else most)
        if not outcomes and self._failure is not None:
            failure, self._failure = self._failure, None
            try:
                raise failure
            finally:
                del failure  # it has this frame in its traceback
        return outcomes

    def _take_done(self, most: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < most and self._rows and self._rows[0].done:
            row = self._rows.popleft()
            self._held -= row.held
            outcomes.append(cast("Outcome", row.outcome))
        if outcomes:
            self._room.unpark_all()
        return outcomes
