"""One plugin's HTTP client: httpx2, over connections that are judged before they are made.

Two things are done here that httpx2 leaves to whoever uses it.

**The address is judged, not the name.** A check that resolves a name, and a client that resolves
it again, can be told two different addresses. So the name is resolved here, each address is held
against the policy, and a socket is opened to an address that passed; TLS and the ``Host`` header
keep the name. Redirects are followed here too, one by one, each through the same gate; and the
body of a redirect is not read, for it may be endless.

**One request at a time per connection, and only a connection at rest is used again.** httpcore2
can put several requests on one HTTP/2 connection, but a request that is cancelled there in
mid-frame takes its neighbours with it, and one that is not read to its end never gives its share
of the flow-control window back. Calls of a plugin must not feel each other's cancellation, so a
connection whose reply was not read to the end is closed, and nothing is shared at the same time.

Gzip is undone here with a bound on what comes out: the decoders of httpx2 inflate each chunk as
a whole, and a chunk of 64 KiB can hold 64 MiB.

This module needs the extra ``plugin``; `_http` imports it when a plugin first asks.
"""

from __future__ import annotations

import contextlib
import functools
import http.cookiejar
import ssl
import zlib
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import attrs
import httpcore2
import httpx2
import trio

from ._http_policy import host_is_listed, is_global

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from ._http_policy import HttpPolicy

__all__ = ["Client", "HttpFailure", "Reply"]

_MAX_REDIRECTS: Final = 10  # as browsers and Go's client have it, within a factor of two
_KEEP_SECONDS: Final = 15.0  # below what servers keep an idle connection for: 60 s and more
_KEEP_IDLE: Final = 64  # connections; a plugin talks to few hosts
_NEXT_ATTEMPT: Final = 0.25  # seconds until the next address is tried too (RFC 8305, section 5)
_INFLATE: Final = zlib.MAX_WBITS | 16  # a gzip header and trailer around it

_NO_BODY: Final = frozenset({204, 304})


class HttpFailure(Exception):
    """Why there is no reply, in words for the plugin's author."""


@attrs.frozen
class Reply:
    """A whole reply."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@final
class Client:
    """Makes one plugin's requests; opened on first use, closed with the plugin."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._transport = _Transport(policy)
        # A plugin's instances are isolated from each other: no cookie passes between them.
        nobody = http.cookiejar.DefaultCookiePolicy(allowed_domains=())
        self._client = httpx2.AsyncClient(
            transport=self._transport,
            trust_env=False,
            timeout=None,  # the caller's deadline is for the whole request
            headers={"User-Agent": "wasmpool", "Accept-Encoding": "gzip"},
            cookies=http.cookiejar.CookieJar(nobody),
        )

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
        sent = httpx2.Headers([(name.encode(), value) for name, value in headers])
        # As Go's client: whoever asks for an encoding gets the body as it was sent.
        inflate = "accept-encoding" not in sent
        try:
            request = self._client.build_request(
                method, url, headers=sent, content=body or None, extensions={"h2c": h2c}
            )
            response = await self._follow(request)
            try:
                return await self._read(response, inflate=inflate)
            finally:
                await response.aclose()
        except HttpFailure:
            raise
        # Libraries of several authors speak here, and the contract is that no failure of the
        # host's traps the guest.
        except Exception as failure:
            message = f"{type(failure).__name__}: {failure}"
            raise HttpFailure(message) from failure

    async def aclose(self) -> None:
        """Close the idle connections."""
        await self._client.aclose()

    async def _follow(self, request: httpx2.Request) -> httpx2.Response:
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            request = response.next_request
            await response.aclose()
        message = f"stopped after {_MAX_REDIRECTS} redirects, the last one to {request.url}"
        raise HttpFailure(message)

    async def _read(self, response: httpx2.Response, *, inflate: bool) -> Reply:
        has_body = response.request.method != "HEAD" and response.status_code not in _NO_BODY
        announced = response.headers.get("content-length", "")
        if has_body and announced.isdecimal() and int(announced) > self._policy.max_response:
            raise _too_large(self._policy)
        inflate = inflate and response.headers.get("content-encoding", "").lower() == "gzip"
        body = _Body(self._policy, inflate=inflate)
        async with contextlib.aclosing(response.aiter_raw()) as chunks:
            async for chunk in chunks:
                body.add(chunk)
        undone = {b"content-encoding", b"content-length"} if inflate else set[bytes]()
        kept = [(name, value) for name, value in response.headers.raw if name.lower() not in undone]
        return Reply(response.status_code, kept, body.whole())


def _too_large(policy: HttpPolicy) -> HttpFailure:
    return HttpFailure(f"the reply is too large: more than {policy.max_response:,} bytes")


