"""`wasmpool.batch.map_lines`, as a program uses it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.batch.children import batch_processes

from wasmpool import CompileError, Limits, Module
from wasmpool._batch import mapping
from wasmpool._batch import processes as processes_module
from wasmpool._batch.choice import NoSuchTool
from wasmpool._batch.chunk import Chunk, ChunkRows
from wasmpool._batch.ordered import Done
from wasmpool.batch import Row, Rows, map_lines
from wasmpool.example import PATH as EXAMPLE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PROGRAM = Path(__file__).parents[1] / "guests" / "c_program.wasm"


async def rows_of(*args: Any, **options: Any) -> list[Row]:
    async with map_lines(*args, **options) as rows:
        return [row async for row in rows]


def words(rows: list[Row]) -> list[int]:
    return [json.loads(row.data)["words"] for row in rows]


@pytest.mark.parametrize("processes", [None, 2])
async def test_each_line_has_a_row(processes: int | None, cache: Path) -> None:
    """In order, numbered, wherever they are done; bad ones are errors."""
    lines = ["to be\n", b"or not", "", "{broken", "that is the question"]
    rows = await rows_of(EXAMPLE, lines, tool="word_count", processes=processes, cache=cache)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert [row.is_error for row in rows] == [False, False, False, True, False]
    assert "is not a JSON object" in rows[3].data
    assert words([row for row in rows if not row.is_error]) == [2, 2, 0, 4]
    assert batch_processes() == []


async def test_threads_do_the_same(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no GIL; and where there is one, the error says what to use instead."""
    monkeypatch.setattr(mapping, "has_gil", lambda: False)
    lines = [f"{'word ' * (number % 5)}" for number in range(500)]
    rows = await rows_of(EXAMPLE, lines, tool="word_count", threads=2, cache=cache)
    assert words(rows) == [number % 5 for number in range(500)]
    monkeypatch.setattr(mapping, "has_gil", lambda: True)
    with pytest.raises(RuntimeError, match="threads=2 needs a free-threaded .*: use processes=2"):
        map_lines(EXAMPLE, lines, threads=2)


async def test_what_a_program_prints_on_standard_error_cannot_forge_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each line is a record, escaped; and however much there is, the records have an end."""
    text = "a\x1b[31m\nb\n" + "x\n" * 5_000
    await rows_of(PROGRAM, [""], args=["say", "out", text])
    logged = [each.getMessage() for each in caplog.records if each.name == "wasmpool.guest.stderr"]
    assert logged[:3] == ["a\\x1b[31m", "b", "x"]
    assert logged[3:-1] == ["x"] * 61
    assert logged[-1] == "... (9,876 more bytes)"


async def test_a_row_is_read_when_it_is_asked_for() -> None:
    """Not all of a chunk at once: it may have hundreds of megabytes."""

    class Ordered:
        async def take(self) -> list[Done]:
            await trio.lowlevel.checkpoint()
            content = b'{"data": "a"}\n{"error": "b"}\nno row\n'
            chunk = Chunk(number=0, first_line=7, count=3, data=b"\n\n\n", too_long=0)
            return [Done(chunk, ChunkRows(count=3, content=content, failed=(1,)))]

    rows = Rows(Ordered())  # type: ignore[arg-type]  # a fake
    assert await anext(rows) == Row(7, "a")
    assert await anext(rows) == Row(8, "b", is_error=True)
    with pytest.raises(ValueError, match="Expecting value"):
        await anext(rows)


async def test_each_call_may_have_an_instance_of_its_own(cache: Path) -> None:
    """By ``pristine``, which a program has no use for: it has one anyway."""
    rows = await rows_of(EXAMPLE, ["a b", "c"], tool="word_count", pristine=True, cache=cache)
    assert words(rows) == [2, 1]
    with pytest.raises(ValueError, match="pristine: c_program.wasm is a program"):
        await rows_of(PROGRAM, ["a"], pristine=True)
    with pytest.raises(TypeError, match="pristine must be True or False, not 1"):
        await rows_of(EXAMPLE, ["a"], tool="word_count", pristine=1)


async def test_a_file_is_read_line_by_line(tmp_path: Path, cache: Path) -> None:
    """A path is a file, for a program as well; its name and arguments are the program's."""
    path = tmp_path / "lines"
    path.write_bytes(b"one\r\ntwo")
    rows = await rows_of(PROGRAM, path, args=["cat"], cache=cache)
    assert rows == [Row(1, "one\r\n"), Row(2, "two")]
    (row,) = await rows_of(str(PROGRAM), ["x"], args=["args", "y"], cache=cache)
    assert row.data == "c_program.wasm\nargs\ny\n"
    with pytest.raises(OSError, match="no regular file"):
        await rows_of(PROGRAM, Path(os.devnull), args=["cat"], cache=cache)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        await rows_of(PROGRAM, tmp_path / "pipe", args=["cat"], cache=cache)


