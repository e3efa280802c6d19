"""Calls for each item of an input, some at once; their outcomes leave in the order of the input.

One task reads the input and admits items to a window (`_window.py`). Callers take items from there,
and the reader of the outcomes takes them from the window's front. They wait for each other, so the
slowest sets the pace, and memory stays bounded. A caller is started when an item finds no free one,
up to `calls` callers, so a large limit costs nothing for a small input. A single task reads,
because an async generator may have a cancel scope or a lock of one task around its ``yield``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from inspect import isasyncgen
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast, final

import attrs
import trio

from ._block import Block
from ._window import Row, Window

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["InOrder", "Items", "open_results"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Outcome_co = TypeVar("Outcome_co", covariant=True)

Items: TypeAlias = "Iterable[Item] | AsyncIterable[Item]"

_KEPT: Final = 8
"""Results for each call that are kept without a limit: how far calls get ahead of a slow one."""


def _no_weight(_: object) -> int:
    return 0


@final
@attrs.define(eq=False, kw_only=True)
class InOrder(Generic[Item, Outcome]):
    """Makes a call for each item."""

    function: Callable[[Item], Awaitable[Outcome]]
    """Makes one call. It raises nothing: an error is an outcome."""
    calls: int
    """How many calls may be under way at once."""
    window: Window[Item, Outcome]
    weigh_item: Callable[[Item], int] = _no_weight
    """Returns the bytes of an item, if the window counts them."""
    weigh_outcome: Callable[[Outcome], int] = _no_weight

    # Invariant: no caller is in _idle while an item is in _asked, but for those just woken.
    _asked: deque[Row[Item, Outcome]] = attrs.field(init=False, factory=deque[Row[Item, Outcome]])
    _idle: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    _callers: int = attrs.field(init=False, default=0)
    _read_all: bool = attrs.field(init=False, default=False)

    async def work(self, items: Items[Item]) -> None:
        """Make all calls. Then, or when this is cancelled, end the window.

        What reading the input raises ends it, and the window raises it after the outcomes.
        """
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                try:
                    await self._read(items, nursery)
                except Exception as error:  # noqa: BLE001 - the window raises it
                    failure = error
                self._read_all = True
                self._idle.unpark_all()
        finally:
            self.window.end(failure)
            del failure  # it has this frame in its traceback

    async def _read(self, items: Items[Item], nursery: trio.Nursery) -> None:
        if not isinstance(items, AsyncIterable):
            for item in items:
                await self._ask(item, nursery)
            return
        try:
            async for item in items:
                await self._ask(item, nursery)
        finally:
            if isasyncgen(items):  # left alone, it would wait for the garbage collector
                await items.aclose()

    async def _ask(self, item: Item, nursery: trio.Nursery) -> None:
        row = await self.window.admit(item, self.weigh_item(item))
        self._asked.append(row)
        if self._idle:
            self._idle.unpark()
        elif self._callers < self.calls:
            self._callers += 1
            nursery.start_soon(self._call)
            await trio.lowlevel.checkpoint()  # so that it may be free again for the next item

    async def _call(self) -> None:
        while True:
            while self._asked:
                row = self._asked.popleft()
                outcome = await self.function(cast("Item", row.item))
                self.window.finish(row, outcome, self.weigh_outcome(outcome))
                del row, outcome  # an idle task must not keep them in memory
            if self._read_all:
                return
            await self._idle.park()


@final
class Results(AsyncIterator[Outcome_co]):
    """The results of a map, in the order of its input: ``async for result in results:``.

    The next one is waited for; a cancel is raised before it is taken. Several tasks may share the
    results: each is given to one of them.
    """

    __slots__ = ("_call", "_ended", "_window")

    def __init__(self, call: str, window: Window[Any, Outcome_co]) -> None:
        """`Pool.map` and `Plugin.map` make results."""
        self._call = call
        self._window = window
        self._ended = False

    async def __anext__(self) -> Outcome_co:
        """Wait for the next result."""
        if self._ended:
            raise RuntimeError(f"the block of {self._call} has ended, and its results with it")
        await trio.lowlevel.checkpoint_if_cancelled()
        for outcome in await self._window.take(1):
            return outcome
        raise StopAsyncIteration


def open_results(
    name: str,
    call: Callable[[Item], Awaitable[Outcome]],
    items: Items[Item],
    *,
    limit: int | None,
    size: Callable[[], int],
) -> AbstractAsyncContextManager[AsyncIterator[Outcome | Exception]]:
    """Make a call for each item while a block lasts.

    Args:
        name: the method that the user has called, for messages.
        call: makes one call; what it raises is its result.
        items: the input, which is read as far as there is room.
        limit: how many calls may be under way and results kept; None for the pool's size of calls.
        size: returns the pool's, when the block begins; raises if it is not to begin.

    Raises:
        TypeError, ValueError: ``items`` is no input of a map, or ``limit`` no limit.
    """
    _check_items(name, items)
    _check_limit(limit)

    async def outcome_of(item: Item) -> Outcome | Exception:
        try:
            return await call(item)
        except Exception as error:  # noqa: BLE001 - the result in its place
            return error

    return Block(name, "results", _open(name, outcome_of, items, limit, size))


@asynccontextmanager
async def _open(
    name: str,
    function: Callable[[Item], Awaitable[Outcome]],
    items: Items[Item],
    limit: int | None,
    size: Callable[[], int],
) -> AsyncGenerator[AsyncIterator[Outcome]]:
    """Work through the items in a task, until the block ends.

    The error of the block is kept until the nursery is gone: raised inside, it would be wrapped in
    a group.
    """
    calls = size()
    window = Window[Item, Outcome](limit or calls * _KEPT)
    in_order = InOrder(function=function, calls=limit or calls, window=window)
    results: Results[Outcome] = Results(name, window)
    ended_with: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_order.work, items)
        try:
            yield results
        except BaseException as error:  # noqa: BLE001 - raised below
            ended_with = error
        results._ended = True  # noqa: SLF001 - a class of this file
        nursery.cancel_scope.shield = True
        nursery.cancel_scope.cancel()
    if ended_with is not None:
        try:
            raise ended_with
        finally:
            del ended_with  # it has this frame in its traceback


def _check_items(name: str, items: object) -> None:
    wanted = f"{name} takes an iterable or an async iterable with the arguments of each call"
    if isinstance(items, (str, bytes, Mapping)):
        raise TypeError(f"{wanted}, not a {type(items).__name__}")
    if not isinstance(items, (Iterable, AsyncIterable)):
        raise TypeError(f"{wanted}, not {items!r}")


def _check_limit(limit: object) -> None:
    if limit is None:
        return
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"limit must be a whole number or None, not {limit!r}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit!r}")
