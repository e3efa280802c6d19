"""The command as a process: from its arguments to a reliable exit status."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .commands import cli
from .shown import shown_lines
from .standard_streams import (
    FAILED,
    INTERRUPTED,
    OutputFailed,
    discard_rest,
    reserve_closed,
    write_error,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run_process"]

NAME = "wasmpool"
COMPLETION = "_WASMPOOL_COMPLETE"
"""Set by a shell that asks for completions, which click handles."""


def run_process(arguments: Sequence[str]) -> int:
    """Run the command line, and return its exit status when all output is written."""
    reserve_closed()
    if COMPLETION in os.environ:
        cli.main(prog_name=NAME)
    status, message = _outcome(arguments)
    if message:
        with contextlib.suppress(OutputFailed):  # the exit status is all that is left
            write_error(message)
    discard_rest()
    return status


def _outcome(arguments: Sequence[str]) -> tuple[int, str]:
    try:
        return _invoke(arguments), ""
    except BaseException as error:  # noqa: BLE001 - a traceback would end with status 1
        return _ending(_alone(error))


def _ending(error: BaseException) -> tuple[int, str]:
    """Return the exit status and the message for an exception."""
    match error:
        case OutputFailed(status=status, message=message):
            return status, _error(message) if message else ""
        case click.ClickException():
            return FAILED, _usage(error) + _error(error.format_message())
        case KeyboardInterrupt():
            return INTERRUPTED, ""
        case _:
            return FAILED, _error(_unexpected(error))


def _invoke(arguments: Sequence[str]) -> int:
    try:
        # Not `cli.main`, which ends with status 1 if a pipe is closed.
        with cli.make_context(NAME, list(arguments)) as context:
            status: int = cli.invoke(context)
            return status
    except click.exceptions.Exit as done:  # after --help and --version
        return done.exit_code


def _alone(error: BaseException) -> BaseException:
    """Return an exception without the groups around it; of several, Ctrl-C comes first."""
    while isinstance(error, BaseExceptionGroup):
        interrupts = error.subgroup(KeyboardInterrupt)
        error = (error if interrupts is None else interrupts).exceptions[0]
    return error


def _usage(wrong: click.ClickException) -> str:
    if not isinstance(wrong, click.UsageError) or wrong.ctx is None:
        return ""
    path = wrong.ctx.command_path
    return f"{wrong.ctx.get_usage()}\nTry '{path} --help' for help.\n\n"


def _unexpected(error: BaseException) -> str:
    """Return the message for an unexpected error, with its place instead of a traceback."""
    place = ""
    if frames := traceback.extract_tb(error.__traceback__):
        place = f" (at line {frames[-1].lineno} of {Path(frames[-1].filename).name})"
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"unexpected {what}{place}"


def _error(sentence: str) -> str:
    return f"Error: {shown_lines(sentence)}\n"
