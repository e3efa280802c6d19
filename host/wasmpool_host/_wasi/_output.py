"""A guest's output as log records: line by line, and bounded whatever the guest writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from wasmpool_host._shown import escaped

if TYPE_CHECKING:
    import logging

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

    __slots__ = ("_level", "_logger", "_partial")

    # Invariant: len(_partial) <= MAX_LINE, and there is no newline in it.

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger = logger
        self._level = level
        self._partial = b""

    def write(self, data: bytes) -> int:
        """Take `data`, or the first part of it, and return how many bytes were taken."""
        data = data[:MAX_BYTES_A_WRITE]
        *lines, rest = data.split(b"\n", MAX_LINES_A_WRITE)
        taken = len(data)
        if len(lines) == MAX_LINES_A_WRITE:
            taken -= len(rest)
            rest = b""
        for line in lines:
            self._emit_line(self._partial + line)
            self._partial = b""
        self._partial = self._cut(self._partial + rest)
        return taken

    def close(self) -> None:
        """Show the last line even if it has no end."""
        if self._partial:
            self._emit_line(self._partial)
            self._partial = b""

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
            text = escaped(piece.decode("utf-8", "backslashreplace"))
            self._logger.log(self._level, "%s", text)
