"""The work on chunks in one place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.batch.fakes import Reply

from wasmpool import CallTimeout, GuestTrap, PoolUnavailable
from wasmpool._batch import work as module
from wasmpool._batch.chunk import Chunk
from wasmpool._batch.job import Job
from wasmpool._batch.progress import Progress
from wasmpool._batch.work import Work
from wasmpool._batch.world import is_of_the_world, pause_before
from wasmpool._lines import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool._batch.chunk import ChunkRows


class FakeGuest:
    """Answers a number with itself, after as many seconds; other lines as the test says."""

    def __init__(self, other: Callable[[str], Reply] = Reply) -> None:
        self.other = other
        self.under_way = 0
        self.most = 0
        self.calls = 0

    async def answer(self, line: Line, /) -> Reply:
        self.calls += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        text = line.content.decode()
        try:
            await trio.sleep(float(text) if text.isdigit() else 0)
        finally:
            self.under_way -= 1
        return Reply(text) if text.isdigit() else self.other(text)


def chunk_of(data: bytes, first_line: int = 1) -> Chunk:
    return Chunk(number=0, first_line=first_line, count=data.count(b"\n"), data=data)


def work_of(guest: FakeGuest, tasks: int = 4, **job: Any) -> Work:
    return Work(guest, Job(file="fake.wasm", size=1, tasks=tasks, **job))


def texts(rows: ChunkRows) -> list[str]:
    return [next(iter(json.loads(row).values())) for row in rows.content.splitlines()]


async def test_a_chunk_has_a_row_for_each_line(autojump_clock: trio.testing.MockClock) -> None:
    """In their order; failed ones are counted, and say why."""

    def other(text: str) -> Reply:
        if text == "trap":
            raise GuestTrap("unreachable", "it trapped")
        return Reply(text, is_error=text == "error")

    guest = FakeGuest(other)
    rows = await work_of(guest).do(chunk_of(b"3\nerror\n2\ntrap\n1\nx\n"))
    assert texts(rows) == ["3", "error", "2", "it trapped", "1", "x"]
    assert (rows.count, rows.failed) == (6, (1, 3))
    assert [place for place, _ in rows.failed_rows()] == [1, 3]
    assert guest.most == 4
    assert rows.seconds == pytest.approx(3)


async def test_rows_have_the_numbers_of_their_lines_if_asked_for() -> None:
    """Those of the input, not of the chunk."""
    rows = await work_of(FakeGuest(), numbered=True).do(chunk_of(b"a\nb\n", first_line=41))
    assert rows.content == b'{"line": 41, "data": "a"}\n{"line": 42, "data": "b"}\n'


async def test_chunks_share_the_calls(autojump_clock: trio.testing.MockClock) -> None:
    """While one has a slow line left, the other uses all the rest, and no more."""
    guest, began = FakeGuest(), trio.current_time()
    work = work_of(guest, tasks=4)
    async with trio.open_nursery() as nursery:
        await nursery.start(work.do, chunk_of(b"10\n"))
        nursery.start_soon(work.do, chunk_of(b"1\n" * 30))
    assert guest.most == 4
    assert trio.current_time() - began == pytest.approx(10)


async def test_a_chunk_that_is_done_waits_for_no_call_of_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whatever the order in which they came."""
    work, began = work_of(FakeGuest(), tasks=1), trio.current_time()
    async with trio.open_nursery() as nursery:

        async def first() -> None:
            await work.do(chunk_of(b"1\n"))
            assert trio.current_time() - began == pytest.approx(1)
            nursery.cancel_scope.cancel()

        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(work.do, chunk_of(b"1000\n"))


async def test_chunks_that_are_started_in_order_are_begun_in_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also where there is one call for all of them."""
    work, begun = work_of(FakeGuest(), tasks=1), list[int]()

    async def do(number: int, *, task_status: trio.TaskStatus[None]) -> None:
        await work.do(chunk_of(b"1\n"), task_status=task_status)
        begun.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            await nursery.start(do, number)
    assert begun == list(range(20))


async def test_large_rows_end_a_chunk_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the first lines are returned; no more lines are begun than were under way."""
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    guest = FakeGuest(lambda text: Reply(text * 60))
    rows = await work_of(guest, tasks=2).do(chunk_of(b"a\nb\nc\nd\ne\nf\ng\nh\n"))
    assert 2 <= rows.count <= 4
    assert rows.count == guest.calls
    assert texts(rows) == [each * 60 for each in "abcdefgh"[: rows.count]]


