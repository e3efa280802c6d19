"""Log records on standard error: one escaped line each, clear of the progress bar."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, final

from .shown import shown_lines
from .standard import OutputFailed, write_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LogLines", "show_log"]


def _nothing() -> None:
    pass


@final
class LogLines(logging.Handler):
    """Shows records from warnings upwards.

    Attributes:
        make_room: called before a line is written; hides the progress bar.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.make_room: Callable[[], None] = _nothing

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; one that cannot be written is dropped, as the table says then."""
        self.make_room()
        with contextlib.suppress(OutputFailed):
            write_error(f"{self.format(record)}\n")

    def format(self, record: logging.LogRecord) -> str:
        """The record in a line, without traceback."""
        level = record.levelname.lower()
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a record of another library is not our failure
            text = f"{record.msg!r} cannot be formatted: {_in_words(error)}"
        if record.exc_info and record.exc_info[1]:
            text = f"{text}: {_in_words(record.exc_info[1])}"
        return f"{level}: {record.name}: {shown_lines(text)}"


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def show_log() -> LogLines:
    """Have all loggers show their warnings this way, until the process ends."""
    lines = LogLines()
    logging.getLogger().addHandler(lines)
    return lines
