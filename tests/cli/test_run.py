from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from wasmpool._batch.here import Here
from wasmpool._batch.job import Job
from wasmpool._batch.ordered import PAUSE, OrderedRows
from wasmpool._batch.rows import arguments
from wasmpool._batch.work import Work
from wasmpool._cli.progress import Bar
from wasmpool._cli.results import Results
from wasmpool._cli.run import LAST_WRITE, Run
from wasmpool._cli.run_stop import RunStop
from wasmpool._cli.tally import Tally

if TYPE_CHECKING:
    from wasmpool._lines import Line


@attrs.frozen
class FakeResult:
    data: str
    is_error: bool = False


class FakeTools:
    """Does what the argument says: `sleep`, then `echo`, `fail` or `raise`."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0
        self.begun = 0

    async def answer(self, line: Line, /) -> FakeResult:
        args: dict[str, Any] = arguments(line)
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await trio.sleep(args.get("sleep", 0))
        finally:
            self.under_way -= 1
        if "raise" in args:
            raise RuntimeError(args["raise"])
        if "fail" in args:
            return FakeResult(args["fail"], is_error=True)
        return FakeResult(args.get("echo", args.get("text", "")))


class FakeSource:
    """Chunks from a memory channel, for as long as the test keeps it open."""

    name = "fake input"
    size = None
    is_terminal = False
    identity = None

    def __init__(self, *chunks: bytes, error: OSError | None = None) -> None:
        self.ends = trio.open_memory_channel[bytes](100)
        self.error = error
        self.reads = 0
        for chunk in chunks:
            self.ends[0].send_nowait(chunk)

    def end(self) -> FakeSource:
        self.ends[0].close()
        return self

    async def read(self) -> bytes:
        self.reads += 1
        try:
            return await self.ends[1].receive()
        except trio.EndOfChannel:
            if self.error is not None:
                raise self.error from None
            return b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class FakeSink:
    """Collects what is written; takes `seconds` for each write, or fails."""

    name = "fake output"
    is_terminal = False

    def __init__(self, seconds: float = 0, error: OSError | None = None) -> None:
        self.written = b""
        self.seconds = seconds
        self.error = error

    async def write(self, data: bytes, /) -> None:
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        self.written += data

    @property
    def rows(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.written.splitlines()]


def make_run(
    source: FakeSource,
    sink: FakeSink,
    tools: FakeTools | None = None,
    tasks: int = 4,
) -> Run:
    tally = Tally()
    here = Here(Work(tools or FakeTools(), Job(file="fake.wasm", size=1, tasks=tasks)), tasks)
    return Run(
        rows=OrderedRows(here, source, tasks=tasks),
        source=source,
        results=Results(output=sink),
        bar=Bar(tally, None),
        tally=tally,
        stop=RunStop(),
    )


async def answers(*chunks: bytes, tasks: int = 4) -> tuple[list[dict[str, str]], Run]:
    sink = FakeSink()
    run = make_run(FakeSource(*chunks).end(), sink, tasks=tasks)
    await run.work()
    return sink.rows, run


def line(**args: Any) -> bytes:
    return json.dumps(args).encode() + b"\n"


async def test_each_line_has_one_row(autojump_clock: trio.testing.MockClock) -> None:
    """Plain lines, objects and blank lines are one call each; the last needs no ending."""
    rows, run = await answers(b'one\n{"echo": "two"}\r\n\nfour')
    assert rows == [{"data": "one"}, {"data": "two"}, {"data": ""}, {"data": "four"}]
    assert (run.tally.calls, run.tally.failures, run.stop.status) == (4, 0, None)


async def test_no_lines_no_rows(autojump_clock: trio.testing.MockClock) -> None:
    """An empty input is answered by an empty output."""
    rows, run = await answers()
    assert rows == []
    assert run.tally.calls == 0


async def test_one_bad_line_fails_alone(autojump_clock: trio.testing.MockClock) -> None:
    """A broken line, a failing tool and an exception are error rows; the others are answered."""
    chunk = b"a\n{broken\nb\n\xff\n" + line(fail="refused") + line(**{"raise": "trapped"}) + b"c"
    rows, run = await answers(chunk)
    assert [next(iter(row)) for row in rows] == [
        "data",
        "error",
        "data",
        "error",
        "error",
        "error",
        "data",
    ]
    assert rows[4:6] == [{"error": "refused"}, {"error": "trapped"}]
    assert (run.tally.calls, run.tally.failures) == (7, 4)


async def test_an_exception_without_words_is_called_by_its_name(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An error row is never empty."""
    rows, _ = await answers(line(**{"raise": ""}))
    assert rows == [{"error": "RuntimeError"}]


