"""The standard streams of the process, in whatever state it was started.

A stream may be closed, full, a pipe without a reader, or of an encoding that lacks a character. The
functions here write without a buffer: a buffer would be flushed at the end of the interpreter, when
a failure can no longer be reported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
from typing import Final, TextIO

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "OUTPUT_CLOSED",
    "STDERR",
    "STDIN",
    "STDOUT",
    "TRAPPED",
    "OutputFailed",
    "check_open",
    "discard_rest",
    "is_closed",
    "reason_of",
    "reserve_closed",
    "write_all",
    "write_error",
    "write_out",
]

STDIN, STDOUT, STDERR = 0, 1, 2

FAILED: Final = 2
"""The exit status for wrong use, and for a failed input or output."""
INTERRUPTED: Final = 128 + signal.SIGINT
TRAPPED: Final = 128 + signal.SIGABRT
"""As if the program had aborted."""
OUTPUT_CLOSED: Final = 128 + signal.SIGPIPE
"""As if the signal had ended the process; shells know this status."""


class OutputFailed(Exception):
    """Standard output or standard error could not be written.

    Attributes:
        status: the exit status for this failure.
        message: for the user; empty for a pipe without a reader, which is not an error.
    """

    def __init__(self, name: str, error: OSError) -> None:
        is_pipe = isinstance(error, BrokenPipeError)
        self.status: int = OUTPUT_CLOSED if is_pipe else FAILED
        self.message: str = "" if is_pipe else f"{name} cannot be written: {reason_of(error)}"
        super().__init__(self.message or f"{name} has no reader")


def reason_of(error: OSError) -> str:
    """Return the reason of an error, without its number and file name."""
    return error.strerror or str(error) or type(error).__name__


def is_closed(descriptor: int) -> bool:
    """Return True if the process was started without this standard stream."""
    return (sys.stdin, sys.stdout, sys.stderr)[descriptor] is None


def check_open(descriptor: int) -> None:
    """Raise OSError if the process was started without this standard stream."""
    if is_closed(descriptor):
        raise OSError(errno.EBADF, "it is closed")


def reserve_closed() -> None:
    """Occupy the descriptors of closed standard streams, so that no file gets one of them.

    Each becomes a directory, which can neither be read nor written, not even as ``/dev/stdout``.
    """
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open("/", os.O_RDONLY)  # gets the lowest free descriptor, which is this one


def write_out(text: str) -> None:
    """Write to standard output.

    Raises:
        OutputFailed: it is closed, or cannot be written.
    """
    if sys.stdout is None:
        raise OutputFailed("standard output", OSError(errno.EBADF, "it is closed"))
    _write(sys.stdout, STDOUT, "standard output", text)


def write_error(text: str) -> None:
    """Write to standard error, unless it is closed.

    Raises:
        OutputFailed: it cannot be written.
    """
    if sys.stderr is not None:
        _write(sys.stderr, STDERR, "standard error", text)


def _write(stream: TextIO, descriptor: int, name: str, text: str) -> None:
    data = text.encode(stream.encoding, "backslashreplace")
    try:
        write_all(descriptor, data)
    except OSError as error:
        raise OutputFailed(name, error) from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, even to a pipe that another process has made non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def discard_rest() -> None:
    """Empty Python's buffers, so that the end of the interpreter cannot fail to write them."""
    for stream, descriptor in ((sys.stdout, STDOUT), (sys.stderr, STDERR)):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, descriptor)
