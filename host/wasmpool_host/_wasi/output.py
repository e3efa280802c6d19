"""A guest's output as log records: line by line, and bounded whatever the guest writes.

A line whose end the guest has not written yet belongs to the caller that it was written for. It is
held back until its end comes, or until the call or lease is over (`Process.end_output`): the next
caller's output begins a line of its own. It is logged in the context in which it was written, also
where somebody else closes the instance.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, final

from wasmpool_host._escape import escaped

if TYPE_CHECKING:
    import logging
    from contextvars import Context

__all__ = ["LineLog"]

MAX_LINE = 8 * 1024
"""Bytes held back while a line has no end yet, and the most that one record shows."""

# A record costs some 10 us, more with a slow handler, and escaping 0.3 us a byte; the loop waits
# for it. So of one write no more is taken than this; the guest is told, and writes the rest next.
MAX_LINES_A_WRITE = 64
MAX_BYTES_A_WRITE = 16 * 1024

_CONTINUATION = 0x80  # the top two bits of a UTF-8 byte that does not begin a character


@final
class LineLog:
    """One output stream of one guest; each line becomes one record of `logger`."""

    __slots__ = ("_context", "_level", "_logger", "_open_lines", "_partial")

    # Invariants:
    # - len(_partial) <= MAX_LINE, and there is no newline in it
    # - while there is a `_partial`, this is in `_open_lines`, and has its `_context`

    def __init__(self, logger: logging.Logger, level: int, open_lines: list[LineLog]) -> None:
        self._logger = logger
        self._level = level
        self._open_lines = open_lines
        """Those of the guest that hold a line back, in the order of their lines' beginnings."""
        self._partial = b""
        self._context: Context | None = None

    def write(self, data: bytes) -> int:
        """Take `data`, or the first part of it, and return how many bytes were taken."""
        data = data[:MAX_BYTES_A_WRITE]
        *lines, rest = data.split(b"\n", MAX_LINES_A_WRITE)
        taken = len(data)
        if len(lines) == MAX_LINES_A_WRITE:
            taken -= len(rest)
            rest = b""
        for line in lines:
            self._emit_line(self._take() + line)
        if rest:
            self._hold(rest)
        return taken

    def close(self) -> None:
        """Show the rest of a line that has no end."""
        context, rest = self._context, self._take()
        if context is not None:
            context.run(self._emit_line, rest)

    def _hold(self, rest: bytes) -> None:
        """Keep what has no end yet until it has one, or nobody can write it any more."""
        partial = self._cut(self._partial + rest)
        if not self._partial:
            self._open_lines.append(self)
        self._partial = partial
        self._context = copy_context()

    def _take(self) -> bytes:
        """What was held back, and is no more."""
        rest = self._partial
        if rest:
            self._partial = b""
            self._context = None
            self._open_lines.remove(self)
        return rest

    def _emit_line(self, line: bytes) -> None:
        self._emit(self._cut(line.removesuffix(b"\r")))

    def _cut(self, line: bytes) -> bytes:
        """Show whole pieces of a line that is too long; return what is left of it."""
        while len(line) > MAX_LINE:
            end = MAX_LINE
            # Not within a character, if this is UTF-8: it has at most three continuation bytes.
            while end > MAX_LINE - 3 and line[end] & 0xC0 == _CONTINUATION:
                end -= 1
            self._emit(line[:end])
            line = line[end:]
        return line

    def _emit(self, piece: bytes) -> None:
        if self._logger.isEnabledFor(self._level):
            text = escaped(piece.decode("utf-8", "backslashreplace"), tabs=True)
            self._logger.log(self._level, "%s", text)
