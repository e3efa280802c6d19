"""How large chunks are."""

from __future__ import annotations

import itertools

from wasmpool._batch.chunk import ChunkRows
from wasmpool._batch.pace import MOST_LINES, MOST_SIZE, Pace


def done(pace: Pace, seconds_a_line: float, bytes_a_row: int = 10) -> int:
    """Do a chunk of the present size; return the next one's."""
    count = pace.lines
    pace.done(
        ChunkRows(count=count, content=b"x" * (bytes_a_row * count), seconds=seconds_a_line * count)
    )
    return pace.lines


def test_chunks_of_short_lines_grow_to_the_most() -> None:
    """From few lines, each at most twice as large as one that was done."""
    pace = Pace(10**9, 4, None)
    sizes = [pace.lines, *(done(pace, 10e-6) for _ in range(11))]
    assert sizes[0] == 1
    assert all(after <= 2 * before for before, after in itertools.pairwise(sizes))
    assert sizes[-1] == MOST_LINES


def test_chunks_keep_a_place_busy() -> None:
    """Where lines wait, as many are at once as there may be calls."""
    pace = Pace(1000, 4, None, 64)
    assert [pace.lines, done(pace, 30), done(pace, 30)] == [64, 64, 64]
    assert Pace(1000, 4, None, 10**9).lines == 1000
    assert done(Pace(1000, 4, None, 64), 0, bytes_a_row=MOST_SIZE // 8) == 8


def test_chunks_of_long_lines_are_small() -> None:
    """So that little is lost with a place, and rows come soon."""
    pace = Pace(1000, 4, None)
    for _ in range(5):
        done(pace, 0.1)
    assert pace.lines == 2
    for _ in range(5):
        done(pace, 10)
    assert pace.lines == 1


def test_large_rows_make_small_chunks() -> None:
    """What comes back is bounded as well."""
    pace = Pace(1000, 4, None)
    for _ in range(10):
        done(pace, 10e-6, bytes_a_row=MOST_SIZE // 4)
    assert pace.lines == 4


def test_the_end_of_an_input_is_shared_out() -> None:
    """Each place gets a part of what is left; not where the size is not known."""
    pace = Pace(1000, 4, 64 << 20)
    assert pace.size == MOST_SIZE
    pace.cut(63 << 20)
    assert pace.size == (1 << 20) // 8
    pace.cut(1 << 20)
    assert 0 < pace.size < 10_000
    assert Pace(1000, 4, None).size == MOST_SIZE
