"""Sessions with several workers: a request goes to the worker that has its session.

A session of the protocol's revision with a handshake lives in one worker, but any worker may accept
the next connection. So each worker puts a key of its own before the names of its sessions,
and passes on a request whose session has another worker's key, over a socket of that worker on the
loopback interface. There it is checked as any other request is.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Final, final

import h11
import trio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SessionRouter"]

_SESSION: Final = b"mcp-session-id"
_MARK: Final = b"."
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
)
"""Headers that are about one connection (RFC 9110, 7.6.1). That of the body's form stays."""
_CHUNK: Final = 64 << 10


@final
class SessionRouter:
    """Names the sessions of this worker, and passes on requests for those of others.

    Attributes:
        key: of this worker.
        ports: of the other workers, by key.
    """

    def __init__(self, number: int) -> None:
        self.key: Final = f"{number}-{secrets.token_hex(4)}"
        self.ports: Mapping[str, int] = {}

    def around(self, inner: ASGIApp) -> ASGIApp:
        """Return an application that serves the sessions of all workers."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            key, mark, session = _session_of(scope).partition(_MARK)
            port = self.ports.get(key.decode("latin-1"))
            if port is not None:
                await _pass_on(scope, receive, send, port)
            elif mark and key == self.key.encode():
                await inner(_with_session(scope, session), receive, self._naming(send))
            else:
                await inner(scope, receive, self._naming(send))

        return application

    def _naming(self, send: Send) -> Send:
        """Put the key before the name of a session that a response has."""

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                prefix = self.key.encode() + _MARK
                headers = [
                    (name, prefix + value if name.lower() == _SESSION else value)
                    for name, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        return send_named


def _session_of(scope: Scope) -> bytes:
    return next((value for name, value in scope["headers"] if name.lower() == _SESSION), b"")


def _with_session(scope: Scope, session: bytes) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name.lower() != _SESSION]
    return {**scope, "headers": [*headers, (_SESSION, session)]}


async def _pass_on(scope: Scope, receive: Receive, send: Send, port: int) -> None:
    """Let another worker answer a request."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:  # it has just ended, and its sessions with it
        await _answer(send, 404, b"the session is gone\n")
        return
    relay = _Relay(stream, send)
    async with stream:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.send_request, scope, receive, nursery.cancel_scope)
                await relay.pass_answer()
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, h11.ProtocolError):
            if relay.has_begun:  # the server closes a connection whose answer breaks off
                raise
            await _answer(send, 502, b"the worker with this session has ended\n")


@final
class _Relay:
    """One request to another worker, and its answer.

    Attributes:
        has_begun: True once a part of the answer has been passed on.
    """

    def __init__(self, stream: trio.SocketStream, send: Send) -> None:
        self.has_begun = False
        self._stream = stream
        self._send = send
        self._http = h11.Connection(h11.CLIENT)

    async def send_request(
        self, scope: Scope, receive: Receive, relaying: trio.CancelScope
    ) -> None:
        """Send the request; when the client is gone, cancel both directions."""
        path, query = scope["raw_path"], scope["query_string"]
        request = h11.Request(
            method=scope["method"],
            target=path + b"?" + query if query else path,
            headers=_request_headers(scope),
        )
        await self._write(request)
        has_more = True
        while (message := await receive())["type"] == "http.request":
            if has_more:
                await self._write(h11.Data(data=message.get("body", b"")))
                has_more = message.get("more_body", False)
                if not has_more:
                    await self._write(h11.EndOfMessage())
        relaying.cancel()

    async def _write(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        # The other worker may refuse a request before it has read all of it.
        with contextlib.suppress(trio.BrokenResourceError):
            await self._stream.send_all(self._http.send(event) or b"")

    async def pass_answer(self) -> None:
        """Pass on the answer, part by part."""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some(_CHUNK))
            elif isinstance(event, h11.Response):
                self.has_begun = True
                headers = _without_hops(event.headers, {b"transfer-encoding"})
                start = {"type": "http.response.start", "status": event.status_code}
                await self._send({**start, "headers": headers})
            elif isinstance(event, h11.Data):
                body = {"type": "http.response.body", "body": bytes(event.data)}
                await self._send({**body, "more_body": True})
            elif isinstance(event, h11.EndOfMessage):
                await self._send({"type": "http.response.body", "body": b""})
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise trio.BrokenResourceError


def _request_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    headers = [*_without_hops(scope["headers"]), (b"connection", b"close")]
    if not {name for name, _ in headers} & {b"content-length", b"transfer-encoding"}:
        headers.append((b"transfer-encoding", b"chunked"))  # there may be a body in HTTP/2
    return headers


def _without_hops(
    headers: Iterable[tuple[bytes, bytes]], more: AbstractSet[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP | more]


async def _answer(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