class _Body:
    """A reply's body as it comes, never more of it than the policy allows."""

    def __init__(self, policy: HttpPolicy, *, inflate: bool) -> None:
        self._policy = policy
        self._inflate = inflate
        self._gzip: Any = None  # zlib's decompressor, within a gzip member
        self._bytes = bytearray()

    def add(self, chunk: bytes) -> None:
        if self._inflate:
            self._add_gzip(chunk)
        else:
            self._keep(chunk)

    def whole(self) -> bytes:
        if self._gzip is not None:
            message = "the reply ends in the middle of its gzip stream"
            raise HttpFailure(message)
        return bytes(self._bytes)

    def _add_gzip(self, chunk: bytes) -> None:
        while chunk:
            if self._gzip is None:
                self._gzip = zlib.decompressobj(_INFLATE)
            room = self._policy.max_response - len(self._bytes) + 1
            self._keep(self._gzip.decompress(chunk, room))
            chunk = self._gzip.unconsumed_tail
            if self._gzip.eof:
                chunk = self._gzip.unused_data
                self._gzip = None

    def _keep(self, data: bytes) -> None:
        if len(self._bytes) + len(data) > self._policy.max_response:
            raise _too_large(self._policy)
        self._bytes += data


# --- connections ---


@final
class _Transport(httpx2.AsyncBaseTransport):
    """Carries requests of httpx2 over connections of httpcore2, each of one request at a time."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._backend = _JudgedBackend(policy)
        self._idle: list[_Connection] = []  # oldest first; the last one that fits is taken

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._judge(request.url)
        h2c = bool(request.extensions.get("h2c")) and request.url.scheme == "http"
        connection = await self._connection(request.url, h2c=h2c)
        try:
            response = await connection.http.handle_async_request(_as_core(request))
        except BaseException:
            await connection.aclose()
            raise
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_ReplyStream(self, connection, response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        self._idle, idle = [], self._idle
        for connection in idle:
            await connection.aclose()

    async def rest(self, connection: _Connection) -> None:
        """Keep a connection whose last reply was read to its end; let go of the oldest ones."""
        connection.at_rest_since = trio.current_time()
        self._idle.append(connection)
        while len(self._idle) > _KEEP_IDLE or self._idle[0].is_stale():
            await self._idle.pop(0).aclose()

    def _judge(self, url: httpx2.URL) -> None:
        if url.scheme not in ("http", "https") or not url.raw_host:
            message = f"{str(url)!r} is no http or https URL"
            raise HttpFailure(message)
        host = url.raw_host.decode("ascii")
        if not host_is_listed(host, self._policy.allow_hosts):
            message = f"forbidden by policy: the host {host!r} is not among the allowed ones"
            raise HttpFailure(message)

    async def _connection(self, url: httpx2.URL, *, h2c: bool) -> _Connection:
        key = (url.scheme, url.raw_host, url.port, h2c)
        while (connection := self._take(key)) is not None:
            if not (connection.is_stale() or connection.has_news()):
                return connection
            await connection.aclose()
        context = await _tls_context() if url.scheme == "https" else None
        return _Connection(
            key,
            httpcore2.AsyncHTTPConnection(
                _core_url(url).origin,
                context,
                http1=not h2c,
                http2=True,
                network_backend=self._backend,
            ),
        )

    def _take(self, key: _Key) -> _Connection | None:
        for at in range(len(self._idle) - 1, -1, -1):
            if self._idle[at].key == key:
                return self._idle.pop(at)
        return None


_Key: TypeAlias = tuple[str, bytes, int | None, bool]
"""The origin that a connection goes to, and whether it speaks HTTP/2 without TLS."""


@attrs.define(eq=False)
class _Connection:
    key: _Key
    http: httpcore2.AsyncHTTPConnection
    stream: httpcore2.AsyncNetworkStream | None = None
    """What its last reply came over."""
    at_rest_since: float = 0.0

    def is_stale(self) -> bool:
        """Whether the server may be about to close it."""
        return trio.current_time() > self.at_rest_since + _KEEP_SECONDS

    def has_news(self) -> bool:
        """Whether the server has something to say unasked: nearly always that it closes."""
        return self.stream is None or bool(self.stream.get_extra_info("is_readable"))

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):  # closes a socket; waits for nobody
            await self.http.aclose()


@final
class _ReplyStream(httpx2.AsyncByteStream):
    """A reply's body, and at its end the connection's fate."""

    def __init__(
        self, transport: _Transport, connection: _Connection, response: httpcore2.Response
    ) -> None:
        self._transport = transport
        self._connection: _Connection | None = connection
        self._body: Any = response.stream
        self._read_to_end = False
        connection.stream = response.extensions.get("network_stream")

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(aiter(self._body)) as parts:
            async for part in parts:
                yield part
        self._read_to_end = True

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._read_to_end:
            with trio.CancelScope(shield=True):  # a change of state; waits for nobody
                await self._body.aclose()
        if self._read_to_end and connection.http.is_idle() and connection.http.is_available():
            await self._transport.rest(connection)
        else:
            await connection.aclose()


def _as_core(request: httpx2.Request) -> httpcore2.Request:
    return httpcore2.Request(
        method=request.method,
        url=_core_url(request.url),
        headers=request.headers.raw,
        content=request.stream,
        extensions={"timeout": {}},
    )


def _core_url(url: httpx2.URL) -> httpcore2.URL:
    return httpcore2.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


async def _tls_context() -> ssl.SSLContext:
    """The system's trust, read once and off the loop: it takes some 30 ms.

    ``set_alpn_protocols`` of httpcore2 is the only change made to it, always the same one.
    """
    return await trio.to_thread.run_sync(_read_tls_context)


@functools.cache
def _read_tls_context() -> ssl.SSLContext:
    return httpcore2.default_ssl_context()


# --- sockets ---


@final
class _JudgedBackend(httpcore2.AsyncNetworkBackend):
    """Opens sockets to addresses that the policy allows, and to no other."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        del timeout, local_address, socket_options
        found = await _resolve(host, port)
        allowed = [each for each in found if self._policy.allow_private or is_global(each.text)]
        if not allowed:
            addresses = ", ".join(each.text for each in found)
            where = host if addresses == host else f"{host} ({addresses})"
            message = f"forbidden by policy: {where} is not an address of the public internet"
            raise HttpFailure(message)
        return _Stream(await _connect_first(allowed, host, port), host)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


