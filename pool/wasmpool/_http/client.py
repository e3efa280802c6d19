"""One plugin's HTTP client, over connections that are judged before they are made.

**The address is judged, not the name.** A check that resolves a name, and a client that resolves
it again, can be told two different addresses. So the name is resolved here, each address is held
against the policy, and a socket is opened to an address that passed; TLS and the ``Host`` header
keep the name. Redirects are followed one by one, each through the same gate; and the body of a
redirect is not read, for it may be endless.

**One request at a time per connection, and only a connection at rest is used again.** A request
that is cancelled in mid-frame would take its neighbours on an HTTP/2 connection with it, and calls
of a plugin must not feel each other's cancellation. And no reply may be taken for another's: a
connection with as much as one byte after its last reply is closed, and so is one whose reply was
not read to the end, or whose request was not sent to its end.

URLs are those of httpx2, the protocols those of h11 and h2. Rejected: httpx2's client over
httpcore2's connections. They do not say whether something came after a reply, take any number of
1xx, and parse whatever a receive brings in one go; and redirects, gzip and headers differ from
Go's client, which plugins were built for.

This module needs the extra ``plugin``; `host_function` imports it when a plugin first asks.
"""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs
import httpx2
import trio

from .body import ReplyReader
from .http1 import Http1
from .http2 import Http2
from .lookup import Lookups
from .message import Head, HttpFailure, NotAnswered, Reply, Request, read_url
from .policy import host_is_listed, is_global
from .redirect import is_redirect, redirected
from .stream import HttpStream, connect_first

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from .policy import HttpPolicy

__all__ = ["Client", "HttpFailure", "Reply"]

_MAX_REDIRECTS: Final = 10  # as browsers and Go's client have it, within a factor of two
_KEEP_SECONDS: Final = 15.0  # below what servers keep an idle connection for: 60 s and more
_KEEP_IDLE: Final = 64  # connections; a plugin talks to few hosts
_PORTS: Final = {"http": 80, "https": 443}
_GZIP: Final = (b"Accept-Encoding", b"gzip")
_AGENT: Final = (b"User-Agent", b"wasmpool")


