"""A run's standard streams, where the caller gives streams of its own.

The guest waits in the calling task: for input that has not arrived, and for a reader that is slow.
One chunk is held at a time, in either direction.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio

from wasmpool_host._shown import shown

from . import rights as rights_module
from .descriptor import Descriptor
from .errno import Errno, MustWait, WasiError
from .layout import FileType

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

__all__ = ["ByteSource", "IterableSource", "StreamInput", "StreamOutput", "StreamSource"]

_CHUNK: Final = 64 * 1024
"""Bytes that are received or sent at once."""


class ByteSource:
    """Where a run's input comes from."""

    needs_task = False
    """True if `next` must not be cancelled, so it runs in a task of the run."""

    @property
    def is_terminal(self) -> bool:
        """True if its bytes are typed on a terminal."""
        return False

    async def next(self, size: int) -> bytes:
        """Return the next bytes; none at the end. At most ``size``, where the source can choose."""
        raise NotImplementedError


@final
class StreamSource(ByteSource):
    """A stream of trio's. It stays open."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream

    @property
    def is_terminal(self) -> bool:
        return _is_terminal(self._stream)

    async def next(self, size: int) -> bytes:
        return bytes(await self._stream.receive_some(size))


@final
class IterableSource(ByteSource):
    """An async iterable of bytes. To cancel an async generator would end it, and lose the rest."""

    needs_task = True

    def __init__(self, iterable: AsyncIterable[bytes]) -> None:
        self._iterable = iterable
        self._iterator: AsyncIterator[bytes] | None = None

    async def next(self, size: int) -> bytes:  # noqa: ARG002 - it gives whole pieces
        if self._iterator is None:
            self._iterator = aiter(self._iterable)
        async for data in self._iterator:
            if not isinstance(data, bytes | bytearray | memoryview):
                message = f"stdin must give bytes, not {shown(data)}"
                raise TypeError(message)
            if data:
                return bytes(data)
        return b""


@final
class StreamInput(Descriptor):
    """Standard input that may have to be waited for."""

    __slots__ = (
        "_arrived",
        "_data",
        "_ended",
        "_failure",
        "_nursery",
        "_position",
        "_source",
        "filetype",
    )

    rights = rights_module.INPUT

    def __init__(self, source: ByteSource, nursery: trio.Nursery | None) -> None:
        """``nursery``: where a source that needs a task has it."""
        super().__init__()
        self.filetype = _type_of(is_terminal=source.is_terminal)
        self._source = source
        self._nursery = nursery
        self._data = b""
        self._position = 0
        self._ended = False
        self._arrived: trio.Event | None = None
        """While a task waits for the source."""
        self._failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        if size and self.wait_readable is not None:
            raise MustWait(partial(self._fill, min(size, _CHUNK)))
        data = self._data[self._position : self._position + size]
        self._position += len(data)
        return data

    def ready(self) -> int:
        return len(self._data) - self._position

    @property
    def wait_readable(self) -> Callable[[], Awaitable[None]] | None:
        return None if self.ready() or self._ended else self._fill

    async def _fill(self, size: int = _CHUNK) -> None:
        """Wait for the next bytes, or for the end.

        A read takes no more of a stream than it asks for: the rest is left to the next reader.

        Raises:
            WasiError: ``IO`` if the stream is broken.
            Exception: what an iterable raises.
        """
        if self._nursery is None:
            await self._take_next(size)
            return
        if self._arrived is None:
            self._arrived = trio.Event()
            self._nursery.start_soon(self._take_next_apart, size, self._arrived)
        await self._arrived.wait()
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # its traceback holds this frame, which must not hold it

    async def _take_next(self, size: int) -> None:
        try:
            self._data = await self._source.next(size)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WasiError(Errno.IO) from error
        self._position = 0
        self._ended = not self._data

    async def _take_next_apart(self, size: int, arrived: trio.Event) -> None:
        try:
            await self._take_next(size)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised in the guest's task
            self._failure = error
        self._arrived = None
        arrived.set()


@final
class StreamOutput(Descriptor):
    """A standard stream into a stream of trio's, whose slowness the guest feels. It stays open."""

    __slots__ = ("_sent", "_stream", "filetype")

    rights = rights_module.OUTPUT

    def __init__(self, stream: trio.abc.SendStream) -> None:
        super().__init__()
        self.filetype = _type_of(is_terminal=_is_terminal(stream))
        self._stream = stream
        self._sent = 0

    def write(self, data: bytes) -> int:
        sent, self._sent = self._sent, 0
        if sent or not data:
            return sent
        raise MustWait(partial(self._send, data[:_CHUNK]))

    async def _send(self, data: bytes) -> None:
        """Send a chunk: the write that is called again has written it.

        Raises:
            WasiError: ``PIPE`` if the reader has gone.
        """
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WasiError(Errno.PIPE) from error
        self._sent = len(data)


def _is_terminal(stream: object) -> bool:
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())


def _type_of(*, is_terminal: bool) -> FileType:
    """What the guest takes for a terminal: there C libraries write each line when it ends."""
    return FileType.CHARACTER_DEVICE if is_terminal else FileType.UNKNOWN
