"""A guest's output as log records: line by line, and bounded whatever the guest writes.

An incomplete line belongs to the caller for which it was written. It is held back until the guest
ends it, or until the call or lease ends (`Process.end_output`), so that the next caller's output
starts a line of its own. It is logged in the context in which it was written, also when another
task closes the instance.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, final

from wasmpool_host._escape import escaped
from wasmpool_host._log_extra import NOBODY

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping
    from contextvars import Context

__all__ = ["LineLog"]

MAX_LINE = 8 * 1024
"""Maximum bytes of an incomplete line that is held back, and of one record."""

# A record costs about 10 us, more with a slow handler, and escaping 0.3 us per byte; the loop waits
# for it. So one write accepts no more than this; the guest gets the number, and writes the rest.
MAX_LINES_A_WRITE = 64
MAX_BYTES_A_WRITE = 16 * 1024

_CONTINUATION = 0x80  # the top two bits of a UTF-8 byte that does not start a character


@final
class LineLog:
    """One output stream of one guest; each line becomes one record of `logger`."""

    __slots__ = ("_context", "_extra", "_level", "_logger", "_open_lines", "_partial")

    # Invariants:
    # - len(_partial) <= MAX_LINE, and it contains no newline
    # - while `_partial` is not empty, this is in `_open_lines`, and `_context` is set

    def __init__(
        self,
        logger: logging.Logger,
        level: int,
        open_lines: list[LineLog],
        extra: Mapping[str, object] = NOBODY,
    ) -> None:
        self._logger = logger
        self._level = level
        self._extra = extra
        self._open_lines = open_lines
        """The guest's streams that hold a line back, in the order in which these lines started."""
        self._partial = b""
        self._context: Context | None = None

    def write(self, data: bytes) -> int:
        """Accept `data`, or its first part, and return the number of bytes accepted."""
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
        """Log an incomplete line."""
        context, rest = self._context, self._take()
        if context is not None:
            context.run(self._emit_line, rest)

    def _hold(self, rest: bytes) -> None:
        """Hold an incomplete line back."""
        partial = self._cut(self._partial + rest)
        if not self._partial:
            self._open_lines.append(self)
        self._partial = partial
        self._context = copy_context()

    def _take(self) -> bytes:
        """Return what was held back, and hold nothing back any more."""
        rest = self._partial
        if rest:
            self._partial = b""
            self._context = None
            self._open_lines.remove(self)
        return rest

    def _emit_line(self, line: bytes) -> None:
        self._emit(self._cut(line.removesuffix(b"\r")))

    def _cut(self, line: bytes) -> bytes:
        """Log full pieces of a line that is too long; return the rest."""
        while len(line) > MAX_LINE:
            end = MAX_LINE
            # Do not cut a character of UTF-8, which has at most three continuation bytes.
            while end > MAX_LINE - 3 and line[end] & 0xC0 == _CONTINUATION:
                end -= 1
            self._emit(line[:end])
            line = line[end:]
        return line

    def _emit(self, piece: bytes) -> None:
        if self._logger.isEnabledFor(self._level):
            text = escaped(piece.decode("utf-8", "backslashreplace"), tabs=True)
            self._logger.log(self._level, "%s", text, extra=self._extra)
