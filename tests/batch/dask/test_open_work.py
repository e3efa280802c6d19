from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool._batch.dask.open_work import keep_open

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from wasmpool._batch.dask.open_work import OpenWork


class Opened:
    """Counts what is opened and closed, by key."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.gate = trio.Event()
        self.gate.set()
        self.error: Exception | None = None

    def of(self, key: str) -> Callable[[], AbstractAsyncContextManager[str]]:
        @asynccontextmanager
        async def opening() -> AsyncGenerator[str]:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            self.log.append(f"open {key}")
            try:
                yield f"work {key}"
            finally:
                self.log.append(f"close {key}")

        return opening

    async def use(self, kept: OpenWork[str], key: str) -> None:
        async with kept.use(key, self.of(key)) as work:
            assert work == f"work {key}"


@pytest.fixture
def opened() -> Opened:
    return Opened()


async def test_what_is_open_is_shared_and_kept(opened: Opened) -> None:
    """Users at once, and one after the other, open once; the end of the block closes."""
    opened.gate = trio.Event()
    async with keep_open() as kept:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(opened.use, kept, "a")
            await trio.testing.wait_all_tasks_blocked()
            opened.gate.set()
        await opened.use(kept, "a")
        await opened.use(kept, "b")
        assert opened.log == ["open a", "open b"]
        assert len(kept) == 2
    assert sorted(opened.log[2:]) == ["close a", "close b"]


async def test_what_nobody_uses_is_closed(
    opened: Opened, autojump_clock: trio.testing.MockClock
) -> None:
    """After the time, counted from its last use; not while it is in use."""
    async with keep_open(idle_seconds=60) as kept:
        await opened.use(kept, "a")
        await trio.sleep(59)
        async with kept.use("a", opened.of("a")):
            await trio.sleep(1000)
        await trio.sleep(59)
        assert opened.log == ["open a"]
        await trio.sleep(2)
        assert opened.log == ["open a", "close a"]
        assert len(kept) == 0
        await opened.use(kept, "a")
        assert opened.log == ["open a", "close a", "open a"]


async def test_a_bounded_number_is_open(
    opened: Opened, autojump_clock: trio.testing.MockClock
) -> None:
    """The one that was unused for the longest time gives its place up; else one waits for it."""
    async with keep_open(most=2) as kept:
        for key in ("a", "b", "a", "c"):
            await opened.use(kept, key)
        assert opened.log == ["open a", "open b", "close b", "open c"]
        async with trio.open_nursery() as nursery, kept.use("a", opened.of("a")):
            async with kept.use("c", opened.of("c")):
                nursery.start_soon(opened.use, kept, "d")
                await trio.testing.wait_all_tasks_blocked()
                assert len(kept) == 2
            await trio.testing.wait_all_tasks_blocked()
            assert opened.log[-2:] == ["close c", "open d"]


async def test_an_error_is_raised_in_all_that_wait_and_the_next_one_tries_again(
    opened: Opened,
) -> None:
    """It is not kept."""
    opened.gate, opened.error = trio.Event(), OSError("no memory")
    failed = 0

    async def use(kept: OpenWork[str]) -> None:
        nonlocal failed
        with pytest.raises(OSError, match="no memory"):
            await opened.use(kept, "a")
        failed += 1

    async with keep_open() as kept:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(use, kept)
            await trio.testing.wait_all_tasks_blocked()
            opened.gate.set()
        assert failed == 3
        assert len(kept) == 0
        opened.error = None
        await opened.use(kept, "a")


async def test_a_cancelled_user_takes_nothing_from_the_others(opened: Opened) -> None:
    """The one that began the opening may leave; who waits for a place may leave, too."""
    opened.gate = trio.Event()
    async with keep_open(most=1) as kept, trio.open_nursery() as nursery:
        with trio.CancelScope() as first:
            async with trio.open_nursery() as inner:
                inner.start_soon(opened.use, kept, "a")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(opened.use, kept, "a")
                inner.start_soon(opened.use, kept, "b")
                await trio.testing.wait_all_tasks_blocked()
                first.cancel()
        opened.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert opened.log == ["open a"]
        assert len(kept) == 1


async def test_a_cancel_closes_what_is_open(opened: Opened) -> None:
    """And what is being opened."""
    with trio.CancelScope() as scope:
        async with keep_open() as kept, trio.open_nursery() as nursery:
            await opened.use(kept, "a")
            opened.gate = trio.Event()
            nursery.start_soon(opened.use, kept, "b")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert opened.log == ["open a", "close a"]
