"""Bytes in, lines out: in chunks as they come, and no line held beyond a limit."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Line", "LineSplitter"]


@attrs.frozen
class Line:
    """One line of the input, without its ending, LF or CR LF."""

    content: bytes
    """Empty if the line is too long."""
    size: int
    """How many bytes of the input it took, its ending included."""
    too_long: bool = False


class LineSplitter:
    """Splits a stream of chunks into lines; holds at most one unfinished line of `limit` bytes.

    Only LF and CR LF end a line: what else Unicode calls a line break belongs to the text. A last
    line without an ending counts, an empty rest does not. The byte order mark that some editors
    begin a file with is no part of its first line.
    """

    __slots__ = ("_limit", "_mark", "_rest", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._mark = BOM_UTF8  # what the line under way may begin with and does not have
        self._rest = bytearray()
        self._size = 0  # of the unfinished line; more than len(_rest) once that is too long

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that `chunk` completes."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._keep(chunk[start : end + 1])
            yield self._take()
            start = end + 1
        self._keep(chunk[start:])

    def end(self) -> Iterator[Line]:
        """The last line, if the input does not end with a line's ending."""
        if self._size and self._rest != self._mark:
            yield self._take()

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._limit + 2:  # 2: the ending does not count
            self._rest += piece
        else:
            self._rest.clear()

    def _take(self) -> Line:
        content, size = bytes(self._rest).removeprefix(self._mark), self._size
        self._rest.clear()
        self._size = 0
        self._mark = b""
        if content.endswith(b"\n"):
            content = content[:-1].removesuffix(b"\r")
        if len(content) > self._limit or size > self._limit + 2:
            return Line(b"", size, too_long=True)
        return Line(content, size)
