"""The two ends of a run: where lines come from and where results go, by file descriptor.

Descriptors, not Python's buffered files: a read returns what a pipe has by now instead of waiting
for a full buffer, a write is out when it returns, and a thread that is left behind in either
holds no lock that the end of the interpreter would wait for. Each read and write runs in a worker
thread, since a slow pipe, terminal or network disk must not hold up the calls; a cancel leaves
that thread behind.
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

from .identity import identity_of
from .sample_text import sample_text
from .standard import STDIN, STDOUT, OutputFailed, is_closed, write_all

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .identity import FileIdentity

__all__ = ["STDIN_NAME", "FileSink", "SampleSource", "Sink", "Source", "open_sink", "open_source"]

CHUNK = 64 * 1024
"""Bytes asked for at once: what a pipe holds on Linux."""

STDIN_NAME = "standard input"


class Source(Protocol):
    """The input: chunks of bytes until an empty one."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def size(self) -> int | None:
        """In bytes; None where that is not known beforehand, as with a pipe."""
        ...

    @property
    def is_terminal(self) -> bool:
        """Whether somebody types it."""
        ...

    @property
    def identity(self) -> FileIdentity | None:
        """Which file it is; None for what may be the output, too."""
        ...

    async def read(self) -> bytes:
        """What there is by now, at least one byte; empty at the end."""
        ...


class Sink(Protocol):
    """The output."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches it."""
        ...

    async def write(self, data: bytes, /) -> None:
        """Write all of `data`; it is out of the process when this returns."""
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
        """The next chunk."""
        await trio.lowlevel.checkpoint()
        chunk, self._rest = self._rest[:CHUNK], self._rest[CHUNK:]
        return chunk


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
        """Whether the bar would be drawn into what is being typed."""
        return os.isatty(self._descriptor)

    async def read(self) -> bytes:
        """What there is by now, at most `CHUNK` bytes of it."""
        return await trio.to_thread.run_sync(_read, self._descriptor, abandon_on_cancel=True)


@final
@attrs.define(eq=False)
class FileSink:
    """A file, a pipe or a terminal."""

    name: str
    identity: FileIdentity | None
    _descriptor: int

    @property
    def is_terminal(self) -> bool:
        """Whether the bar would be in the way."""
        return os.isatty(self._descriptor)

    @property
    def is_stdout(self) -> bool:
        """Whether results go to standard output, by whatever name."""
        return self._descriptor == STDOUT

    def empty(self) -> None:
        """Cut a file that was opened by its name to nothing; all else stays as it is."""
        if not self.is_stdout and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.ftruncate(self._descriptor, 0)

    async def write(self, data: bytes, /) -> None:
        """Write all of `data`."""
        await trio.to_thread.run_sync(write_all, self._descriptor, data, abandon_on_cancel=True)


@asynccontextmanager
async def open_source(path: str) -> AsyncGenerator[FileSource]:
    """The file at `path`, or standard input for ``-``.

    Raises:
        OSError: it cannot be opened, or is a directory.
    """
    if path == "-":
        _check_open(STDIN)
        yield _source(STDIN_NAME, STDIN)
        return
    descriptor = await _open(path, os.O_RDONLY)
    try:
        yield _source(path, descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def open_sink(path: str) -> AsyncGenerator[FileSink]:
    """The file at `path`, made if there is none, or standard output for ``-``.

    What is in the file stays there until `FileSink.empty`, so that it can be held against the
    input first. A name for the file that standard output goes to, such as ``/dev/stdout``, is
    standard output: it goes on where that is, behind what was appended to, for instance.

    Raises:
        OSError: it cannot be opened.
        OutputFailed: it cannot be closed, which is when some file systems report a full disk.
    """
    if path == "-":
        _check_open(STDOUT)
        yield FileSink("standard output", identity_of(STDOUT), STDOUT)
        return
    descriptor = await _open(path, os.O_WRONLY | os.O_CREAT)
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


def _check_open(descriptor: int) -> None:
    if is_closed(descriptor):
        raise OSError(errno.EBADF, "it is closed")


async def _open(path: str, flags: int) -> int:
    # In a thread, since a named pipe waits here for its other end.
    return await trio.to_thread.run_sync(os.open, path, flags, 0o666, abandon_on_cancel=True)


def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, CHUNK)
        except BlockingIOError:  # a pipe that another process has made non-blocking
            select.select([descriptor], [], [])
