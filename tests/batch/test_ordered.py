"""Lines in, rows out, in order: on places that are lost, slow, or give few rows at a time."""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING, Any, final

import pytest
import trio
import trio.testing
from tests.batch.fakes import FakeBlocks, FakePlaces, Reply, numbers

from wasmpool._batch import ordered as module
from wasmpool._batch.here import Here
from wasmpool._batch.job import Job
from wasmpool._batch.ordered import CHUNKS_AHEAD, OrderedRows
from wasmpool._batch.places import PlacesFailed
from wasmpool._batch.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from wasmpool._lines import Line

KILLED = {"error": "the process was killed by signal 9"}


async def rows_of(rows: OrderedRows) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rows.work)
        await take_all(rows, found)
    return found


async def take_all(rows: OrderedRows, found: list[dict[str, Any]]) -> None:
    while done := await rows.take():
        found += (json.loads(row) for each in done for row in each.rows.content.splitlines())


def data(first: int, last: int) -> list[dict[str, str]]:
    return [{"data": str(number)} for number in range(first, last + 1)]


@pytest.mark.parametrize("seed", range(5))
async def test_rows_are_in_the_order_of_the_lines(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """However long each chunk takes, wherever the input is cut, and however few rows come."""
    chance = random.Random(seed)
    text = numbers(1, 300)
    cuts = sorted(chance.sample(range(1, len(text)), 5))
    blocks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    places = FakePlaces(3, seconds=lambda: chance.random() ** 4, most=chance.randrange(1, 5))
    assert await rows_of(OrderedRows(places, FakeBlocks(*blocks).end())) == data(1, 300)
    assert places.largest <= 3 + 1  # and one rest, which is done when its turn comes


async def test_a_lost_place_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Its chunk is done in another one."""
    seen: list[list[bytes]] = []

    def lost(lines: list[bytes]) -> bool:
        seen.append(lines)
        return seen.count(lines) == 1

    places = FakePlaces(lost=lost)
    assert await rows_of(OrderedRows(places, FakeBlocks(numbers(1, 50)).end())) == data(1, 50)
    assert len(places.done) == 2 * len({tuple(lines) for lines in places.done})


async def test_a_chunk_that_loses_two_places_has_error_rows(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of its lines alone; they say how the place ended."""
    places = FakePlaces(most_lines=4, lost=lambda lines: b"6" in lines)
    found = await rows_of(OrderedRows(places, FakeBlocks(numbers(1, 12)).end(), tasks=4))
    assert found == [*data(1, 4), *[KILLED] * 4, *data(9, 12)]
    assert places.done.count([b"5", b"6", b"7", b"8"]) == 2


async def test_retries_find_the_line_that_ends_its_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """By halves: the others are answered."""
    places = FakePlaces(most_lines=4, lost=lambda lines: b"6" in lines)
    rows = OrderedRows(places, FakeBlocks(numbers(1, 12)).end(), retries=2, numbered=True, tasks=4)
    found = await rows_of(rows)
    assert found == [*data(1, 5), {"line": 6, **KILLED}, *data(7, 12)]
    assert places.done.count([b"6"]) == 1


async def test_halves_whose_rows_are_few_are_no_gap(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is left of the first half is done before the second one."""
    places = FakePlaces(most_lines=8, lost=lambda lines: len(lines) > 4, most=3)
    rows = OrderedRows(places, FakeBlocks(numbers(1, 32)).end(), retries=1, tasks=8)
    assert await rows_of(rows) == data(1, 32)


async def test_when_no_place_is_left_the_rows_before_are_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Then comes the reason."""
    blocks = FakeBlocks(numbers(1, 100)).end()
    rows = OrderedRows(FakePlaces(1, fails_after=2), blocks, tasks=4)
    found: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rows.work)
        with pytest.raises(PlacesFailed, match="no place is left"):
            await take_all(rows, found)
        nursery.cancel_scope.cancel()
    assert found == data(1, 8)


async def test_an_input_that_fails_is_raised_after_its_lines() -> None:
    """Half a line is none; the input is closed by the task that read it."""
    blocks = FakeBlocks(b"1\n2\nhal", error=OSError(5, "Input/output error")).end()
    rows = OrderedRows(FakePlaces(), blocks)
    found: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rows.work)
        with pytest.raises(OSError, match="Input/output error"):
            await take_all(rows, found)
    assert found == data(1, 2)
    assert blocks.closed


async def test_a_slow_chunk_holds_the_reader_back() -> None:
    """The window bounds what is read and done ahead."""
    blocks = FakeBlocks(*[numbers(1, 10)] * 500)
    places = FakePlaces(seconds=lambda: 1e9)
    places.seconds = iter([1e9] + [0.0] * 10_000).__next__
    async with trio.open_nursery() as nursery:
        nursery.start_soon(OrderedRows(places, blocks).work)
        await trio.testing.wait_all_tasks_blocked()
        assert len(places.done) == places.size * CHUNKS_AHEAD
        assert blocks.reads < 10
        nursery.cancel_scope.cancel()


