"""The standard streams of the process, whatever state it was started with.

Each may be closed, full, a pipe that nobody reads, or of an encoding that lacks a character. What
is written here is out of the process when the call returns: nothing waits in a buffer for the end
of the interpreter, which could not report a failure any more.
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
    "OutputFailed",
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
"""The exit status for wrong use, and for an input or output that fails."""
INTERRUPTED: Final = 128 + signal.SIGINT
OUTPUT_CLOSED: Final = 128 + signal.SIGPIPE
"""As if the signal had ended the process, which shells know."""


class OutputFailed(Exception):
    """Standard output or standard error did not take a text.

    Attributes:
        status: the exit status that this asks for.
        message: a sentence for the user; empty for a pipe that nobody reads, which is no error.
    """

    def __init__(self, name: str, error: OSError) -> None:
        is_pipe = isinstance(error, BrokenPipeError)
        self.status: int = OUTPUT_CLOSED if is_pipe else FAILED
        self.message: str = "" if is_pipe else f"{name} cannot be written: {reason_of(error)}"
        super().__init__(self.message or f"nobody reads {name}")


def reason_of(error: OSError) -> str:
    """What went wrong, without number and file name."""
    return error.strerror or str(error) or type(error).__name__


def is_closed(descriptor: int) -> bool:
    """Return True if the process was started without this standard stream."""
    return (sys.stdin, sys.stdout, sys.stderr)[descriptor] is None


def reserve_closed() -> None:
    """Take the numbers of closed standard streams, or the next file opened would get one.

    By a directory, which can neither be read nor written, under names such as ``/dev/stdout`` too.
    """
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open("/", os.O_RDONLY)  # gets the lowest free number, which is this one


def write_out(text: str) -> None:
    """Write to standard output.

    Raises:
        OutputFailed: it is closed, or does not take all of the text.
    """
    if sys.stdout is None:
        raise OutputFailed("standard output", OSError(errno.EBADF, "it is closed"))
    _write(sys.stdout, STDOUT, "standard output", text)


def write_error(text: str) -> None:
    """Write to standard error; nothing where that is closed, since nobody asked for messages.

    Raises:
        OutputFailed: it does not take all of the text.
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
    """Write all of `data`, also to a pipe that another process has made non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def discard_rest() -> None:
    """Leave nothing in Python's own buffers that the end of the interpreter would fail to write."""
    for stream, descriptor in ((sys.stdout, STDOUT), (sys.stderr, STDERR)):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, descriptor)
