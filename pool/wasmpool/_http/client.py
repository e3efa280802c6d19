"""The HTTP client of one plugin. It checks each address before it connects.

**The policy checks addresses, not names.** If a check resolves a name and the client resolves it
again, the two can get different addresses. So the name is resolved here once, each address is
checked against the policy, and a socket is opened to an address that passed; TLS and the ``Host``
header keep the name. Each redirect passes the same check. The body of a redirect is not read,
because it may be endless.

**One request at a time per connection, and only an idle connection is used again.** A request that
is cancelled within a frame would break the other requests on an HTTP/2 connection, and a cancelled
call must not affect the plugin's other calls. Nor may a reply be mistaken for the reply of another
request: a connection is closed if even one byte follows its last reply, or if the reply was not
read, or the request not sent, to its end.

URLs are read by httpx2, HTTP is parsed by h11 and h2. Rejected: the client of httpx2, with the
connections of httpcore2. They do not tell if bytes follow a reply, they accept any number of 1xx
replies, and they parse all received bytes in one step. Their redirects, gzip and headers also
differ from Go's client, which existing plugins expect.

This module needs the extra ``plugin``; `host_function` imports it at a plugin's first request.
"""

from __future__ import annotations

import base64
import functools
import socket
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs
import httpx2
import trio

from .connect import connect_first
from .http1 import Http1Connection
from .http2 import Http2Connection
from .lookup import Lookups
from .message import Forbidden, Head, HttpFailure, NotAnswered, Reply, Request, read_url
from .policy import host_is_listed, is_global
from .redirect import is_redirect, redirected
from .reply_reader import ReplyReader

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from .connect import Endpoint
    from .policy import HttpPolicy
    from .stream import HttpStream

__all__ = ["Client", "Forbidden", "HttpFailure"]

_MAX_REDIRECTS: Final = 10  # as Go's client; browsers allow 20
_KEEP_SECONDS: Final = 15.0  # servers close an idle connection after 60 s or more
_KEEP_IDLE: Final = 64  # connections; a plugin talks to few hosts
_PORTS: Final = {"http": 80, "https": 443}
_GZIP: Final = (b"Accept-Encoding", b"gzip")
_AGENT: Final = (b"User-Agent", b"wasmpool")


@final
class Client:
    """Sends the requests of one plugin; made at the first request, closed with the plugin.

    Args:
        policy: which hosts may be reached.
        lists: says of a host in normal form if the plugin may reach it, beside the policy; None is
            every host.
    """

    def __init__(self, policy: HttpPolicy, lists: Callable[[str], bool] | None = None) -> None:
        self._policy = policy
        self._lists = lists
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
        """Send one request, follow its redirects, and read the reply.

        Args:
            method: any method but CONNECT.
            url: http or https.
            headers: names and values, already checked.
            body: sent with its length if it is not empty.
            h2c: use HTTP/2 without TLS for http URLs.

        Raises:
            HttpFailure: there is no reply, for any reason.

        A cancel closes the connection.
        """
        try:
            given = tuple((name.encode(), value) for name, value in headers)
            return await self._follow(Request(method, read_url(url), given, body), h2c=h2c)
        except HttpFailure:
            raise
        # Several libraries can raise here, and by the contract no failure of the host may trap the
        # guest.
        except Exception as failure:
            message = f"{type(failure).__name__}: {failure}"
            raise HttpFailure(message) from failure

    async def aclose(self) -> None:
        """Close the idle connections; the others are closed when their requests end."""
        await self._connections.aclose()

    async def _follow(self, request: Request, *, h2c: bool) -> Reply:
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_url(request.url)
            sent, inflates = _with_defaults(request)
            reply = ReplyReader(self._policy.max_response, inflates=inflates)
            head = await self._connections.exchange(sent, reply, h2c=h2c)
            next_request = redirected(request, head)
            if next_request is None:
                return reply.reply(head)
            request = next_request
        message = f"stopped after {_MAX_REDIRECTS} redirects, the last one to {request.url}"
        raise HttpFailure(message)

    def _check_url(self, url: httpx2.URL) -> None:
        if url.scheme not in _PORTS or not url.raw_host:
            message = f"{str(url)!r} is not an http or https URL"
            raise HttpFailure(message)
        host = url.raw_host.decode("ascii")
        listed = host_is_listed(host, self._policy.allow_hosts)
        if not listed or (self._lists is not None and not self._lists(host)):
            message = f"forbidden by policy: the host {host!r} is not among the allowed ones"
            raise Forbidden(message)