@attrs.frozen
class _Address:
    family: int
    sockaddr: tuple[Any, ...]

    @property
    def text(self) -> str:
        return str(self.sockaddr[0])


async def _resolve(host: str, port: int) -> list[_Address]:
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except (OSError, UnicodeError) as failure:
        message = f"the name {host!r} was not found: {_reason(failure)}"
        raise HttpFailure(message) from failure
    return list(dict.fromkeys(_Address(family, sockaddr) for family, *_, sockaddr in found))


async def _connect_first(addresses: list[_Address], host: str, port: int) -> trio.SocketStream:
    """Connect to whichever answers first; each has a quarter of a second before the next."""
    connected: list[trio.SocketStream] = []
    failures: list[str] = []

    async def attempt(address: _Address, failed: trio.Event) -> None:
        socket = trio.socket.socket(address.family, trio.socket.SOCK_STREAM)
        try:
            await socket.connect(address.sockaddr)
        except OSError as failure:
            failures.append(f"{address.text}: {_reason(failure)}")
            failed.set()
        else:
            connected.append(trio.SocketStream(socket))
            nursery.cancel_scope.cancel()
        finally:
            if not connected or connected[0].socket is not socket:
                socket.close()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(_NEXT_ATTEMPT):
                    await failed.wait()
    except BaseException:
        for stream in connected:
            await trio.aclose_forcefully(stream)
        raise
    if not connected:
        message = f"no connection to {host}:{port}: {'; '.join(failures)}"
        raise HttpFailure(message)
    return connected[0]


def _reason(failure: Exception) -> str:
    return getattr(failure, "strerror", None) or str(failure)


@final
class _Stream(httpcore2.AsyncNetworkStream):
    """A trio stream as httpcore2 wants it. The deadline is the caller's; timeouts are ignored."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[Any], host: str) -> None:
        self._stream = stream
        self._host = host

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's signature
    ) -> bytes:
        del timeout
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as failure:
            message = f"the connection to {self._host} broke: {_why(failure)}"
            raise httpcore2.ReadError(message) from failure

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's signature
    ) -> None:
        del timeout
        if not buffer:
            return
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as failure:
            message = f"the connection to {self._host} broke: {_why(failure)}"
            raise httpcore2.WriteError(message) from failure

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's signature
    ) -> httpcore2.AsyncNetworkStream:
        del timeout
        stream = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        try:
            await stream.do_handshake()
        except BaseException as failure:
            await trio.aclose_forcefully(self._stream)
            if not isinstance(failure, trio.BrokenResourceError):
                raise
            message = f"TLS with {server_hostname} failed: {_why(failure)}"
            raise HttpFailure(message) from failure
        return _Stream(stream, self._host)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._stream if isinstance(self._stream, trio.SSLStream) else None
        if info == "is_readable":
            return self._socket().is_readable()
        return None

    def _socket(self) -> Any:
        stream: Any = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        return stream.socket


def _why(failure: BaseException) -> str:
    cause = failure.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {cause.verify_message}"
    return str(cause or failure) or type(cause or failure).__name__
