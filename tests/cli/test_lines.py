from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmpool._lines import Line, LineSplitter

pieces = st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\r", b"\xe2\x80\xa8", b"bcd", b""]))


def split(chunks: list[bytes], limit: int = 1000) -> list[Line]:
    splitter = LineSplitter(limit)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*lines, *splitter.end()]


@given(pieces)
def test_lines_are_the_same_however_the_input_is_cut(chunks: list[bytes]) -> None:
    """Only LF and CR LF end a line, wherever one chunk ends and the next begins."""
    expected = [line.removesuffix(b"\r") for line in b"".join(chunks).split(b"\n")[:-1]]
    last = b"".join(chunks).rpartition(b"\n")[2]
    assert [line.content for line in split(chunks)] == [*expected, *([last] if last else [])]


@given(pieces)
def test_sizes_add_up_to_the_input(chunks: list[bytes]) -> None:
    """The sizes of the lines, endings included, are what the progress bar counts on."""
    assert sum(line.size for line in split(chunks)) == len(b"".join(chunks))


@given(pieces)
def test_lines_and_their_endings_are_the_input(chunks: list[bytes]) -> None:
    """A program gets both."""
    assert b"".join(line.content + line.ending for line in split(chunks)) == b"".join(chunks)


def test_a_last_line_without_an_ending_counts_and_an_empty_rest_does_not() -> None:
    """An input may or may not end with a line's ending, with the same lines."""
    assert [line.content for line in split([b"a\nb"])] == [b"a", b"b"]
    assert [line.content for line in split([b"a\nb\n"])] == [b"a", b"b"]
    assert split([b""]) == []


def test_a_blank_line_is_a_line() -> None:
    """Blank lines are not skipped, whichever ending they have."""
    assert [line.content for line in split([b"\n\r\n\n"])] == [b"", b"", b""]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("cut", range(1, 8))
def test_the_limit_is_exact_and_the_ending_does_not_count(ending: bytes, cut: int) -> None:
    """A line of `limit` bytes passes, one byte more is too long."""
    for content, too_long in [(b"12345", False), (b"123456", True)]:
        whole = content + ending
        (line,) = split([whole[:cut], whole[cut:]], limit=5)
        assert line.too_long is too_long
        assert line.content == (b"" if too_long else content)
        assert line.size == len(whole)


def test_a_line_without_end_takes_no_memory() -> None:
    """A line far beyond the limit is counted, not kept, and the next one is whole again."""
    splitter = LineSplitter(1000)
    chunk = b"x" * 64 * 1024
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert not list(splitter.feed(chunk))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024
    assert list(splitter.feed(b"\nnext\n")) == [
        Line(b"", 1000 * len(chunk) + 1, too_long=True),
        Line(b"next", 5, ending=b"\n"),
    ]


@pytest.mark.parametrize("chunks", [[b"\xef\xbb\xbfa\nb"], [b"\xef", b"\xbb", b"\xbfa\nb"]])
def test_a_byte_order_mark_is_no_part_of_the_first_line(chunks: list[bytes]) -> None:
    """However the input is cut; only at its start, and its bytes still count as read."""
    assert split(chunks) == [Line(b"a", 5, ending=b"\n"), Line(b"b", 1)]
    assert split([b"a\n\xef\xbb\xbfb"])[1].content == b"\xef\xbb\xbfb"
    assert split([b"\xef\xbb\xbf"]) == []
    assert split([b"\xef\xbb\xbf\n"]) == [Line(b"", 4, ending=b"\n")]
