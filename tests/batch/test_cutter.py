from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmpool._batch.cutter import Cutter

if TYPE_CHECKING:
    from wasmpool._batch.chunk import Chunk
    from wasmpool._lines import Line

PIECES = st.lists(
    st.sampled_from([b"a", b"\n", b"\r\n", b"\r", b"\xe2\x80\xa8", b"bcdefg", b"\xef\xbb\xbf"])
)


def chunks_of(
    blocks: list[bytes], longest: int = 1000, lines: int = 3, size: int = 20
) -> list[Chunk]:
    """Cut while the input comes, as soon as there is a line, and the rest at the end."""
    cutter, chunks = Cutter(longest), []
    for place, block in enumerate(blocks):
        cutter.feed(block)
        if place % 2 and (chunk := cutter.cut(lines, size)):
            chunks.append(chunk)
    cutter.end()
    while chunk := cutter.cut(lines, size):
        chunks.append(chunk)
    assert (cutter.lines, cutter.size) == (0, 0)
    return chunks


def lines_of(chunks: list[Chunk]) -> list[Line]:
    return [line for chunk in chunks for line in chunk.lines()]


def without_mark(text: bytes) -> bytes:
    return text.removeprefix(b"\xef\xbb\xbf")


def expected(text: bytes) -> list[bytes]:
    *ended, rest = text.split(b"\n")
    return [line.removesuffix(b"\r") for line in ended] + ([rest] if rest else [])


@given(PIECES)
def test_lines_are_the_same_however_the_input_comes(blocks: list[bytes]) -> None:
    """Only LF and CR LF end a line, and only a mark at the start is dropped."""
    assert [each.content for each in lines_of(chunks_of(blocks))] == expected(
        without_mark(b"".join(blocks))
    )


@given(PIECES)
def test_chunks_are_the_input(blocks: list[bytes]) -> None:
    """Nothing is lost or changed, and each line knows its ending and its size."""
    chunks, whole = chunks_of(blocks), without_mark(b"".join(blocks))
    assert b"".join(chunk.data for chunk in chunks) == whole
    lines = lines_of(chunks)
    assert b"".join(line.content + line.ending for line in lines) == whole
    assert sum(line.size for line in lines) == len(whole) == sum(each.size for each in chunks)


@given(PIECES, st.integers(0, 8))
def test_a_line_that_is_too_long_is_alone_and_keeps_its_size(
    blocks: list[bytes], longest: int
) -> None:
    """The others stay, in their order, and all are numbered."""
    chunks, whole = chunks_of(blocks, longest), without_mark(b"".join(blocks))
    contents = [each if len(each) <= longest else b"" for each in expected(whole)]
    lines = lines_of(chunks)
    assert [line.content for line in lines] == contents
    assert [line.too_long for line in lines] == [len(each) > longest for each in expected(whole)]
    assert sum(line.size for line in lines) == len(whole)
    first = 1
    for number, chunk in enumerate(chunks):
        assert (chunk.number, chunk.first_line) == (number, first)
        assert chunk.count == len(list(chunk.lines()))
        first += chunk.count


@given(PIECES)
def test_a_chunk_has_so_many_lines_or_bytes(blocks: list[bytes]) -> None:
    """The line that reaches the size is the last one."""
    for chunk in chunks_of(blocks, lines=3, size=10):
        assert chunk.count <= 3
        assert len(chunk.data) - list(chunk.lines())[-1].size < 10


@given(PIECES, st.data())
def test_a_chunk_can_be_divided_between_any_lines(blocks: list[bytes], data: st.DataObject) -> None:
    """Both parts have the lines that the whole had, with their numbers."""
    for chunk in chunks_of(blocks):
        if chunk.count > 1:
            first, rest = chunk.parts(data.draw(st.integers(1, chunk.count - 1)))
            assert [*first.lines(), *rest.lines()] == list(chunk.lines())
            assert rest.first_line == first.first_line + first.count
            assert first.count + rest.count == chunk.count


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("cut", range(1, 8))
def test_the_limit_is_exact_and_the_ending_does_not_count(ending: bytes, cut: int) -> None:
    """A line of the limit passes, one byte more is too long."""
    for content, too_long in [(b"12345", False), (b"123456", True)]:
        whole = content + ending
        (chunk,) = chunks_of([whole[:cut], whole[cut:]], longest=5)
        assert bool(chunk.too_long) is too_long
        (line,) = chunk.lines()
        assert line.content == (b"" if too_long else content)


def test_an_endless_line_takes_no_memory() -> None:
    """Its bytes are dropped as they come, and what follows is kept."""
    cutter = Cutter(1000)
    block = b"x" * 65536
    tracemalloc.start()
    try:
        for _ in range(200):
            cutter.feed(block)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    cutter.feed(b"\nafter\n")
    long, after = cutter.cut(10, 1000), cutter.cut(10, 1000)
    assert long is not None
    assert after is not None
    assert (long.count, long.too_long) == (1, 200 * 65536 + 1)
    assert (after.first_line, after.data) == (2, b"after\n")


def test_an_input_without_lines_has_no_chunks() -> None:
    """Nothing, and a byte order mark alone."""
    assert chunks_of([]) == []
    assert chunks_of([b"\xef\xbb", b"\xbf"]) == []
    assert chunks_of([b"\xef\xbb"])[0].data == b"\xef\xbb"
