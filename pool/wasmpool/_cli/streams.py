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
import stat
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, final

import attrs
import trio

from .sample_text import sample_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["SampleSource", "Sink", "Source", "open_sink", "open_source"]

CHUNK = 64 * 1024
"""Bytes asked for at once: what a pipe holds on Linux."""

STDIN, STDOUT = 0, 1


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
    _descriptor: int

    @property
    def is_terminal(self) -> bool:
        """Whether the bar would be drawn into what is being typed."""
        return os.isatty(self._descriptor)

    async def read(self) -> bytes:
        """What there is by now, at most `CHUNK` bytes of it."""
        return await trio.to_thread.run_sync(
            os.read, self._descriptor, CHUNK, abandon_on_cancel=True
        )


@final
@attrs.define(eq=False)
class FileSink:
    """A file, a pipe or a terminal."""

    name: str
    _descriptor: int

    @property
    def is_terminal(self) -> bool:
        """Whether the bar would be in the way."""
        return os.isatty(self._descriptor)

    async def write(self, data: bytes, /) -> None:
        """Write all of `data`."""
        await trio.to_thread.run_sync(_write_all, self._descriptor, data, abandon_on_cancel=True)


@asynccontextmanager
async def open_source(path: str) -> AsyncGenerator[FileSource]:
    """The file at `path`, or standard input for ``-``.

    Raises:
        OSError: it cannot be opened, or is a directory.
    """
    async with _descriptor(path, STDIN, os.O_RDONLY) as descriptor:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(None, "Is a directory", path)
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        yield FileSource("standard input" if path == "-" else path, size, descriptor)


@asynccontextmanager
async def open_sink(path: str) -> AsyncGenerator[FileSink]:
    """The file at `path`, made or made empty, or standard output for ``-``.

    Raises:
        OSError: it cannot be opened.
    """
    async with _descriptor(path, STDOUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
        yield FileSink("standard output" if path == "-" else path, descriptor)


@asynccontextmanager
async def _descriptor(path: str, standard: int, flags: int) -> AsyncGenerator[int]:
    if path == "-":
        if (sys.stdin, sys.stdout)[standard] is None:
            # Closed by who started us: its number may stand for something else by now.
            raise OSError(errno.EBADF, "it is closed", path)
        yield standard
        return
    # In a thread, since a named pipe waits here for its other end.
    descriptor = await trio.to_thread.run_sync(os.open, path, flags, 0o666, abandon_on_cancel=True)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