async def test_an_async_input_may_never_end(cache: Path) -> None:
    """A line is answered when it is there, and the task that reads the input closes it."""
    tasks: list[trio.lowlevel.Task] = []
    sent = 0

    async def lines() -> AsyncGenerator[str]:
        nonlocal sent
        try:
            while True:
                tasks.append(trio.lowlevel.current_task())
                sent += 1
                yield f"line {sent}"
                await trio.lowlevel.checkpoint()
        finally:
            tasks.append(trio.lowlevel.current_task())

    async with map_lines(EXAMPLE, lines(), tool="word_count", size=1, cache=cache) as rows:
        first = await anext(rows)
        await trio.testing.wait_all_tasks_blocked()
        assert sent < 1010  # 1,000 have rows that nobody takes
        assert (first.number, words([first])) == (1, [2])
    assert len(set(tasks)) == 1
    with pytest.raises(RuntimeError, match="the block of map_lines has ended"):
        await anext(rows)


async def test_what_the_input_raises_comes_after_the_rows_before(cache: Path) -> None:
    """As itself, also for what is no line."""
    for wrong, error in ((3, TypeError), ("a\nb", ValueError), ("\ud800", UnicodeEncodeError)):
        found: list[Row] = []
        with pytest.raises(error):
            async with map_lines(EXAMPLE, _and_then(wrong), tool="echo", cache=cache) as rows:
                found.extend([row async for row in rows])
    assert await _take_until_error(cache) == [1, 2]


async def _and_then(wrong: Any) -> AsyncGenerator[Any]:
    await trio.lowlevel.checkpoint()
    yield "good"
    yield "good"
    yield wrong


async def _take_until_error(cache: Path) -> list[int]:
    numbers: list[int] = []
    async with map_lines(EXAMPLE, _and_then(3), tool="echo", cache=cache) as rows:
        try:
            async for row in rows:
                numbers.append(row.number)  # noqa: PERF401 - those before the error
        except TypeError:
            return numbers
    raise AssertionError


async def test_a_limit_ends_one_line(cache: Path) -> None:
    """The others are answered."""
    limits = Limits(call_seconds=0.05)
    lines = ['{"ms": 1}', '{"ms": 60000}', '{"ms": 1}']
    rows = await rows_of(EXAMPLE, lines, tool="nap", limits=limits, retries=1, cache=cache)
    assert [row.is_error for row in rows] == [False, True, False]
    assert "took longer than limits.call_seconds" in rows[1].data


async def test_a_cancel_ends_the_block_and_its_calls(cache: Path) -> None:
    """Wherever it waits."""
    with trio.move_on_after(0.2) as scope:
        await rows_of(EXAMPLE, ['{"ms": 60000}'], tool="nap", cache=cache)
    assert scope.cancelled_caught


async def test_an_early_end_of_the_block_waits_for_no_call(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes stop what they do, and end in order."""
    monkeypatch.setattr(processes_module, "_LAST_SECONDS", 1e9)
    lines = ['{"ms": 1}', *['{"ms": 600000}'] * 20]
    with trio.fail_after(60):
        async with map_lines(EXAMPLE, lines, tool="nap", processes=1, tasks=1, cache=cache) as rows:
            assert not (await anext(rows)).is_error
    assert batch_processes() == []


async def test_rows_can_be_shared_by_tasks(cache: Path) -> None:
    """Each is given to one of them."""
    seen: list[int] = []

    async def take(rows: Any) -> None:
        async for row in rows:
            seen.append(row.number)
            await trio.lowlevel.checkpoint()

    async with (
        map_lines(EXAMPLE, ["x"] * 50, tool="word_count", cache=cache) as rows,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(take, rows)
    assert sorted(seen) == list(range(1, 51))


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"lines": "lines.txt"}, TypeError, "not a str: give pathlib.Path"),
        ({"lines": 3}, TypeError, "not 3"),
        ({"processes": -1}, ValueError, "processes must be at least 0"),
        ({"processes": True}, TypeError, "processes must be a whole number"),
        ({"threads": -1}, ValueError, "threads must be at least 0"),
        (
            {"threads": 2, "processes": 2},
            ValueError,
            "processes=2 and threads=2 exclude each other",
        ),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"retries": 1.5}, TypeError, "retries must be a whole number"),
        ({"limits": 3}, TypeError, "limits must be Limits or None"),
        ({"http": True}, TypeError, "http must be HttpPolicy or None"),
        ({"args": "ab"}, TypeError, "args must be strings"),
        ({"credentials": [1]}, TypeError, "credentials must be a mapping"),
    ],
)
def test_wrong_use_is_told_at_once(
    wrong: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Before anything is opened."""
    given: dict[str, Any] = {"lines": [], **wrong}
    with pytest.raises(error, match=says):
        map_lines(EXAMPLE, given.pop("lines"), **given)


async def test_what_does_not_fit_the_guest_is_told_on_entering(cache: Path) -> None:
    """In words of the arguments."""
    with pytest.raises(NoSuchTool, match="has 10 tools, choose one with tool="):
        await rows_of(EXAMPLE, [], cache=cache)
    with pytest.raises(ValueError, match="is a plugin, which takes no arguments"):
        await rows_of(EXAMPLE, [], tool="echo", args=["x"], cache=cache)
    with pytest.raises(ValueError, match=r"tool: c_program.wasm is a program"):
        await rows_of(PROGRAM, [], tool="echo", cache=cache)
    with pytest.raises(CompileError):
        await rows_of(b"\0asm", [], tool="echo")
    with pytest.raises(TypeError, match="a Module cannot go to another process"):
        map_lines(await Module.compile("(module)"), [])  # type: ignore[arg-type]
