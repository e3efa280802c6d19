"""How large the next chunk is.

A chunk costs its place some tenths of a millisecond, so it should have many lines; but one that
takes long keeps its rows back, and is lost as a whole if its place is. The first chunks are small:
they have as many lines as a place can answer at once. Each that was done fast lets later ones be up
to twice as large. Near the end of an input whose size is known, each place gets a share of what is
left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from .chunk import ChunkRows

__all__ = ["MOST_LINES", "MOST_SIZE", "Pace"]

MOST_LINES: Final = 1000
MOST_SIZE: Final = 1 << 20
"""Bytes of lines in a chunk, and about as many of rows."""

_SECONDS: Final = 0.25
"""That a chunk should take at most: Ctrl-C and a lost place cost so much work, and no more."""
_LEAST_SIZE: Final = 4096
"""Bytes of a chunk near the end: smaller ones cost more than they share out better."""


@final
class Pace:
    """The size of chunks, by what those before have taken.

    Args:
        most_lines: that the places want in a chunk.
        least_lines: that keep a place busy, however long they take.
        places: how many chunks may be under way at once.
        input_size: in bytes; None if it is not known.
    """

    def __init__(
        self, most_lines: int, places: int, input_size: int | None, least_lines: int = 1
    ) -> None:
        self._most_lines = min(most_lines, MOST_LINES)
        self._least_lines = min(least_lines, self._most_lines)
        self._places = places
        self._left = input_size
        self.lines = self._least_lines

    @property
    def size(self) -> int:
        """The bytes of lines of the next chunk."""
        if self._left is None:
            return MOST_SIZE
        return min(MOST_SIZE, max(_LEAST_SIZE, self._left // (2 * self._places)))

    def cut(self, size: int) -> None:
        """Note that a chunk of so many bytes was cut."""
        if self._left is not None:
            self._left = max(0, self._left - size)

    def done(self, rows: ChunkRows, before: int = 0) -> None:
        """Note what a chunk took, with so many rows before these."""
        in_time = self._most_lines
        if rows.seconds > 0:
            in_time = int((before + rows.count) * _SECONDS / rows.seconds)
        in_size = rows.count * MOST_SIZE // max(1, len(rows.content))
        wanted = max(in_time, self._least_lines)  # those of a place that waits are at once
        self.lines = max(1, min(wanted, in_size, 2 * self.lines, self._most_lines))
