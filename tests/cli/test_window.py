from __future__ import annotations

import trio
import trio.testing

from wasmpool._cli.window import Row, Window
from wasmpool._lines import Line


def line(size: int = 1) -> Line:
    return Line(b"x" * size, size + 1)


async def admitted(window: Window, count: int, size: int = 1) -> list[Row]:
    return [await window.admit(line(size)) for _ in range(count)]


async def test_rows_leave_in_the_order_they_came() -> None:
    """What is done waits for those before it, then leaves with them."""
    window = Window(rows=10, size=1000)
    first, second, third = await admitted(window, 3)
    taken: list[list[Row]] = []

    async def take() -> None:
        taken.append(await window.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        window.finish(second, b"2", failed=True)
        await trio.testing.wait_all_tasks_blocked()
        assert taken == []
        window.finish(first, b"1", failed=False)
    assert taken == [[first, second]]
    assert [(row.result, row.failed) for row in taken[0]] == [(b"1", False), (b"2", True)]
    assert len(window) == 1
    window.finish(third, b"3", failed=False)
    assert await window.take() == [third]


async def test_a_full_window_holds_the_reader_until_rows_are_taken() -> None:
    """Rows that are done count until they are taken: results pile up no further than this."""
    window = Window(rows=2, size=1000)
    first, second = await admitted(window, 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(admitted, window, 1)
        window.finish(second, b"", failed=False)
        await trio.testing.wait_all_tasks_blocked()
        assert len(window) == 2
        window.finish(first, b"", failed=False)
        assert await window.take() == [first, second]
    assert len(window) == 1


async def test_bytes_fill_the_window_too() -> None:
    """Input counts until the result is there, then the result does."""
    window = Window(rows=100, size=10)
    first, second = await admitted(window, 2, size=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(admitted, window, 1, 4)
        await trio.testing.wait_all_tasks_blocked()
        assert len(window) == 2
        window.finish(first, b"123456", failed=False)
        assert await window.take() == [first]
    assert len(window) == 2
    window.finish(second, b"1234567", failed=False)
    assert await window.take() == [second]


async def test_an_empty_window_takes_a_row_of_any_size() -> None:
    """A line larger than the window passes, alone."""
    window = Window(rows=100, size=10)
    (large,) = await admitted(window, 1, size=1000)
    with trio.move_on_after(0) as waited:
        await window.admit(line())
    assert waited.cancelled_caught
    window.finish(large, b"", failed=False)
    assert await window.take() == [large]
    assert len(await admitted(window, 1)) == 1


async def test_the_end_leaves_what_is_done_and_drops_the_rest() -> None:
    """After the end the done rows at the front can still be taken, then there is nothing."""
    window = Window(rows=100, size=1000)
    first, _second, third = await admitted(window, 3)
    window.finish(first, b"", failed=False)
    window.finish(third, b"", failed=False)
    window.end()
    assert await window.take() == [first]
    assert await window.take() == []


async def test_the_end_wakes_the_writer() -> None:
    """A writer that waits for the first row hears of the end."""
    window = Window(rows=100, size=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(window.take)
        await trio.testing.wait_all_tasks_blocked()
        window.end()
