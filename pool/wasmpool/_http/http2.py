"""HTTP/2 on one connection, one request after another: h2 with limits of our own.

The stream is cut into frames here, which are passed to h2 one by one. So frames of each kind are
limited before they are parsed, other tasks run between two frames, and it is known if the last
frame was complete when the reply ended. Requests are not multiplexed: a cancelled request would
break the others on its connection.

GOAWAY is handled here and not by h2, which would refuse the rest of the reply: a server that closes
gracefully still finishes the replies that it has begun.

Rejected: parsing large header blocks in a thread. Servers refuse blocks of a quarter of `_BLOCK`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, final

import attrs
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio

from wasmpool._plain_nursery import open_plain_nursery

from .message import MAX_INFORMATIONAL, Head, HttpFailure, NotAnswered, too_many_pieces
from .stream import ConnectionBroke

if TYPE_CHECKING:
    from collections.abc import Callable

    from .message import Request
    from .reply_reader import ReplyReader
    from .stream import HttpStream

__all__ = ["Http2Connection"]

_FRAME: Final = 16_384  # bytes; the default of HTTP/2
_HEADER: Final = 9  # bytes before each frame's payload
_BLOCK: Final = 20 << 10  # bytes of compressed headers: 4 ms of Huffman decoding
_BLOCK_FRAMES: Final = 32  # the most frames of one header block
_HEADER_LIST: Final = (
    64 << 10
)  # bytes of headers as HTTP/2 counts them: 32 are added for each header
_SETTINGS_BYTES: Final = 600  # a hundred settings
_OTHER_FRAMES: Final = 10_000  # frames outside of the reply, as WINDOW_UPDATE during an upload
_WINDOW: Final = 1 << 24  # bytes that a server may send before we acknowledge them
_SEND: Final = 64 << 10  # bytes of a body that are put into frames in one step

_DATA: Final = 0
_HEADERS: Final = 1
_SETTINGS: Final = 4
_PUSH_PROMISE: Final = 5
_GOAWAY: Final = 7
_CONTINUATION: Final = 9
_KNOWN: Final = 9
_END_HEADERS: Final = 0x4  # a flag
_REPLY_FRAMES: Final = frozenset({_DATA, _HEADERS, _CONTINUATION, _PUSH_PROMISE})
# Inbound headers are not validated: they go into JSON for the guest, and servers send odd ones.
_CONFIG: Final = h2.config.H2Configuration(validate_inbound_headers=False)


@final
class Http2Connection:
    """One HTTP/2 connection."""

    def __init__(self, stream: HttpStream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._http = h2.connection.H2Connection(_CONFIG)
        self._frames = _Frames()
        self._to_send = trio.Event()
        self._is_open = False
        self._is_going_away = False
        # The fields below belong to the current exchange.
        self._id = 0
        self._unsent = memoryview(b"")
        self._is_sending = False
        self._is_over = True
        self._head: Head | None = None
        self._is_whole = False
        self._informational = 0
        self._pieces = 0
        self._size = 0

    async def exchange(
        self, request: Request, reply: ReplyReader, wants_body: Callable[[Head], bool]
    ) -> Head:
        """Send a request and read its reply, with its body only if ``wants_body`` returns True.

        A server may reply before it has the whole request. Then the rest is not sent.

        Raises:
            NotAnswered: the connection ended before a reply, or the server did not process the
                request.
            HttpFailure: the reply is incomplete, or exceeds a limit.
            h2.exceptions.H2Error: the request or the reply is not valid HTTP/2.
        """
        self._begin(request)
        async with open_plain_nursery() as nursery:
            nursery.start_soon(self._send_all)
            self._stream.share.resume()
            try:
                return await self._receive(request, reply, wants_body)
            finally:
                self._is_over = True
                nursery.cancel_scope.cancel()

    async def finish(self) -> bool:
        """End the exchange, and return True if the connection can be used for another request."""
        if not self._is_whole or self._unsent or self._is_sending or self._is_going_away:
            return False
        return self._frames.is_empty and await self._stream.is_silent()

    # --- sending ---

    def _begin(self, request: Request) -> None:
        http = self._http
        if not self._is_open:
            self._is_open = True
            self._open()
        self._frames.begin()
        self._id = http.get_next_available_stream_id()
        self._unsent = memoryview(request.body)
        self._is_sending = self._is_over = self._is_whole = False
        self._head = None
        self._informational = self._pieces = self._size = 0
        (_, authority), *framing = request.framing
        headers = [
            (b":method", request.method.encode()),
            (b":authority", authority),
            (b":scheme", request.url.raw_scheme),
            (b":path", request.url.raw_path),
            *((name.lower(), value) for name, value in (*framing, *request.headers)),
        ]
        http.send_headers(self._id, headers, end_stream=not request.body)
        http.increment_flow_control_window(_WINDOW, self._id)

    def _open(self) -> None:
        http = self._http
        # A new object: if the items are set instead, h2 sends its defaults first and then them.
        codes = h2.settings.SettingCodes
        http.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.MAX_CONCURRENT_STREAMS: 100,
                codes.MAX_HEADER_LIST_SIZE: _HEADER_LIST,
            },
        )
        # Some servers refuse a client that sends this setting.
        del http.local_settings[codes.ENABLE_CONNECT_PROTOCOL]
        http.initiate_connection()
        http.increment_flow_control_window(_WINDOW)

    async def _send_all(self) -> None:
        """Send the request and h2's own frames, until the exchange is over.

        ``_is_sending`` stays True if it is cancelled during a send: h2 takes the data for sent.
        """
        with contextlib.suppress(
            ConnectionBroke
        ):  # the server may have refused the request with a reply
            while not self._is_over:
                self._to_send = trio.Event()
                self._is_sending = True
                while not self._is_over and (data := self._next_to_send()):
                    await self._stream.send(data)
                self._is_sending = False
                await self._to_send.wait()

    def _next_to_send(self) -> bytes:
        """Return h2's frames, and as much of the body as the server's windows allow."""
        http = self._http
        room = _SEND
        while self._unsent and room > 0:
            size = min(room, http.local_flow_control_window(self._id), http.max_outbound_frame_size)
            if size <= 0:
                break
            part, self._unsent = self._unsent[:size], self._unsent[size:]
            http.send_data(self._id, part.tobytes(), end_stream=not self._unsent)
            room -= size
        return http.data_to_send()

    # --- receiving ---

    async def _receive(
        self, request: Request, reply: ReplyReader, wants_body: Callable[[Head], bool]
    ) -> Head:
        while True:
            frame = self._frames.next(is_whole=self._is_whole)
            if frame is not None:
                for event in self._events(frame):
                    if isinstance(event, h2.events.DataReceived):
                        await self._add(event, request, reply)
                    elif isinstance(event, h2.events.ResponseReceived):
                        self._head = _head(event)
                        if not wants_body(self._head):
                            return self._head
                        reply.begin(self._head, request.method)
                    else:
                        self._notice(event)
                await self._stream.share.step()
            elif self._is_whole and self._head is not None:
                return self._head
            else:
                await self._more()

    async def _more(self) -> None:
        self._to_send.set()  # h2 may have frames to send in answer
        try:
            data = await self._stream.receive()
        except ConnectionBroke as failure:
            if self._head is None:
                raise NotAnswered(str(failure)) from failure
            raise
        if data:
            self._frames.add(data)
        elif self._head is None:
            message = f"{self._host} closed the connection without a reply"
            raise NotAnswered(message)
        else:
            message = f"{self._host} closed the connection in the middle of the reply"
            raise HttpFailure(message)

    def _events(self, frame: _Frame) -> list[h2.events.Event]:
        if frame.kind > _KNOWN:
            return []  # extensions may be ignored
        if frame.kind != _GOAWAY:
            return self._http.receive_data(frame.data)
        self._is_going_away = True
        last = int.from_bytes(frame.data[_HEADER : _HEADER + 4]) & 0x7FFF_FFFF
        if last < self._id and not self._is_whole:
            message = f"{self._host} closes the connection without having processed the request"
            raise NotAnswered(message, untouched=True)
        return []

    async def _add(
        self, event: h2.events.DataReceived, request: Request, reply: ReplyReader
    ) -> None:
        data = event.data or b""
        self._pieces += 1
        self._size += len(data)
        if too_many_pieces(self._pieces, self._size):
            message = (
                f"the reply came in too many pieces: {self._pieces:,} for {self._size:,} bytes"
            )
            raise HttpFailure(message)
        if self._head is None or (data and not self._head.has_content(request.method)):
            message = f"{self._host} sent a body that belongs to no reply"
            raise HttpFailure(message)
        await reply.add(data, self._stream.share)
        if event.flow_controlled_length:
            self._http.acknowledge_received_data(event.flow_controlled_length, self._id)

    def _notice(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.StreamEnded):
            # The rest of the request is not sent: the server may reset the stream.
            self._is_whole = self._is_over = True
        elif isinstance(event, h2.events.InformationalResponseReceived):
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                message = (
                    f"the reply has more than {MAX_INFORMATIONAL} informational replies before it"
                )
                raise HttpFailure(message)
        elif isinstance(event, h2.events.StreamReset) and not self._is_whole:
            self._reset(event)

    def _reset(self, event: h2.events.StreamReset) -> None:
        code = event.error_code
        name = code.name if isinstance(code, h2.errors.ErrorCodes) else f"error {code}"
        message = f"{self._host} broke off the reply: {name}"
        if code == h2.errors.ErrorCodes.REFUSED_STREAM:
            raise NotAnswered(message, untouched=True)
        raise HttpFailure(message)


def _head(event: h2.events.ResponseReceived) -> Head:
    headers = event.headers or []
    status = next((value for name, value in headers if name == b":status"), b"")
    if not (len(status) == 3 and status.isdigit()):
        message = f"the reply has no status: {status[:20]!r}"
        raise HttpFailure(message)
    fields = [(name, value) for name, value in headers if not name.startswith(b":")]
    return Head(int(status), fields)


@attrs.frozen
class _Frame:
    kind: int
    data: bytes
    """Including the header."""


@final
class _Frames:
    """Cuts the received bytes into frames, and checks the limits before they are parsed."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._is_first = True
        self._block = 0
        self._block_frames = 0
        self._others = 0

    @property
    def is_empty(self) -> bool:
        """True if no received bytes are left."""
        return not self._bytes

    def begin(self) -> None:
        """Start to count for a new exchange."""
        self._others = 0

    def add(self, data: bytes) -> None:
        """Add received bytes."""
        self._bytes += data

    def next(self, *, is_whole: bool) -> _Frame | None:
        """Cut off the next frame, if it is complete; else None.

        Args:
            is_whole: the reply is complete, so a frame of another reply is left alone.

        Raises:
            HttpFailure: the frame exceeds a limit.
        """
        data = self._bytes
        if len(data) < _HEADER:
            return None
        kind, flags = data[3], data[4]
        if is_whole and kind in _REPLY_FRAMES:
            return None
        size = int.from_bytes(data[:3])
        self._check(kind, size)
        end = _HEADER + size
        if len(data) < end:
            return None
        self._count(kind, flags, size)
        frame = _Frame(kind, bytes(data[:end]))
        del data[:end]
        return frame

    def _check(self, kind: int, size: int) -> None:
        if self._is_first and kind != _SETTINGS:
            raise HttpFailure("the server does not speak HTTP/2")
        if size > _FRAME:
            message = f"the server sent an HTTP/2 frame of {size:,} bytes, above {_FRAME:,}"
            raise HttpFailure(message)
        if kind == _SETTINGS and size > _SETTINGS_BYTES:
            raise HttpFailure("the server sent too many HTTP/2 settings")
        if kind == _PUSH_PROMISE:
            raise HttpFailure("the server pushes, which it was told not to do")

    def _count(self, kind: int, flags: int, size: int) -> None:
        self._is_first = False
        if kind in (_HEADERS, _CONTINUATION):
            self._block += size
            self._block_frames += 1
            if self._block > _BLOCK or self._block_frames > _BLOCK_FRAMES:
                message = (
                    f"the reply's head is too large: more than {_BLOCK:,} bytes compressed or "
                    f"{_BLOCK_FRAMES} frames"
                )
                raise HttpFailure(message)
            if flags & _END_HEADERS:
                self._block = self._block_frames = 0
        elif kind != _DATA:
            self._others += 1
            if self._others > _OTHER_FRAMES:
                message = (
                    f"the server sent more than {_OTHER_FRAMES:,} HTTP/2 frames beside the reply"
                )
                raise HttpFailure(message)