@pytest.mark.parametrize("seed", range(5))
async def test_rows_are_in_the_order_of_the_lines(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """However long each call takes."""
    delays = random.Random(seed)
    chunk = b"".join(line(sleep=delays.random() ** 4, echo=str(n)) for n in range(300))
    rows, _ = await answers(chunk, tasks=7)
    assert rows == [{"data": str(n)} for n in range(300)]


async def test_so_many_calls_are_under_way_and_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`tasks` is how many calls run at a time, and as many do."""
    tools, began = FakeTools(), trio.current_time()
    await make_run(FakeSource(line(sleep=1) * 30).end(), FakeSink(), tools, tasks=5).work()
    assert tools.most == 5
    assert trio.current_time() - began == pytest.approx(6)


async def test_a_caller_is_started_for_a_line_that_finds_none_free() -> None:
    """However many there may be: three calls under way, then one after the other, are three."""
    source, tools = FakeSource(line(sleep=1e9) * 3), FakeTools()
    run = make_run(source, FakeSink(), tools, tasks=10**9)
    async with trio.open_nursery() as nursery:
        before = trio.lowlevel.current_statistics().tasks_living
        nursery.start_soon(run.work)
        await trio.testing.wait_all_tasks_blocked()
        assert tools.under_way == 3
        with_three = trio.lowlevel.current_statistics().tasks_living
        assert with_three < before + 10
        for _ in range(20):
            source.ends[0].send_nowait(line(sleep=0))
            await trio.testing.wait_all_tasks_blocked()
        assert tools.begun == 23
        assert trio.lowlevel.current_statistics().tasks_living == with_three + 1
        nursery.cancel_scope.cancel()


async def test_rows_come_while_the_input_is_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A row is written when its line is answered; the end of the input is not waited for."""
    source, sink = FakeSource(b"one\ntw"), FakeSink()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_run(source, sink).work)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert sink.rows == [{"data": "one"}]
        await source.ends[0].send(b"o\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert sink.rows == [{"data": "one"}, {"data": "two"}]
        source.end()


async def test_a_slow_line_holds_back_no_row_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Wherever it is among those that were read with it; those behind it come with it."""
    for place in range(12):
        lines = [line(echo=str(n), sleep=100 * (n == place)) for n in range(12)]
        source, sink = FakeSource(b"".join(lines)).end(), FakeSink()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_run(source, sink).work)
            await trio.sleep(2 * PAUSE)
            assert sink.rows == [{"data": str(n)} for n in range(place)]
            await trio.sleep(100)
            assert sink.rows == [{"data": str(n)} for n in range(12)]


async def test_rows_of_slow_lines_come_in_time(autojump_clock: trio.testing.MockClock) -> None:
    """Soon after their call; those of calls that end in quick succession come together."""
    for seconds in (PAUSE / 10, PAUSE * 3):
        source, sink = FakeSource(line(sleep=seconds) * 100).end(), FakeSink()
        run = make_run(source, sink, tasks=1)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.work)
            await trio.sleep(50.5 * seconds)
            written = len(sink.rows)
            assert written <= 50
            assert written >= 50 - PAUSE / seconds - 1
        assert trio.current_time() - began == pytest.approx(100 * seconds)


async def test_a_slow_call_holds_the_reader_back() -> None:
    """Calls behind a slow one go on for a while, then nothing more is read."""
    source, sink, tools = FakeSource(line(sleep=1e9)), FakeSink(), FakeTools()
    for _ in range(50):
        source.ends[0].send_nowait(b"x\n" * 50)
    run = make_run(source, sink, tools, tasks=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.work)
        await trio.testing.wait_all_tasks_blocked()
        assert 4 < tools.begun <= 1000
        assert source.reads < 30
        assert sink.rows == []
        nursery.cancel_scope.cancel()


async def test_a_slow_output_holds_the_reader_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What nobody takes does not pile up."""
    source, tools = FakeSource(*[b"x\n" * 50] * 50), FakeTools()
    run = make_run(source, FakeSink(seconds=1e9), tools, tasks=4)
    with trio.move_on_after(100):
        await run.work()
    assert 4 < tools.begun <= 2000  # 1,000 are being written, and as many wait


async def test_a_stop_writes_what_is_done(autojump_clock: trio.testing.MockClock) -> None:
    """After Ctrl-C the rows up to the first unanswered line are there, and no call goes on."""
    chunk = b"a\nb\n" + line(sleep=1e9) + b"c\n"
    source, sink, tools = FakeSource(chunk), FakeSink(), FakeTools()
    run = make_run(source, sink, tools)
    async with trio.open_nursery() as nursery:
        with run.stop.scope:
            nursery.start_soon(interrupt_when_blocked, run.stop)
            await run.work()
    assert run.stop.scope.cancelled_caught
    assert run.stop.status == 130
    assert sink.rows == [{"data": "a"}, {"data": "b"}]
    assert run.tally.calls == 2
    assert tools.under_way == 0


async def test_a_stop_is_noticed_once_and_before_it_cancels() -> None:
    """What is looked at then is not yet marked by calls that the stop ends."""
    stop = RunStop()
    seen: list[bool] = []
    stop.notice = lambda: seen.append(stop.scope.cancel_called)
    stop.interrupted()
    stop.output_closed()
    assert seen == [False]
    assert stop.scope.cancel_called
    assert stop.is_interrupt


async def interrupt_when_blocked(stop: RunStop) -> None:
    await trio.testing.wait_all_tasks_blocked()
    stop.interrupted()


@pytest.mark.parametrize("finished", [True, False])
async def test_a_stop_waits_for_a_slow_output_no_longer_than_its_last_words(
    finished: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A pipe that nobody empties delays Ctrl-C by a bounded time, also after the last call."""
    source, sink = FakeSource(b"a\nb\n"), FakeSink(seconds=1e9)
    if finished:
        source.end()
    run = make_run(source, sink)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        with run.stop.scope:
            nursery.start_soon(interrupt_when_blocked, run.stop)
            await run.work()
    assert trio.current_time() - began == pytest.approx(LAST_WRITE)
    assert run.tally.calls == 0


async def test_an_output_that_is_gone_stops_the_run() -> None:
    """As after `head`: nothing more is called, the status is the shell's for a closed pipe."""
    tools = FakeTools()
    run = make_run(FakeSource(b"a\n" * 1000), FakeSink(error=BrokenPipeError()), tools)
    with run.stop.scope:
        await run.work()
    assert (run.stop.status, run.stop.message) == (141, None)
    assert tools.begun < 1000


async def test_an_output_that_fails_stops_the_run_with_a_sentence() -> None:
    """A full disk is named."""
    run = make_run(FakeSource(b"a\n"), FakeSink(error=OSError(28, "No space left on device")))
    with run.stop.scope:
        await run.work()
    assert run.stop.status == 2
    assert run.stop.message == "fake output cannot be written: No space left on device"


async def test_an_input_that_fails_ends_the_lines_with_a_sentence() -> None:
    """Whole lines read before are answered, half a line is not."""
    source, sink = FakeSource(b"a\nb\nhal", error=OSError(5, "Input/output error")), FakeSink()
    run = make_run(source.end(), sink)
    await run.work()
    assert sink.rows == [{"data": "a"}, {"data": "b"}]
    assert run.stop.status == 2
    assert run.stop.message == "fake input cannot be read: Input/output error"
