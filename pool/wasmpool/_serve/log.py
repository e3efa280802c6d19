"""The log on standard error: a line for each record, and no waiting for a reader.

Those who start a server over the standard streams often do not read its standard error. A write to
a full pipe would hold up all calls. So a line is written only where there is room for it at once;
otherwise it is lost, and the next line that is written says how many were.
"""

from __future__ import annotations

import logging
import os
import select
from contextvars import ContextVar
from typing import Final, final

from wasmpool_host.lowlevel import escaped

__all__ = ["WORKER", "StderrLines", "show_log"]

WORKER: Final[ContextVar[str]] = ContextVar("wasmpool_worker", default="")
"""What the lines of a worker begin with that is a thread; "" elsewhere."""

_STDERR: Final = 2
_LONGEST: Final = select.PIPE_BUF
"""Bytes of a line: a pipe that is ready has room for so many, and takes them as a whole."""


@final
class StderrLines(logging.Handler):
    """Writes each record as one line.

    Args:
        prefix: what each line begins with.
    """

    def __init__(self, prefix: str = "") -> None:
        super().__init__()
        self._prefix = prefix
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it as lost."""
        text = self.format(record)
        if self._lost:
            text = f"{text} ({self._lost:,} lines before this one were lost)"
        if self._write(_cut(f"{self._prefix}{WORKER.get()}{text}".encode())):
            self._lost = 0
        else:
            self._lost += 1

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, without a traceback."""
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - of a wrong use by another library
            text = f"{record.msg!r} cannot be formatted: {_in_words(error)}"
        text = escaped(text[:_LONGEST])
        if record.exc_info and record.exc_info[1]:
            cause = escaped(_in_words(record.exc_info[1])[:_LONGEST])
            if cause not in text:  # many messages say it themselves
                text = f"{text}: {cause}"
        return f"{record.levelname.lower()}: {text}"

    def _write(self, line: bytes) -> bool:
        try:
            ready = select.poll()
            ready.register(_STDERR, select.POLLOUT)
            return bool(ready.poll(0)) and os.write(_STDERR, line) > 0
        except OSError:  # closed, full, or without a reader
            return False


def _cut(line: bytes) -> bytes:
    if len(line) < _LONGEST:
        return line + b"\n"
    return line[: _LONGEST - 4].decode(errors="ignore").encode() + b"...\n"


def _in_words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):  # the first says most
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def show_log(prefix: str = "") -> None:
    """Show what the server does, and the warnings of all others, until the process ends."""
    root = logging.getLogger()
    root.addHandler(StderrLines(prefix))
    logging.getLogger("wasmpool").setLevel(logging.INFO)
    logging.getLogger("wasmpool.mcp").setLevel(logging.WARNING)  # also the HTTP server's own log
