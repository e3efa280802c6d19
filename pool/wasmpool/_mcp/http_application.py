"""What is checked of each HTTP request before anything else reads it, as ASGI middleware.

In this order: the host and the origin, the bearer token, the number of requests under way, and the
body, which is read here, with a limit on its size and its time. So no route reads from a client.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
from typing import TYPE_CHECKING, Final, final

import trio
from starlette.responses import PlainTextResponse

from .client_gone import GONE
from .http_connection import CONNECTION

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .allowed_hosts import AllowedHosts
    from .endpoint import Endpoint
    from .http_connection import HttpConnection

__all__ = ["MAX_BODY", "PATH", "HttpApplication"]

PATH: Final = "/mcp"
"""Of the protocol."""

MAX_BODY: Final = 4 << 20
"""Bytes of a request's body; a line over the standard streams may be as long."""
_BODY_SECONDS: Final = 20.0
"""That a client has to send it."""
_MAX_REQUESTS: Final = 1_024
"""Under way, of all clients. An endpoint refuses calls before that."""


@final
class HttpApplication:
    """An ASGI application that refuses what must not reach the one inside.

    Args:
        inner: the application.
        endpoint: whose shutdown ends the streams of events.
        allowed: the hosts and origins that are served.
        token: the bearer token that each request must have; None is no token.
        lifespan: the block in which the application is served; an attribute, too.
    """

    def __init__(
        self,
        inner: ASGIApp,
        endpoint: Endpoint,
        allowed: AllowedHosts,
        token: str | None,
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._inner: Final = inner
        self._endpoint: Final = endpoint
        self._allowed: Final = allowed
        self._token: Final = None if token is None else token.encode()
        self.lifespan: Final = lifespan
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1002})
        else:
            with self._counted(scope):
                answer = self._refusal(scope) or self._serve
                await answer(scope, receive, send)

    @contextlib.contextmanager
    def _counted(self, scope: Scope) -> Generator[None]:
        """A block in which a request is under way, in its connection, too."""
        connection: HttpConnection | None = scope.get("state", {}).get(CONNECTION)
        self._under_way += 1
        if connection is not None:
            connection.begin_request()
        try:
            yield
        finally:
            self._under_way -= 1
            if connection is not None:
                connection.end_request()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Do what Starlette does in a lifespan, but pass a cancel on as it is."""
        await receive()
        async with self.lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        """The answer to a request that is refused for what its headers say; None for others."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not self._allowed.has_host(hosts[0]):
            return PlainTextResponse("this host is not served here\n", 421)
        if not all(map(self._allowed.has_origin, _values(scope, b"origin"))):
            return PlainTextResponse("this origin is not served here\n", 403)
        if self._token is not None and not self._has_token(scope):
            return _unauthorized(scope)
        if self._under_way > _MAX_REQUESTS:
            return PlainTextResponse("too many requests are under way\n", 503, {"Retry-After": "1"})
        return None

    def _has_token(self, scope: Scope) -> bool:
        given = _values(scope, b"authorization")
        if len(given) != 1 or self._token is None:
            return False
        scheme, _, value = given[0].partition(" ")
        token = value.strip().encode("latin-1")
        if scheme.lower() == "basic" and _may_be_browsed(scope):
            token = _password(token)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(token, self._token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with trio.fail_after(_BODY_SECONDS):
                body = await _read_body(scope, receive)
        except trio.TooSlowError:
            await _answer("the body came too slowly\n", 408)(scope, receive, send)
            return
        if isinstance(body, PlainTextResponse):
            await body(scope, receive, send)
        elif body is not None:
            await self._run(scope, _Replay(body, receive, scope), send)

    async def _run(self, scope: Scope, receive: _Replay, send: Send) -> None:
        if scope["method"] != "GET":
            try:
                await self._inner(scope, receive, send)
            finally:
                receive.gone.set()
            return
        async with trio.open_nursery() as nursery:  # it may be a stream of events
            nursery.start_soon(self._cancel_when_drained, nursery.cancel_scope)
            await self._inner(scope, receive, send)
            nursery.cancel_scope.cancel()

    async def _cancel_when_drained(self, scope: trio.CancelScope) -> None:
        await self._endpoint.drained.wait()
        scope.cancel()


@final
class _Replay:
    """Gives an application a body that has been read, and then what else comes.

    Attributes:
        gone: set when the client is gone.
    """

    def __init__(self, body: bytes, receive: Receive, scope: Scope) -> None:
        self._body: bytes | None = body
        self._receive: Final = receive
        self.gone: Final = trio.Event()
        scope[GONE] = self.gone

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone.set()
        return message


async def _read_body(scope: Scope, receive: Receive) -> bytes | PlainTextResponse | None:
    """Read a body; None if the client is gone, and the answer to a body that is too large."""
    too_large = _answer(f"the body is above the limit of {MAX_BODY:,} bytes\n", 413)
    sizes = _values(scope, b"content-length")
    if sizes and not (sizes[0].isdecimal() and len(sizes[0]) < 20 and int(sizes[0]) <= MAX_BODY):
        return too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return too_large
        if not message.get("more_body", False):
            return bytes(body)


def _may_be_browsed(scope: Scope) -> bool:
    """Return True for what a browser shows: it cannot send a bearer token, but a password.

    A browser repeats the password by itself in requests that another page has it make. So what has
    effects, the protocol, does not take it.
    """
    return bool(scope["method"] == "GET" and scope["path"] != PATH)


def _password(credentials: bytes) -> bytes:
    """The password of HTTP Basic authentication (RFC 7617); empty if there is none."""
    try:
        _, _, password = base64.b64decode(credentials, validate=True).partition(b":")
    except ValueError:
        return b""
    return password


def _unauthorized(scope: Scope) -> PlainTextResponse:
    answer = PlainTextResponse("a bearer token is needed\n", 401, {"WWW-Authenticate": "Bearer"})
    if _may_be_browsed(scope):  # the browser asks for the password then
        realm = "wasmpool: the token is the password"
        answer.headers.append("WWW-Authenticate", f'Basic realm="{realm}"')
    return answer


def _answer(text: str, status: int) -> PlainTextResponse:
    """An answer after which the connection is closed: there may be more of a body to come."""
    return PlainTextResponse(text, status, {"Connection": "close"})


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
