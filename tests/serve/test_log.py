from __future__ import annotations

import logging
import os
import select
from typing import TYPE_CHECKING

import pytest

from wasmpool._serve import log as serve_log
from wasmpool._serve.log import StderrLines

if TYPE_CHECKING:
    from collections.abc import Generator


def record(message: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("wasmpool.x", level, "file", 1, message, args, None)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[int, int]]:
    reading, writing = os.pipe()
    monkeypatch.setattr(serve_log, "_STDERR", writing)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_a_record_is_one_line(pipe: tuple[int, int]) -> None:
    """Whatever is in it: line breaks, escape sequences, megabytes, a wrong format, a traceback."""
    lines = StderrLines("worker 1: ")
    lines.emit(record("a\nb\x1b[31m"))
    lines.emit(record("%s of %s", "one"))
    lines.emit(record("ü" * 1_000_000, level=logging.WARNING))
    cause = ExceptionGroup("group", [ExceptionGroup("inner", [ValueError("the cause")])])
    failed = record("failed", level=logging.ERROR)
    failed.exc_info = (type(cause), cause, None)
    lines.emit(failed)
    first, second, third, fourth, rest = os.read(pipe[0], 65536).decode().split("\n")
    assert first == r"worker 1: info: a\nb\x1b[31m"
    assert second.startswith("worker 1: info: '%s of %s' cannot be formatted: TypeError")
    assert third.startswith("worker 1: warning: üüü")
    assert third.endswith("...")
    assert len(third.encode()) < select.PIPE_BUF
    assert fourth == "worker 1: error: failed: ValueError: the cause"
    assert rest == ""


def test_a_reason_that_the_text_has_is_not_repeated() -> None:
    """The log of a loader says why, and has the error for those who want its traceback."""
    refused = record("not loaded: ValueError: no")
    refused.exc_info = (ValueError, ValueError("no"), None)
    assert StderrLines().format(refused) == "info: not loaded: ValueError: no"


def test_lines_that_find_no_room_are_counted(pipe: tuple[int, int]) -> None:
    """None of them is waited for, and none is torn."""
    lines = StderrLines()
    for _ in range(100):
        lines.emit(record("x" * 2000))
    written = os.read(pipe[0], 1 << 20).decode().splitlines()
    assert 0 < len(written) < 100
    assert set(written) == {f"info: {'x' * 2000}"}
    lines.emit(record("there is room again"))
    lost = 100 - len(written)
    said = f"info: there is room again ({lost} lines before this one were lost)\n"
    assert os.read(pipe[0], 65536).decode() == said


def test_a_stream_that_is_closed_ends_nothing(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one without a reader, nor a descriptor that is none."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(serve_log, "_STDERR", writing)
    StderrLines().emit(record("lost"))
    os.close(writing)
    StderrLines().emit(record("lost"))
