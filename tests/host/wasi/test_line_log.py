from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from wasmpool_host._wasi import line_log as line_log_module
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.line_log import LineLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.wasi.conftest import FakeGuest


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> LineLog:
    caplog.set_level(logging.INFO)
    return LineLog(logging.getLogger("wasmpool.guest.test"), logging.INFO, [])


def test_each_line_is_a_record(log: LineLog, caplog: pytest.LogCaptureFixture) -> None:
    """A line is logged when it ends, however the guest splits its writes."""
    assert log.write(b"one\ntw") == 6
    assert caplog.messages == ["one"]
    log.write(b"o\r\n\nthree")
    assert caplog.messages == ["one", "two", ""]
    log.close()
    assert caplog.messages == ["one", "two", "", "three"]


def test_closing_twice_shows_the_last_line_once(
    log: LineLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing is idempotent, and without an incomplete line it logs nothing."""
    log.write(b"last")
    log.close()
    log.close()
    assert caplog.messages == ["last"]


def test_a_percent_sign_is_text(log: LineLog, caplog: pytest.LogCaptureFixture) -> None:
    """The output is never used as a format string."""
    log.write(b"%s %d %(name)s\n")
    assert caplog.messages == ["%s %d %(name)s"]


def test_control_characters_and_broken_text_are_escaped(
    log: LineLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a guest writes reaches a terminal only as text."""
    log.write(b"\x1b[2Jgone\rback\tand\xff\x00\x7f" + "ü\x9b".encode() + b"\n")
    assert caplog.messages == ["\\x1b[2Jgone\\rback\tand\\xff\\x00\\x7fü\\x9b"]


def test_what_reorders_or_breaks_a_line_is_escaped(
    log: LineLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Direction marks and separators cannot change how a record reads; letters stay."""
    log.write("\u202egpj.exe\u2066\u2028x\u200f \u0627\u05d0 né\u00a0\u200d\n".encode())
    assert caplog.messages == ["\\u202egpj.exe\\u2066\\u2028x\\u200f \u0627\u05d0 né\u00a0\\u200d"]


def test_an_endless_line_is_cut_and_never_kept_whole(
    log: LineLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A guest that never ends its line creates records, and does not fill memory."""
    sent = 0
    for _ in range(100):
        sent += log.write(b"x" * 10_000)
        assert len(log._partial) <= line_log_module.MAX_LINE
    log.close()
    assert sent == 1_000_000
    assert max(map(len, caplog.messages)) == line_log_module.MAX_LINE
    assert sum(map(len, caplog.messages)) == sent


def test_a_line_of_exactly_the_limit_is_one_record(
    log: LineLog, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit itself is not too long."""
    log.write(b"x" * line_log_module.MAX_LINE + b"\n")
    log.write(b"x" * (line_log_module.MAX_LINE + 1) + b"\n")
    assert [len(message) for message in caplog.messages] == [
        line_log_module.MAX_LINE,
        line_log_module.MAX_LINE,
        1,
    ]


def test_a_long_line_is_not_cut_within_a_character(
    log: LineLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Pieces of a line in UTF-8 are UTF-8."""
    text = "a" + "\N{PILE OF POO}" * 5_000
    data = text.encode()
    while data:
        data = data[log.write(data) :]
    log.close()
    assert "".join(caplog.messages) == text


def test_one_write_makes_a_bounded_number_of_records(
    log: LineLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A megabyte of newlines takes many writes: the loop runs in between, and nothing is lost."""
    data = b"\n" * 1000
    writes = 0
    while data:
        seen = len(caplog.messages)
        data = data[log.write(data) :]
        assert len(caplog.messages) - seen <= line_log_module.MAX_LINES_A_WRITE
        writes += 1
    assert len(caplog.messages) == 1000
    assert writes == 16
    assert log.write(b"x" * 2**20) == line_log_module.MAX_BYTES_A_WRITE


def test_a_logger_that_is_off_gets_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The output is accepted anyway."""
    caplog.set_level(logging.WARNING)
    log = LineLog(logging.getLogger("wasmpool.guest.test"), logging.INFO, [])
    assert log.write(b"line\n") == 5
    assert not caplog.records


def test_streams_go_to_their_loggers(
    open_guest: Callable[..., FakeGuest], caplog: pytest.LogCaptureFixture
) -> None:
    """Stdout is info, stderr a warning, and the last line comes when the instance closes."""
    caplog.set_level(logging.INFO)
    guest = open_guest()
    assert guest.write(1, b"out\n") == (Errno.SUCCESS, 4)
    assert guest.write(2, b"err\npanic") == (Errno.SUCCESS, 9)
    guest.close()
    assert caplog.record_tuples == [
        ("wasmpool.guest.stdout", logging.INFO, "out"),
        ("wasmpool.guest.stderr", logging.WARNING, "err"),
        ("wasmpool.guest.stderr", logging.WARNING, "panic"),
    ]


def test_a_function_gets_the_bytes_as_written(open_guest: Callable[..., FakeGuest]) -> None:
    """Gathered from all buffers, nothing added, nothing held back."""
    out = bytearray()
    guest = open_guest(stdout=out.extend)
    a, b = guest.put(b"par"), guest.put(b"tial\xff")
    assert guest.call("fd_write", 1, *guest.vectors((a, 3), (b, 0), (b, 5)), 0x100) == 0
    assert guest.u32() == 8
    assert out == b"partial\xff"


def test_none_takes_all_and_shows_nothing(
    open_guest: Callable[..., FakeGuest], caplog: pytest.LogCaptureFixture
) -> None:
    """To the guest, discarded output looks written."""
    caplog.set_level(logging.DEBUG)
    guest = open_guest(stdout=None, stderr=None)
    assert guest.write(1, b"x" * 100_000) == (Errno.SUCCESS, 100_000)
    assert guest.write(2, b"x\n") == (Errno.SUCCESS, 2)
    guest.close()
    assert not caplog.records


def test_an_os_error_of_a_function_is_the_guests_errno(
    open_guest: Callable[..., FakeGuest],
) -> None:
    """A pipe without a reader is a broken pipe for the guest, too."""

    def sink(data: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    assert open_guest(stdout=sink).write(1, b"x")[0] == Errno.PIPE


def test_any_other_error_of_a_function_ends_the_call(open_guest: Callable[..., FakeGuest]) -> None:
    """A bug in the application's function is raised to the application."""

    def sink(data: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_guest(stdout=sink).write(1, b"x")
