"""Log records on standard error: each is one escaped line, and the progress bar is hidden."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, final

from .shown import shown_lines
from .standard_streams import OutputFailed, write_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LogLines", "show_log"]


def _nothing() -> None:
    pass


@final
class LogLines(logging.Handler):
    """Shows warnings and errors.

    Attributes:
        make_room: called before a line is written, to hide the progress bar.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.make_room: Callable[[], None] = _nothing

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or drop it if standard error fails: then the table fails as well."""
        self.make_room()
        with contextlib.suppress(OutputFailed):
            write_error(f"{self.format(record)}\n")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, without a traceback."""
        level = record.levelname.lower()
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - an error of another library
            text = f"{record.msg!r} cannot be formatted: {_in_words(error)}"
        if record.exc_info and record.exc_info[1]:
            text = f"{text}: {_in_words(record.exc_info[1])}"
        return f"{level}: {record.name}: {shown_lines(text)}"


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def show_log() -> LogLines:
    """Show the warnings of all loggers in this way, until the process ends."""
    lines = LogLines()
    logging.getLogger().addHandler(lines)
    return lines
