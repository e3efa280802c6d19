"""The command in the process of the tests, with standard streams of its own.

It is `run_process` with the descriptors 0, 1 and 2 exchanged for the time of the run, as a shell
would have set them. It takes a tenth of the time of a process that has to import everything. What
depends on a process stays a process in the tests: signals, the end of the interpreter, encodings,
other descriptors, and what is or is not imported.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pty
import re
import shlex
import sys
import threading
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, TextIO
from unittest import mock

from tests.compiled_once import each_module_compiled_once

from wasmpool._cli.process import run_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["run_here", "run_line", "run_on_terminal"]

REDIRECTION = re.compile(r"([012]?)(<>|>>|>|<)(&?)(\S+)")
SHOWN = ("wasmpool", "wasmpool.mcp")
"""The loggers whose levels ``wasmpool serve`` sets."""
FLAGS = {
    "<": os.O_RDONLY,
    "<>": os.O_RDWR | os.O_CREAT,
    ">": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    ">>": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


def run_here(
    *args: str | Path, text: str | None = None, redirections: Sequence[str] = ()
) -> CompletedProcess[str]:
    """Run the command as a child with piped streams would; without `text`, the input is empty.

    The redirections are those of a shell, in its order, such as ``2>>file``, ``>&-`` and ``2>&1``.
    """
    arguments = [str(arg) for arg in args]
    with _collected() as (output, out), _collected() as (errors, err), _input(text) as source:
        with _standard_descriptors(source, output, errors):
            os.close(output)  # 1 and 2 are the only ones now
            os.close(errors)
            for redirection in redirections:
                _redirect(redirection)
            status = _run(arguments)
        return CompletedProcess(arguments, status, out(), err())


def run_line(line: str) -> CompletedProcess[str]:
    """Run the command with the arguments and redirections of a shell's line."""
    words = shlex.split(line)
    redirections = [word for word in words if REDIRECTION.fullmatch(word)]
    return run_here(
        *(word for word in words if word not in redirections), redirections=redirections
    )


def run_on_terminal(*args: str | Path, **env: str) -> tuple[int, str]:
    """Run with all three streams on one terminal; the status, and what is shown."""
    with (
        _collected(pty.openpty) as (terminal, shown),
        _standard_descriptors(terminal, terminal, terminal),
        mock.patch.dict(os.environ, {"TERM": "xterm", "COLUMNS": "100", "LINES": "30", **env}),
    ):
        os.close(terminal)
        status = _run([str(arg) for arg in args])
    return status, shown().replace("\r\n", "\n")


def _run(arguments: list[str]) -> int:
    with _standard_streams(), _log_kept(), each_module_compiled_once():
        return run_process(arguments)


def _redirect(redirection: str) -> None:
    match = REDIRECTION.fullmatch(redirection)
    assert match, redirection
    number, kind, descriptor, target = match.groups()
    to = int(number or kind[0] == ">")
    if descriptor and target == "-":
        os.close(to)
    elif descriptor:
        os.dup2(int(target), to)
    else:
        opened = os.open(target, FLAGS[kind], 0o666)
        os.dup2(opened, to)
        os.close(opened)


@contextlib.contextmanager
def _collected(
    ends: Callable[[], tuple[int, int]] = os.pipe,
) -> Iterator[tuple[int, Callable[[], str]]]:
    """An end to write to, and what came out of the other once all copies are closed."""
    reading, writing = ends()
    parts: list[bytes] = []

    def collect() -> None:
        with contextlib.suppress(OSError):  # EIO is how a terminal ends
            while part := os.read(reading, 65536):
                parts.append(part)
        os.close(reading)

    def collected() -> str:
        thread.join()
        return b"".join(parts).decode()

    thread = threading.Thread(target=collect)
    thread.start()
    yield writing, collected


@contextlib.contextmanager
def _input(text: str | None) -> Iterator[int]:
    """A pipe with the text, or the null device."""
    if text is None:
        reading = os.open(os.devnull, os.O_RDONLY)
    else:
        reading, writing = os.pipe()
        assert os.write(writing, text.encode()) == len(text.encode()) < 65536  # what a pipe holds
        os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)


@contextlib.contextmanager
def _standard_descriptors(*descriptors: int) -> Iterator[None]:
    """Put them into the place of 0, 1 and 2."""
    kept = [os.dup(number) for number in range(3)]
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    try:
        yield
    finally:
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)


@contextlib.contextmanager
def _standard_streams() -> Iterator[None]:
    """Python's streams as an interpreter makes them: None where the descriptor is closed."""
    with contextlib.ExitStack() as stack:
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            stream = _stream(number)
            if stream is not None:
                stack.enter_context(stream)
            stack.enter_context(mock.patch.object(sys, name, stream))
        yield


def _stream(number: int) -> TextIO | None:
    try:
        os.fstat(number)
    except OSError:
        return None
    binary = io.FileIO(number, "wb" if number else "rb", closefd=False)
    buffered = io.BufferedWriter(binary) if number else io.BufferedReader(binary)
    return io.TextIOWrapper(buffered, encoding="utf-8")


@contextlib.contextmanager
def _log_kept() -> Iterator[None]:
    """Take back the handler and the levels that show the log until the process ends."""
    root = logging.getLogger()
    before = list(root.handlers)
    levels = [(logger, logger.level) for logger in map(logging.getLogger, SHOWN)]
    try:
        yield
    finally:
        root.handlers[:] = before
        for logger, level in levels:
            logger.setLevel(level)
