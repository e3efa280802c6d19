"""What a worker keeps open between chunks: an opened plugin for each kind of work, a few at most.

A worker serves any number of runs, one after another and at once. Those with the same module and
the same options share what is opened. What no chunk has asked for is closed after a while, and
sooner if something else is asked for.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["OpenWork", "keep_open"]

Work = TypeVar("Work")

MOST: Final = 4
"""Open at once: each has instances, and their memory."""
IDLE_SECONDS: Final = 60.0
"""Until it is closed. Chunks of one run follow each other faster."""


@final
@attrs.define(eq=False)
class _Entry(Generic[Work]):
    """Something open, or being opened. A task of its own has its block."""

    idle: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Its deadline is when it is closed; none while it is in use."""
    users: int = 0
    work: Work | None = None
    error: Exception | None = None
    """Why it could not be opened."""
    opened: trio.Event = attrs.field(factory=trio.Event)
    """Set if it is open, or could not be opened."""


@final
class OpenWork(Generic[Work]):
    """What is open, by a key that stands for the module and the options.

    Args:
        nursery: for the tasks that keep the blocks.
        most: how many are open at once.
        idle_seconds: after which one without users is closed.
    """

    def __init__(self, nursery: trio.Nursery, most: int, idle_seconds: float) -> None:
        self._nursery = nursery
        self._most = most
        self._idle_seconds = idle_seconds
        # By key; and with those that are closing, in the order in which they were last used.
        self._by_key: dict[str, _Entry[Work]] = {}
        self._all: dict[_Entry[Work], None] = {}
        self._changed = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._all)

    @asynccontextmanager
    async def use(
        self, key: str, open_work: Callable[[], AbstractAsyncContextManager[Work]]
    ) -> AsyncGenerator[Work]:
        """A block in which the work of this key is open.

        It is opened if nobody has; a cancel leaves the opening to the others who wait for it.

        Raises:
            Exception: as ``open_work``; the next user tries again.
        """
        entry = await self._enter(key, open_work)
        try:
            await entry.opened.wait()
            if entry.error is not None:
                raise entry.error
            assert entry.work is not None
            yield entry.work
        finally:
            self._leave(entry)

    async def _enter(
        self, key: str, open_work: Callable[[], AbstractAsyncContextManager[Work]]
    ) -> _Entry[Work]:
        while True:
            entry = self._by_key.get(key)
            if entry is not None and not entry.idle.cancel_called:
                break
            if len(self._all) < self._most:
                entry = self._by_key[key] = _Entry()
                self._all[entry] = None
                self._nursery.start_soon(self._keep, key, entry, open_work)
                break
            self._close_oldest()
            await self._changed.park()
        entry.users += 1
        entry.idle.deadline = float("inf")
        return entry

    def _leave(self, entry: _Entry[Work]) -> None:
        entry.users -= 1
        if entry.users == 0:
            entry.idle.deadline = trio.current_time() + self._idle_seconds
            if entry in self._all:  # it is now the last used
                del self._all[entry]
                self._all[entry] = None
            self._changed.unpark_all()

    def _close_oldest(self) -> None:
        """Have the one be closed that was unused for the longest time, if there is one."""
        if any(entry.idle.cancel_called for entry in self._all):
            return  # one is closing already
        for entry in self._all:
            if entry.users == 0:
                entry.idle.cancel()
                return

    async def _keep(
        self,
        key: str,
        entry: _Entry[Work],
        open_work: Callable[[], AbstractAsyncContextManager[Work]],
    ) -> None:
        """Have the block until nobody has used it for a while."""
        try:
            async with open_work() as work:
                entry.work = work
                entry.opened.set()
                with entry.idle:
                    await trio.sleep_forever()
        except Exception as error:  # noqa: BLE001 - raised in those who wait for it
            entry.error = error
        finally:
            if self._by_key.get(key) is entry:
                del self._by_key[key]
            del self._all[entry]
            entry.opened.set()
            self._changed.unpark_all()


@asynccontextmanager
async def keep_open(
    *, most: int = MOST, idle_seconds: float = IDLE_SECONDS
) -> AsyncGenerator[OpenWork[Any]]:
    """Keep open what is used, until the block ends; then all is closed at once."""
    async with trio.open_nursery() as nursery:
        yield OpenWork(nursery, most, idle_seconds)
        nursery.cancel_scope.cancel()
