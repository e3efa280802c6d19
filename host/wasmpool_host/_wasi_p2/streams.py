"""``wasi:io/streams``: streams of bytes, over files and over the standard streams.

A function that has to wait raises `MustWait`, and is called again; one that has done a part of its
work returns a coroutine for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from wasmpool_host._wasi.errno import MustWait, WasiError

from .failure import StreamClosed, Unsuccessful, broken_contract, check_class
from .pollable import ALWAYS, Pollable
from .resource import Resource

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from wasmpool_host._wasi.descriptor import Descriptor
    from wasmpool_host._wasi.process import Process

    from .open_file import OpenFile
    from .pollable import Event

__all__ = [
    "PERMIT",
    "STDERR",
    "STDIN",
    "STDOUT",
    "AppendOutput",
    "FileInput",
    "FileOutput",
    "InputStream",
    "OutputStream",
    "StandardInput",
    "StandardOutput",
]

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
"""The numbers of the standard streams among a process's descriptors."""

PERMIT: Final = 64 * 1024
"""Bytes of one read or write: as many as are sent at once. Each takes up to 40 bytes on its way
between the component and Wasmtime's C API."""

_MOST_BLOCKING: Final = 4096
"""Bytes that one blocking write may have, by the contract."""


class InputStream(Resource):
    """The base class of ``input-stream``."""

    __slots__ = ("_failed",)

    def __init__(self) -> None:
        self._failed = False

    def read(self, size: int) -> bytes:
        """Read what is there, up to 64 KiB; nothing if it has to be waited for."""
        try:
            return self.blocking_read(size)
        except MustWait:
            return b""

    def blocking_read(self, size: int) -> bytes:
        """Read a byte at least, up to 64 KiB."""
        if self._failed:
            raise StreamClosed
        if not size:
            return b""
        try:
            data = self._take(min(size, PERMIT))
        except (WasiError, OSError, Unsuccessful):
            self._failed = True
            raise
        if not data:
            raise StreamClosed
        return data

    def skip(self, size: int) -> int:
        """Read without a result."""
        return len(self.read(size))

    def blocking_skip(self, size: int) -> int:
        """Read a byte at least, without a result."""
        return len(self.blocking_read(size))

    def subscribe(self) -> Pollable:
        """What is ready if there is something to read, or the end, or an error."""
        return Pollable(self._event)

    def check_ready(self) -> None:
        """Raise `MustWait` where a read would."""
        if not self._failed and not self._event.is_ready():
            raise MustWait(self._event.wait)

    @property
    def _event(self) -> Event:
        return ALWAYS

    def _take(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        raise NotImplementedError


class _OfFile(Resource):
    """What the streams of files have in common."""

    __slots__ = ()

    _file: OpenFile

    @property
    def waits_on(self) -> int | None:
        return self._file.waits_on

    def close(self) -> None:
        self._file.release()


@final
class FileInput(_OfFile, InputStream):
    """A file from an offset on."""

    __slots__ = ("_file", "_offset")

    def __init__(self, file: OpenFile, offset: int) -> None:
        super().__init__()
        file.hold()
        self._file = file
        self._offset = offset

    def _take(self, size: int) -> bytes:
        data = self._file.descriptor.pread(size, self._offset)
        self._offset += len(data)
        return data


@final
class _InputReady:
    """There is something to read from a standard input, or its end, or an error."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor: Descriptor = descriptor
        self._failure: WasiError | None = None

    def is_ready(self) -> bool:
        return self._failure is not None or self.descriptor.wait_readable is None

    async def wait(self) -> None:
        wait = self.descriptor.wait_readable
        if wait is None:
            await trio.lowlevel.checkpoint()
            return
        try:
            await wait()
        except WasiError as error:  # to wait cannot fail: the next read does
            self._failure = error

    def raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


@final
class StandardInput(InputStream):
    """The standard input of the process. All handles are of one stream."""

    __slots__ = ("_ready",)

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._ready = _InputReady(process.descriptors.get(STDIN))

    def enter(self, process: Process) -> None:
        found = process.descriptors.get(STDIN)
        if found is not self._ready.descriptor:
            self._ready.descriptor = found
            self._failed = False

    @property
    def _event(self) -> Event:
        return self._ready

    def _take(self, size: int) -> bytes:
        self._ready.raise_failure()
        return self._ready.descriptor.read(size)


class OutputStream(Resource):
    """The base class of ``output-stream``. Nothing is kept back: what is written is out."""

    __slots__ = ("_failed",)

    def __init__(self) -> None:
        self._failed = False

    def check_write(self) -> int:
        """How many bytes the next write may have."""
        self.flush()
        return PERMIT

    def write(self, contents: bytes) -> Awaitable[None] | None:
        """Write all of the contents."""
        return self._write(contents, PERMIT)

    def blocking_write_and_flush(self, contents: bytes) -> Awaitable[None] | None:
        """Write all of the contents."""
        return self._write(contents, _MOST_BLOCKING)

    def write_zeroes(self, size: int) -> Awaitable[None] | None:
        """Write as many zeros."""
        return self._write(bytes(_within(size, PERMIT)), PERMIT)

    def blocking_write_zeroes_and_flush(self, size: int) -> Awaitable[None] | None:
        """Write as many zeros."""
        return self._write(bytes(_within(size, _MOST_BLOCKING)), _MOST_BLOCKING)

    def flush(self) -> None:
        """Raise if the stream has failed before."""
        if self._failed:
            raise StreamClosed

    blocking_flush = flush

    def subscribe(self) -> Pollable:
        """What is always ready: a write waits itself."""
        return Pollable(ALWAYS)

    def splice(self, source: InputStream, size: int) -> int | Awaitable[int]:
        """Read, and write what was read."""
        check_class(source, InputStream)
        self.flush()
        data = source.read(min(size, PERMIT))
        rest = self._write(data, PERMIT)
        return len(data) if rest is None else _after(rest, len(data))

    def blocking_splice(self, source: InputStream, size: int) -> int | Awaitable[int]:
        """Read a byte at least, and write what was read."""
        check_class(source, InputStream)
        source.check_ready()
        return self.splice(source, size)

    def _write(self, contents: bytes, most: int) -> Awaitable[None] | None:
        _within(len(contents), most)
        self.flush()
        try:
            rest = self._put(contents)
        except (WasiError, OSError, Unsuccessful):
            self._failed = True
            raise
        return None if rest is None else self._finish(rest)

    async def _finish(self, rest: Awaitable[None]) -> None:
        try:
            await rest
        except (WasiError, OSError, Unsuccessful):
            self._failed = True
            raise

    def _put(self, contents: bytes) -> Awaitable[None] | None:
        """Write, and return a coroutine for what is left, if anything is."""
        raise NotImplementedError


def _within(size: int, most: int) -> int:
    if size > most:
        message = f"wasi:io/streams: a write of {size:,} bytes, where {most:,} are permitted"
        raise broken_contract(message)
    return size


async def _after(rest: Awaitable[None], size: int) -> int:
    await rest
    return size


@final
class FileOutput(_OfFile, OutputStream):
    """A file from an offset on."""

    __slots__ = ("_file", "_offset")

    def __init__(self, file: OpenFile, offset: int) -> None:
        super().__init__()
        file.hold()
        self._file = file
        self._offset = offset

    def _put(self, contents: bytes) -> None:
        done = 0
        while done < len(contents):  # less is written at a time where there is little room left
            written = self._file.descriptor.pwrite(contents[done:], self._offset)
            done += written
            self._offset += written


@final
class AppendOutput(_OfFile, OutputStream):
    """The end of a file, wherever it is at each write."""

    __slots__ = ("_file",)

    def __init__(self, file: OpenFile) -> None:
        super().__init__()
        file.hold()
        self._file = file

    def _put(self, contents: bytes) -> None:
        done = 0
        while done < len(contents):
            done += self._file.descriptor.append(contents[done:])


@final
class StandardOutput(OutputStream):
    """Standard output or error of the process."""

    __slots__ = ("_descriptor", "_number")

    def __init__(self, process: Process, number: int) -> None:
        """``number``: `STDOUT` or `STDERR`."""
        super().__init__()
        self._number = number
        self._descriptor = process.descriptors.get(number)

    def enter(self, process: Process) -> None:
        found = process.descriptors.get(self._number)
        if found is not self._descriptor:
            self._descriptor = found
            self._failed = False

    def _put(self, contents: bytes) -> Awaitable[None] | None:
        try:
            done = self._descriptor.write(contents)
        except MustWait as needed:
            return self._put_later(contents, needed)
        return None if done == len(contents) else self._put_rest(contents[done:])

    async def _put_later(self, contents: bytes, needed: MustWait) -> None:
        """Write to a stream of trio's: the slowness of its reader is the guest's."""
        await needed.wait()
        await self._put_rest(contents)

    async def _put_rest(self, contents: bytes) -> None:
        """Write what is left, in pieces: the loop waits for the lines of one piece only."""
        while contents:
            try:
                contents = contents[self._descriptor.write(contents) :]
            except MustWait as needed:
                await needed.wait()
            else:
                await trio.lowlevel.checkpoint()
