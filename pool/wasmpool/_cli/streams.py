"""The source of a run's lines and the sink of its results, as file descriptors.

Descriptors are used instead of Python's buffered files: a read returns what a pipe has, without
waiting for a full buffer; a write has left the process when it returns; and a thread that is left
behind holds no lock that the end of the interpreter would wait for. Each read and write runs in a
worker thread, because a slow pipe, terminal or network disk must not delay the calls. A cancel
leaves this thread behind.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, final

import attrs
import trio

from .file_identity import identity_of
from .sample_text import sample_text
from .standard_streams import STDIN, STDOUT, OutputFailed, check_open, write_all

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .file_identity import FileIdentity

__all__ = [
    "STDIN_NAME",
    "FileSink",
    "InputSource",
    "OutputSink",
    "SampleSource",
    "open_sink",
    "open_source",
    "read_some",
]

CHUNK = 64 * 1024
"""Bytes of a read: the capacity of a pipe on Linux."""

STDIN_NAME = "standard input"


class InputSource(Protocol):
    """The input, as chunks of bytes."""

    @property
    def name(self) -> str:
        """Its name in error messages."""
        ...

    @property
    def size(self) -> int | None:
        """In bytes; None if it is not known, as for a pipe."""
        ...

    @property
    def is_terminal(self) -> bool:
        """True if it is typed on a terminal."""
        ...

    @property
    def identity(self) -> FileIdentity | None:
        """Which file it is; None for one that may also be the output."""
        ...

    async def read(self) -> bytes:
        """Return the next bytes, at least one; ``b""`` at the end."""
        ...

    async def aclose(self) -> None:
        """Read no more; who has opened it closes the file."""
        ...


class OutputSink(Protocol):
    """The output."""

    @property
    def name(self) -> str:
        """Its name in error messages."""
        ...

    @property
    def is_terminal(self) -> bool:
        """True if it is shown on a terminal."""
        ...

    async def write(self, data: bytes, /) -> None:
        """Write all of `data`; it has left the process when this returns."""
        ...


@final
@attrs.define(eq=False)
class SampleSource:
    """The generated text."""

    name: str = attrs.field(init=False, default="the generated text")
    is_terminal: bool = attrs.field(init=False, default=False)
    identity: None = attrs.field(init=False, default=None)
    _rest: bytes = attrs.field(init=False, factory=sample_text)
    size: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.size = len(self._rest)

    async def read(self) -> bytes:
        """Return the next chunk."""
        await trio.lowlevel.checkpoint()
        chunk, self._rest = self._rest[:CHUNK], self._rest[CHUNK:]
        return chunk

    async def aclose(self) -> None:
        """Do nothing."""
        await trio.lowlevel.checkpoint()


@final
@attrs.define(eq=False)
class FileSource:
    """A file, a pipe or a terminal."""

    name: str
    size: int | None
    identity: FileIdentity | None
    _descriptor: int

    @property
    def is_terminal(self) -> bool:
        """True if it is typed on a terminal."""
        return os.isatty(self._descriptor)

    async def read(self) -> bytes:
        """Return the next bytes, at most `CHUNK`."""
        return await trio.to_thread.run_sync(read_some, self._descriptor, abandon_on_cancel=True)

    async def aclose(self) -> None:
        """Do nothing: `open_source` closes it."""
        await trio.lowlevel.checkpoint()


@final
@attrs.define(eq=False)
class FileSink:
    """A file, a pipe or a terminal."""

    name: str
    identity: FileIdentity | None
    _descriptor: int

    @property
    def is_terminal(self) -> bool:
        """True if it is shown on a terminal."""
        return os.isatty(self._descriptor)

    @property
    def descriptor(self) -> int:
        """Its descriptor, open for as long as the sink is."""
        return self._descriptor

    @property
    def is_stdout(self) -> bool:
        """True if the results go to standard output, whatever its name."""
        return self._descriptor == STDOUT

    def empty(self) -> None:
        """Empty a file that was opened by its name; do nothing for other outputs."""
        if not self.is_stdout and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.ftruncate(self._descriptor, 0)

    async def write(self, data: bytes, /) -> None:
        """Write all of `data`."""
        await trio.to_thread.run_sync(write_all, self._descriptor, data, abandon_on_cancel=True)


@asynccontextmanager
async def open_source(path: str) -> AsyncGenerator[FileSource]:
    """Open the file at `path`, or standard input for ``-``.

    Raises:
        OSError: it cannot be opened, or is a directory.
    """
    if path == "-":
        check_open(STDIN)
        yield _source(STDIN_NAME, STDIN)
        return
    descriptor = await _open(path, os.O_RDONLY)
    try:
        yield _source(path, descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def open_sink(path: str, *, goes_on: bool = False) -> AsyncGenerator[FileSink]:
    """Open or create the file at `path`, or use standard output for ``-``.

    The content of the file stays until `FileSink.empty`, so that the file can be compared with the
    input first. If `path` is the file of standard output, as ``/dev/stdout`` is, standard output is
    used, at its current position. With ``goes_on``, its content can be read.

    Raises:
        OSError: it cannot be opened.
        OutputFailed: it cannot be closed; some file systems report a full disk only then.
    """
    if path == "-":
        check_open(STDOUT)
        yield FileSink("standard output", identity_of(STDOUT), STDOUT)
        return
    access = os.O_RDWR if goes_on else os.O_WRONLY
    descriptor = await _open(path, access | os.O_CREAT)
    try:
        identity = identity_of(descriptor)
        is_stdout = identity is not None and identity == identity_of(STDOUT)
        yield FileSink(path, identity, STDOUT if is_stdout else descriptor)
    finally:
        try:
            os.close(descriptor)
        except OSError as error:
            raise OutputFailed(path, error) from error


def _source(name: str, descriptor: int) -> FileSource:
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    return FileSource(name, size, identity_of(descriptor), descriptor)


async def _open(path: str, flags: int) -> int:
    # In a thread: opening a named pipe waits for its other end.
    return await trio.to_thread.run_sync(os.open, path, flags, 0o666, abandon_on_cancel=True)


def read_some(descriptor: int, most: int | None = None) -> bytes:
    """Return the next bytes, at most `most` or `CHUNK`; ``b""`` at the end. In a worker thread."""
    while True:
        try:
            return os.read(descriptor, most or CHUNK)
        except BlockingIOError:  # a pipe that another process has made non-blocking
            select.select([descriptor], [], [])
