"""A chunk of lines, and its rows: what goes to a place that does chunks, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from wasmpool._lines import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Chunk", "ChunkRows"]


@final
@attrs.define(eq=False, kw_only=True)
class Chunk:
    """Some lines of the input, one after the other. Nobody changes it."""

    number: int
    """Of chunks of the input, from 0; the rest of a chunk has the number of the whole."""
    first_line: int
    """The number of its first line, from 1."""
    count: int
    """Lines, at least one."""
    data: bytes
    """The lines with their endings, of which the last may have none; empty for `too_long`."""
    too_long: int = 0
    """The bytes of a line that is too long to be kept, which is alone in its chunk; else 0."""

    @property
    def size(self) -> int:
        """Its bytes in the input."""
        return self.too_long or len(self.data)

    def lines(self) -> Iterator[Line]:
        """Return its lines."""
        if self.too_long:
            yield Line(b"", self.too_long, too_long=True)
            return
        *ended, rest = self.data.split(b"\n")
        for content in ended:
            yield _line(content, b"\n")
        if rest:
            yield _line(rest, b"")

    def parts(self, lines: int) -> tuple[Chunk, Chunk]:
        """Divide it behind so many lines; there must be some on both sides."""
        assert 0 < lines < self.count
        end = 0
        for _ in range(lines):
            end = self.data.index(b"\n", end) + 1
        first = attrs.evolve(self, count=lines, data=self.data[:end])
        rest = attrs.evolve(
            self,
            first_line=self.first_line + lines,
            count=self.count - lines,
            data=self.data[end:],
        )
        return first, rest


def _line(content: bytes, ending: bytes) -> Line:
    size = len(content) + len(ending)
    if ending and content.endswith(b"\r"):
        content, ending = content[:-1], b"\r\n"
    return Line(content, size, ending=ending)


@final
@attrs.frozen(eq=False, kw_only=True)
class ChunkRows:
    """The rows of the first lines of a chunk: of all, unless they are large."""

    count: int
    """Rows, at least one."""
    content: bytes
    """The rows, each one line of JSON with its LF."""
    failed: tuple[int, ...] = ()
    """Which of them are errors, counted from 0."""
    seconds: float = 0.0
    """What the lines took, all in all."""

    def failed_rows(self) -> Iterator[tuple[int, bytes]]:
        """Return the rows that are errors, each with its place, counted from 0."""
        if self.failed:
            rows = self.content.splitlines(keepends=True)
            for each in self.failed:
                yield each, rows[each]