async def test_rows_that_are_too_many_are_done_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """Those of the calls that were under way when the first ones were large; one is always kept."""
    monkeypatch.setattr(module, "MOST_ROWS", 1)
    for most, count in ((30, 2), (1, 1)):
        monkeypatch.setattr(module, "MOST_CONTENT", most)
        rows = await work_of(FakeGuest(), tasks=4).do(chunk_of(b"1\n1\n1\n1\n1\n"))
        assert rows.content == b'{"data": "1"}\n' * count
        assert rows.count == count


async def test_a_cancel_ends_the_calls_of_its_chunk_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The others go on, with all calls at their disposal."""
    guest = FakeGuest()
    work = work_of(guest, tasks=2)
    with trio.move_on_after(1):
        await work.do(chunk_of(b"100\n" * 5))
    assert guest.under_way == 0
    rows = await work.do(chunk_of(b"2\n2\n2\n2\n"))
    assert rows.seconds == pytest.approx(4)


async def test_failures_of_the_world_are_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As often as asked for, each time after a longer pause; the guest's own are not."""
    failing = iter([PoolUnavailable("none"), CallTimeout("slow"), None, *[MemoryError()] * 9])

    def other(text: str) -> Reply:
        if text == "trap":
            raise GuestTrap("unreachable", "it trapped")
        if (error := next(failing)) is not None:
            raise error
        return Reply(text)

    guest = FakeGuest(other)
    work = work_of(guest, retries=2)
    assert texts(await work.do(chunk_of(b"a\n"))) == ["a"]
    assert trio.current_time() == pytest.approx(pause_before(0) + pause_before(1))
    assert texts(await work.do(chunk_of(b"b\n"))) == ["MemoryError"]
    assert guest.calls == 6
    assert texts(await work.do(chunk_of(b"trap\n"))) == ["it trapped"]
    assert guest.calls == 7
    assert not is_of_the_world(ValueError())


async def test_a_pause_before_a_retry_can_be_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As any call."""

    def other(_: str) -> Reply:
        raise PoolUnavailable("none")

    with trio.move_on_after(pause_before(9)) as scope:
        await work_of(FakeGuest(other), retries=1000).do(chunk_of(b"a\n"))
    assert scope.cancelled_caught


async def test_the_first_rows_can_be_taken_before_the_others_are_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each once, and told of; what is returned at the end are the others, and the last at least."""
    guest = FakeGuest(lambda text: Reply(text, is_error=text == "error"))
    told: list[float] = []
    chunk = chunk_of(b"1\nerror\n5\n3\nerror\n9\n")
    progress = Progress(chunk, lambda: told.append(trio.current_time()))
    found: list[ChunkRows] = []
    async with trio.open_nursery() as nursery:

        async def do() -> None:
            found.append(await work_of(guest, tasks=6).do(chunk, progress))

        nursery.start_soon(do)
        await trio.sleep(0.5)
        assert progress.take(whole=False) is None
        assert told == []
        await trio.sleep(1)
        assert told == pytest.approx([1])
        taken, rows = progress.take(whole=False) or pytest.fail("there are two rows")
        assert (taken.first_line, taken.count, taken.data) == (1, 2, b"1\nerror\n")
        assert (texts(rows), rows.failed) == (["1", "error"], (1,))
        assert progress.take(whole=False) is None
        await trio.sleep(2)
        assert progress.take(whole=False) is None
        await trio.sleep(2)
        assert told == pytest.approx([1, 5])
        taken, rows = progress.take(whole=False) or pytest.fail("there are three rows")
        assert (taken.first_line, taken.data) == (3, b"5\n3\nerror\n")
        assert (texts(rows), rows.failed) == (["5", "3", "error"], (2,))
    assert progress.rest.first_line == 6
    assert texts(found[0]) == ["9"]
    assert found[0].seconds == pytest.approx(9)


async def test_after_a_cancel_the_rows_that_are_there_can_be_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also the last one, which else comes with the end of the chunk."""
    guest = FakeGuest()
    for data, seconds, rows in ((b"1\n2\n", 1.5, ["1"]), (b"2\n1\n", 1.5, [])):
        progress = Progress(chunk_of(data), lambda: None)
        with trio.move_on_after(seconds) as scope:
            await work_of(guest).do(progress.rest, progress)
        taken = progress.take(whole=scope.cancelled_caught)
        assert (texts(taken[1]) if taken else []) == rows
    # A cancel between the last row and the end of the chunk.
    under_way = module._UnderWay(iter([Line(b"a", 2)]), 1, 1)
    under_way.take()
    under_way.finish(0, b"row\n", failed=False)
    assert under_way.first_rows(whole=False) is None
    assert under_way.first_rows(whole=True) is not None
