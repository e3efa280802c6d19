"""HTTP/1.1 on one connection, one request after another: h11 with limits of our own.

h11 parses all that it gets in one step, so each step is limited here. The head is cut off and its
lines are counted. A chunked body is passed on in pieces of few lines, as they may be trailers.

The connection is used again only if it is idle: the request was sent and the reply was read to its
end, h11 says that both sides keep the connection, and no byte follows the reply. Such a byte could
be mistaken for the reply to the next request.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

import h11
import trio

from wasmpool._plain_nursery import open_plain_nursery

from .message import (
    MAX_HEAD,
    MAX_HEADERS,
    MAX_INFORMATIONAL,
    Head,
    HttpFailure,
    NotAnswered,
    too_many_pieces,
)
from .stream import ConnectionBroke

if TYPE_CHECKING:
    from collections.abc import Callable

    from .message import Request
    from .reply_reader import ReplyReader
    from .stream import HttpStream

__all__ = ["Http1Connection"]

_AT_ONCE: Final = 16 << 10  # bytes that a socket accepts without waiting for the other side
_LINES: Final = 500  # passed to h11 in one step, as they may be trailers: 1 ms
_PIECE: Final = 2 << 10  # bytes that are passed to h11 whatever the number of lines
_TRAILERS: Final = 100  # lines
_INCOMPLETE: Final = 16 << 10  # bytes of a chunk's header, or of trailers
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_BEGINNING: Final = b"HTTP/"


@final
class Http1Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, stream: HttpStream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_INCOMPLETE)
        self._ahead = bytearray()
        """Received, and not yet passed to h11."""
        self._was_sent = False
        self._was_heard = False
        """True once a byte of the reply has come."""

    async def exchange(
        self, request: Request, reply: ReplyReader, wants_body: Callable[[Head], bool]
    ) -> Head:
        """Send a request and read its reply, with its body only if ``wants_body`` returns True.

        A server may reply before it has the whole request. Then the rest is not sent.

        Raises:
            NotAnswered: the connection ended before the first byte of a reply.
            HttpFailure: the reply is incomplete, or exceeds a limit.
            h11.ProtocolError: the request or the reply is not valid HTTP.
        """
        self._was_sent = self._was_heard = False
        parts = self._encode(request)
        if sum(map(len, parts)) <= _AT_ONCE:
            await self._send(b"".join(parts))
            self._stream.share.resume()
            return await self._reply(request.method, reply, wants_body)
        async with open_plain_nursery() as nursery:
            nursery.start_soon(self._send, *parts)
            self._stream.share.resume()
            try:
                return await self._reply(request.method, reply, wants_body)
            finally:
                nursery.cancel_scope.cancel()

    async def finish(self) -> bool:
        """End the exchange, and return True if another request can use the connection."""
        http = self._http
        if not self._was_sent or self._ahead or http.trailing_data[0]:
            return False
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            return False
        http.start_next_cycle()
        return await self._stream.is_silent()

    def _encode(self, request: Request) -> list[bytes]:
        http = self._http
        head = h11.Request(
            method=request.method,
            target=request.url.raw_path,
            headers=[*request.framing, *request.headers],
        )
        parts = [http.send(head)]
        if request.body:
            parts += http.send_with_data_passthrough(h11.Data(request.body)) or []
        return [*parts, http.send(h11.EndOfMessage())]

    async def _send(self, *parts: bytes) -> None:
        try:
            for part in parts:
                await self._stream.send(part)
        except ConnectionBroke:
            await trio.lowlevel.checkpoint()  # the server may have refused the request with a reply
        else:
            self._was_sent = True

    async def _reply(
        self, method: str, reply: ReplyReader, wants_body: Callable[[Head], bool]
    ) -> Head:
        response = await self._response()
        head = Head(response.status_code, list(response.headers.raw_items()))
        if wants_body(head):
            reply.begin(head, method)
            await self._body(head, reply)
        if head.get(b"transfer-encoding") and head.get(b"content-length"):
            self._was_sent = False  # two lengths: a proxy may use the other one
        return head

    async def _response(self) -> h11.Response:
        for _ in range(MAX_INFORMATIONAL + 1):
            head = await self._next_head()
            if head.split(maxsplit=2)[1:2] == [b"101"]:
                raise HttpFailure("the server switches to another protocol, unasked")
            self._http.receive_data(head)
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                return event
            await self._stream.share.step()
        message = f"the reply has more than {MAX_INFORMATIONAL} informational replies before it"
        raise HttpFailure(message)

    async def _next_head(self) -> bytes:
        """Receive and cut off the bytes up to the next blank line."""
        ahead = self._ahead
        looked_at = 0
        while (blank := _BLANK_LINE.search(ahead, looked_at)) is None:
            if len(ahead) > MAX_HEAD:
                raise _head_too_large()
            if not _BEGINNING.startswith(ahead[: len(_BEGINNING)]):
                message = f"the reply is not HTTP: it begins with {bytes(ahead[:20])!r}"
                raise h11.RemoteProtocolError(message)
            looked_at = max(0, len(ahead) - 2)
            ahead += await self._more()
        end = blank.end()
        head = bytes(ahead[:end])
        if end > MAX_HEAD or head.count(b"\n") > MAX_HEADERS:
            raise _head_too_large()
        del ahead[:end]
        return head

    async def _more(self) -> bytes:
        """Receive more of the head."""
        try:
            data = await self._stream.receive()
        except ConnectionBroke as failure:
            if self._was_heard:
                raise
            raise NotAnswered(str(failure)) from failure
        if data:
            self._was_heard = True
            return data
        if self._was_heard:
            message = f"{self._host} closed the connection in the middle of the reply's head"
            raise HttpFailure(message)
        message = f"{self._host} closed the connection without a reply"
        raise NotAnswered(message)

    async def _body(self, head: Head, reply: ReplyReader) -> None:
        http, share = self._http, self._stream.share
        is_chunked = bool(head.get(b"transfer-encoding"))
        pieces = size = 0
        while (event := http.next_event()) is not h11.PAUSED:
            if isinstance(event, h11.EndOfMessage):
                return
            if isinstance(event, h11.Data):
                pieces, size = pieces + 1, size + len(event.data)
                if too_many_pieces(pieces, size):
                    message = f"the reply came in too many pieces: {pieces:,} for {size:,} bytes"
                    raise HttpFailure(message)
                await reply.add(event.data, share)
            else:
                await self._feed(is_chunked=is_chunked)
            await share.step()

    async def _feed(self, *, is_chunked: bool) -> None:
        """Pass more of the body to h11, or its end."""
        http = self._http
        if is_chunked and http.trailing_data[0].count(b"\n") > _TRAILERS:
            message = f"the reply has more than {_TRAILERS} trailers"
            raise HttpFailure(message)
        if not self._ahead:
            self._ahead += await self._stream.receive()
        size = len(self._ahead)
        while is_chunked and size > _PIECE and self._ahead.count(b"\n", 0, size) > _LINES:
            size //= 4
        http.receive_data(bytes(self._ahead[:size]))
        del self._ahead[:size]


def _head_too_large() -> HttpFailure:
    return HttpFailure(
        f"the reply's head is too large: more than {MAX_HEAD:,} bytes or {MAX_HEADERS:,} lines"
    )
