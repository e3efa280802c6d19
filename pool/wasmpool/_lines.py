"""Splitting the input into lines, chunk by chunk, with a limit on the length of a line."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Line", "LineSplitter"]


@attrs.frozen
class Line:
    """One line of the input, without its line ending (LF or CR LF)."""

    content: bytes
    """Empty if the line is too long."""
    size: int
    """Its bytes in the input, including the line ending."""
    too_long: bool = False
    ending: bytes = b""
    """LF or CR LF; nothing if the input ends with this line, or if it is too long."""


class LineSplitter:
    """Splits chunks into lines; keeps at most one unfinished line of `limit` bytes.

    Only LF and CR LF end a line; other line breaks of Unicode are part of the text. The last line
    needs no line ending, unless it is empty. A byte order mark at the start is dropped.
    """

    __slots__ = ("_limit", "_mark", "_rest", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._mark = BOM_UTF8  # dropped from the first line
        self._rest = bytearray()
        self._size = 0  # of the unfinished line, even if it is too long to be kept

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Return the lines that `chunk` completes."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._keep(chunk[start : end + 1])
            yield self._take()
            start = end + 1
        self._keep(chunk[start:])

    def end(self) -> Iterator[Line]:
        """Return the last line, if the input does not end with a line ending."""
        if self._size and self._rest != self._mark:
            yield self._take()

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._limit + 2:  # 2: a line ending, which does not count
            self._rest += piece
        else:
            self._rest.clear()

    def _take(self) -> Line:
        content, size = bytes(self._rest).removeprefix(self._mark), self._size
        self._rest.clear()
        self._size = 0
        self._mark = b""
        ending = b""
        if content.endswith(b"\n"):
            ending = b"\r\n" if content.endswith(b"\r\n") else b"\n"
            content = content[: -len(ending)]
        if len(content) > self._limit or size > self._limit + 2:
            return Line(b"", size, too_long=True)
        return Line(content, size, ending=ending)
