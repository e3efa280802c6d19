from __future__ import annotations

import pytest
import trio
import trio.testing

from wasmpool._window import Row, Window


async def admitted(window: Window[str, str], count: int, size: int = 1) -> list[Row[str, str]]:
    return [await window.admit("item", size) for _ in range(count)]


async def test_rows_leave_in_the_order_they_came() -> None:
    """What is done waits for those before it, then leaves with them."""
    window = Window[str, str](rows=10, size=1000)
    first, second, third = await admitted(window, 3)
    taken: list[list[str]] = []

    async def take() -> None:
        taken.append(await window.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        window.finish(second, "2", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert taken == []
        window.finish(first, "1", 1)
    assert taken == [["1", "2"]]
    assert len(window) == 1
    window.finish(third, "3", 1)
    assert await window.take() == ["3"]


async def test_a_full_window_holds_the_reader_until_rows_are_taken() -> None:
    """Rows that are done count until they are taken: results pile up no further than this."""
    window = Window[str, str](rows=2, size=1000)
    first, second = await admitted(window, 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(admitted, window, 1)
        window.finish(second, "", 0)
        await trio.testing.wait_all_tasks_blocked()
        assert len(window) == 2
        window.finish(first, "", 0)
        assert await window.take() == ["", ""]
    assert len(window) == 1


async def test_bytes_fill_the_window_too() -> None:
    """Input counts until the result is there, then the result does."""
    window = Window[str, str](rows=100, size=10)
    first, second = await admitted(window, 2, size=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(admitted, window, 1, 4)
        await trio.testing.wait_all_tasks_blocked()
        assert len(window) == 2
        window.finish(first, "123456", 6)
        assert await window.take() == ["123456"]
    assert len(window) == 2
    window.finish(second, "1234567", 7)
    assert await window.take() == ["1234567"]


async def test_an_empty_window_takes_a_row_of_any_size() -> None:
    """A line larger than the window passes, alone."""
    window = Window[str, str](rows=100, size=10)
    (large,) = await admitted(window, 1, size=1000)
    with trio.move_on_after(0) as waited:
        await window.admit("item", 1)
    assert waited.cancelled_caught
    window.finish(large, "", 0)
    assert await window.take() == [""]
    assert len(await admitted(window, 1)) == 1


async def test_the_end_leaves_what_is_done_and_drops_the_rest() -> None:
    """After the end the done rows at the front can still be taken, then there is nothing."""
    window = Window[str, str](rows=100, size=1000)
    first, _second, third = await admitted(window, 3)
    window.finish(first, "", 0)
    window.finish(third, "", 0)
    window.end()
    assert await window.take() == [""]
    assert await window.take() == []


async def test_the_end_wakes_the_writer() -> None:
    """A writer that waits for the first row hears of the end."""
    window = Window[str, str](rows=100, size=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(window.take)
        await trio.testing.wait_all_tasks_blocked()
        window.end()


async def test_what_it_failed_with_follows_the_last_row() -> None:
    """Rows come first, then the failure, once."""
    window = Window[str, str](rows=100)
    (row,) = await admitted(window, 1)
    window.finish(row, "last")
    window.end(OSError("gone"))
    assert await window.take() == ["last"]
    with pytest.raises(OSError, match="gone"):
        await window.take()
    assert await window.take() == []


async def test_some_of_the_rows_can_be_taken() -> None:
    """The others stay in the window, and count."""
    window = Window[str, str](rows=3)
    for row in await admitted(window, 3):
        window.finish(row, "done")
    assert await window.take(2) == ["done", "done"]
    assert len(window) == 1


async def test_an_item_is_let_go_when_there_is_an_outcome() -> None:
    """Only one of the two is kept: both may be large."""
    window = Window[str, str](rows=3)
    (row,) = await admitted(window, 1)
    window.finish(row, "done")
    assert (row.item, row.outcome) == (None, "done")