async def test_so_many_lines_are_ahead_of_the_rows_that_were_taken() -> None:
    """Where the places have such a limit; and takes of few rows make no tiny chunks."""
    places = FakePlaces(4, most_lines=10)
    places.most_ahead = 20
    blocks = FakeBlocks(*[numbers(1, 10)] * 50).end()
    rows = OrderedRows(places, blocks, tasks=10)
    taken = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rows.work)
        while taken < 500:
            await trio.testing.wait_all_tasks_blocked()
            assert sum(map(len, places.done)) <= taken + 20
            taken += sum(done.rows.count for done in await rows.take())
        assert await rows.take() == []
    assert min(map(len, places.done)) >= 5


async def test_large_rows_hold_chunks_back(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """While those that wait for a slow chunk are above the limit, no other one is begun."""
    monkeypatch.setattr(module, "_WINDOW_SIZE", 250)
    places = FakePlaces(2, most_lines=1, padding=100)
    places.seconds = iter([10.0] + [0.0] * 100).__next__
    rows, found = OrderedRows(places, FakeBlocks(numbers(1, 9)).end()), list[dict[str, Any]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rows.work)
        nursery.start_soon(take_all, rows, found)
        await trio.sleep(9)
        assert len(places.done) == 4
    assert found == data(1, 9)


async def test_lines_that_have_come_do_not_wait_for_others() -> None:
    """While a place has nothing to do, whatever there is becomes a chunk."""
    blocks, places = FakeBlocks(), FakePlaces(2, most_lines=1000)
    rows = OrderedRows(places, blocks)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rows.work)
        for number in range(1, 4):
            blocks.send.send_nowait(b"%d\n" % number)
            (done,) = await rows.take()
            assert json.loads(done.rows.content) == {"data": str(number)}
        blocks.end()
        assert await rows.take() == []


async def test_a_cancelled_take_loses_no_rows(
    cancelled_at: Callable[[int], AbstractContextManager[trio.CancelScope]],
) -> None:
    """Wherever it is cancelled, what was not returned comes next."""
    for step in range(1, 40):
        chance = random.Random(step)
        rows = OrderedRows(FakePlaces(most=2, seconds=lambda: 0), FakeBlocks(numbers(1, 30)).end())
        found: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rows.work)
            at_end = False
            while not at_end:
                with cancelled_at(chance.randrange(1, 9)):
                    done = await rows.take()
                    at_end = not done
                    found += (row.decode() for each in done for row in each.rows.content.split())
        assert [row for row in found if row != '{"data":'] == [f'"{n}"}}' for n in range(1, 31)]


@final
class FakeGuest:
    """Answers a line with itself, after some checkpoints."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    async def answer(self, line: Line, /) -> Reply:
        for _ in range(int(self.chance.random() ** 4 * 30)):
            await trio.lowlevel.checkpoint()
        return Reply(line.content.decode())


@pytest.mark.parametrize("pause", [-math.inf, 0.0, 1e-4])
async def test_first_rows_of_a_chunk_are_neither_lost_nor_repeated(
    pause: float,
    cancelled_at: Callable[[int], AbstractContextManager[trio.CancelScope]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many leave before their chunk is done, and wherever a take is cancelled."""
    monkeypatch.setattr(module, "PAUSE", pause)
    for step in range(1, 30):
        chance = random.Random(step)
        work = Work(FakeGuest(chance), Job(file="fake.wasm", size=1, tasks=3))
        rows = OrderedRows(Here(work, 3), FakeBlocks(numbers(1, 60)).end(), tasks=3)
        lines, found = b"", b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rows.work)
            at_end = False
            while not at_end:
                with cancelled_at(chance.randrange(1, 9)):
                    done = await rows.take()
                    at_end = not done
                    for each in done:
                        assert each.data.count(b"\n") == each.rows.count
                        lines, found = lines + each.data, found + each.rows.content
        assert lines == numbers(1, 60)
        assert [json.loads(row) for row in found.splitlines()] == data(1, 60)


async def test_after_a_stop_only_what_is_in_order_is_taken() -> None:
    """The rest of a chunk is not done any more, and nothing behind it is given out."""
    places = FakePlaces(1, most_lines=4, most=3)
    rows = OrderedRows(places, FakeBlocks(numbers(1, 40)), tasks=4)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rows.work)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    (done,) = await rows.take()
    assert (done.chunk.first_line, done.rows.count) == (1, 3)
    assert done.data == b"1\n2\n3\n"
    begun = len(places.done)
    assert await rows.take() == []
    assert len(places.done) == begun