@final
class Client:
    """Makes one plugin's requests; opened on first use, closed with the plugin."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._connections = _Connections(policy)

    async def request(
        self,
        method: str,
        url: str,
        headers: Iterable[tuple[str, bytes]],
        body: bytes,
        *,
        h2c: bool = False,
    ) -> Reply:
        """Make one request, follow its redirects, and read the reply.

        Args:
            method: any method but CONNECT.
            url: http or https.
            headers: checked names and values.
            body: sent with its length if it is not empty.
            h2c: speak HTTP/2 to http URLs from the first byte.

        Raises:
            HttpFailure: for whatever there is no reply.

        A cancel closes the connection.
        """
        try:
            given = tuple((name.encode(), value) for name, value in headers)
            return await self._follow(Request(method, read_url(url), given, body), h2c=h2c)
        except HttpFailure:
            raise
        # Libraries of several authors speak here, and the contract is that no failure of the
        # host's traps the guest.
        except Exception as failure:
            message = f"{type(failure).__name__}: {failure}"
            raise HttpFailure(message) from failure

    async def aclose(self) -> None:
        """Close the idle connections, and the others as soon as their requests end."""
        await self._connections.aclose()

    async def _follow(self, request: Request, *, h2c: bool) -> Reply:
        for _ in range(_MAX_REDIRECTS + 1):
            self._judge(request.url)
            sent, inflates = _with_defaults(request)
            reply = ReplyReader(self._policy.max_response, inflates=inflates)
            head = await self._connections.exchange(sent, reply, h2c=h2c)
            onwards = redirected(request, head)
            if onwards is None:
                return reply.reply(head)
            request = onwards
        message = f"stopped after {_MAX_REDIRECTS} redirects, the last one to {request.url}"
        raise HttpFailure(message)

    def _judge(self, url: httpx2.URL) -> None:
        if url.scheme not in _PORTS or not url.raw_host:
            message = f"{str(url)!r} is no http or https URL"
            raise HttpFailure(message)
        host = url.raw_host.decode("ascii")
        if not host_is_listed(host, self._policy.allow_hosts):
            message = f"forbidden by policy: the host {host!r} is not among the allowed ones"
            raise HttpFailure(message)


def _with_defaults(request: Request) -> tuple[Request, bool]:
    """The request with what Go's client adds, and whether gzip is to be undone in its reply.

    A plugin that asks for an encoding itself gets the body as it was sent, and a range or a length
    (HEAD) must be one of the body as it stands there.
    """
    # An empty value asks for nothing; an empty User-Agent asks for none.
    headers = [
        (name, value)
        for name, value in request.headers
        if value or name.lower() not in (b"accept-encoding", b"range", b"user-agent")
    ]
    names = {name.lower() for name, _ in request.headers}
    if b"user-agent" not in names:
        headers.insert(0, _AGENT)
    if request.url.userinfo and b"authorization" not in names:
        user = f"{request.url.username}:{request.url.password}".encode()
        headers.append((b"Authorization", b"Basic " + base64.b64encode(user)))
    inflates = request.method != "HEAD" and not (
        request.get(b"accept-encoding") or request.get(b"range")
    )
    if inflates:
        headers.append(_GZIP)
    return attrs.evolve(request, headers=tuple(headers)), inflates


# --- connections ---

_Key: TypeAlias = tuple[str, bytes, int | None, bool]
"""The origin that a connection goes to, and whether it speaks HTTP/2 without TLS."""


@attrs.define(eq=False)
class _Connection:
    key: _Key
    stream: HttpStream
    http: Http1 | Http2
    at_rest_since: float = 0.0

    def is_stale(self) -> bool:
        """Return True if the server may be about to close it."""
        return trio.current_time() > self.at_rest_since + _KEEP_SECONDS


@final
class _Connections:
    """Makes connections, and keeps those that are at rest."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._lookups = Lookups()
        self._tls: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []  # oldest first; the last one that fits is taken
        self._is_closed = False

    async def exchange(self, request: Request, reply: ReplyReader, *, h2c: bool) -> Head:
        """Send a request, and read its reply unless that is a redirect.

        A server may close an idle connection at any time, also when the request is on its way: then
        it is sent again, if that does no harm.
        """
        url = request.url
        key = (url.scheme, url.raw_host, url.port, h2c and url.scheme == "http")
        while (connection := await self._take(key)) is not None:
            try:
                return await self._exchange(connection, request, reply)
            except NotAnswered as failure:
                if not (failure.untouched or request.is_repeatable):
                    raise
        return await self._exchange(await self._connect(key), request, reply)

    async def aclose(self) -> None:
        self._is_closed = True
        self._idle, idle = [], self._idle
        for connection in idle:
            await connection.stream.aclose()

    async def _exchange(
        self, connection: _Connection, request: Request, reply: ReplyReader
    ) -> Head:
        def wants_body(head: Head) -> bool:
            return head.get(b"content-length") == b"0" or not is_redirect(head)

        is_at_rest = False
        try:
            head = await connection.http.exchange(request, reply, wants_body)
            is_at_rest = await connection.http.rest() and not self._is_closed
        finally:
            if not is_at_rest:
                await connection.stream.aclose()
        if is_at_rest:
            await self._keep(connection)
        return head

    async def _keep(self, connection: _Connection) -> None:
        connection.at_rest_since = trio.current_time()
        self._idle.append(connection)
        while len(self._idle) > _KEEP_IDLE or self._idle[0].is_stale():
            await self._idle.pop(0).stream.aclose()

    async def _take(self, key: _Key) -> _Connection | None:
        """An idle connection to an origin, if there is one to which the server said nothing."""
        while True:
            fitting = [each for each in self._idle if each.key == key]
            if not fitting:
                return None
            connection = fitting[-1]
            self._idle.remove(connection)
            if not connection.is_stale() and not connection.stream.has_arrivals():
                return connection
            await connection.stream.aclose()

    async def _connect(self, key: _Key) -> _Connection:
        scheme, raw_host, port, h2c = key
        host = raw_host.decode("ascii")
        stream = await self._open(host, port or _PORTS[scheme])
        try:
            if scheme == "https":
                context = self._tls = self._tls or await _tls_context()
                context.set_alpn_protocols(["h2", "http/1.1"])
                await stream.start_tls(context)
        except BaseException:
            await stream.aclose()
            raise
        speak: Callable[[HttpStream, str], Http1 | Http2]
        speak = Http2 if h2c or stream.protocol == "h2" else Http1
        return _Connection(key, stream, speak(stream, host))

    async def _open(self, host: str, port: int) -> HttpStream:
        found = await self._lookups.find(host, port)
        allowed = [each for each in found if self._policy.allow_private or is_global(each.text)]
        if not allowed:
            addresses = ", ".join(each.text for each in found)
            where = host if addresses == host else f"{host} ({addresses})"
            message = f"forbidden by policy: {where} is not an address of the public internet"
            raise HttpFailure(message)
        return await connect_first(allowed, host, port)


async def _tls_context() -> ssl.SSLContext:
    """The system's trust, read once in a process and off the loop: it takes some 30 ms."""
    return await trio.to_thread.run_sync(_read_tls_context)


@functools.cache
def _read_tls_context() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