def _with_defaults(request: Request) -> tuple[Request, bool]:
    """Add the headers that Go's client adds, and decide if the reply is to be decompressed.

    A plugin that sets Accept-Encoding itself gets the body as it was sent. So does a request for a
    range or for the length (HEAD), whose numbers are about the body as it was sent.
    """
    # An empty value of these means: do not send the header.
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
    return Request(request.method, request.url, tuple(headers), request.body), inflates


# --- connections ---

_Key: TypeAlias = tuple[str, bytes, int | None, bool]
"""The origin of a connection (scheme, host, port), and True for HTTP/2 without TLS."""


@attrs.define(eq=False)
class _Connection:
    key: _Key
    stream: HttpStream
    http: Http1Connection | Http2Connection
    idle_since: float = 0.0

    def is_stale(self) -> bool:
        """Return True if it has been idle so long that the server may close it."""
        return trio.current_time() > self.idle_since + _KEEP_SECONDS


@final
class _Connections:
    """Makes connections, and keeps the idle ones."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._lookups = Lookups()
        self._tls: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []  # oldest first; the newest of an origin is used first
        self._is_closed = False

    async def exchange(self, request: Request, reply: ReplyReader, *, h2c: bool) -> Head:
        """Send a request, and read its reply unless that is a redirect.

        A server may close an idle connection at any time, even while a request is on its way. Then
        the request is sent again, if it is safe to repeat.
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

        is_idle = False
        try:
            head = await connection.http.exchange(request, reply, wants_body)
            is_idle = await connection.http.finish() and not self._is_closed
        finally:
            if not is_idle:
                await connection.stream.aclose()
        if is_idle:
            await self._keep(connection)
        return head

    async def _keep(self, connection: _Connection) -> None:
        connection.idle_since = trio.current_time()
        self._idle.append(connection)
        while len(self._idle) > _KEEP_IDLE or self._idle[0].is_stale():
            await self._idle.pop(0).stream.aclose()

    async def _take(self, key: _Key) -> _Connection | None:
        """Take an idle connection to an origin on which the server has sent nothing, or None."""
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
                await stream.start_tls(context)
        except BaseException:
            await stream.aclose()
            raise
        open_http: Callable[[HttpStream, str], Http1Connection | Http2Connection]
        open_http = Http2Connection if h2c or stream.protocol == "h2" else Http1Connection
        return _Connection(key, stream, open_http(stream, host))

    async def _open(self, host: str, port: int) -> HttpStream:
        found = await self._lookups.find(host, port)
        allowed = [each for each in found if self._policy.allow_private or is_global(each.text)]
        if not allowed:
            raise Forbidden(f"forbidden by policy: {_not_public(host, found)}")
        return await connect_first(allowed, host, port)


def _not_public(host: str, found: Sequence[Endpoint]) -> str:
    """Return why a host is refused, without the addresses that an internal name resolves to."""
    try:
        socket.inet_aton(host)  # accepts forms such as 0x7f.1, too
    except OSError:
        if found[0].text != host:  # not an IPv6 address either
            return f"{host} leads to no address of the public internet"
    where = host if found[0].text == host else f"{host} ({found[0].text})"
    return f"{where} is not an address of the public internet"


async def _tls_context() -> ssl.SSLContext:
    """The system's trusted certificates, read once per process and in a thread: 30 ms."""
    return await trio.to_thread.run_sync(_read_tls_context)


@functools.cache
def _read_tls_context() -> ssl.SSLContext:
    context = httpx2.create_ssl_context()
    context.set_alpn_protocols(["h2", "http/1.1"])  # here: it is shared by threads from now on
    return context
