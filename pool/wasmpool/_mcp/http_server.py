"""An HTTP server for an endpoint's application.

anycorn speaks HTTP with each connection. It runs on trio, and tells an application that its client
is gone, while the application waits as well as in the middle of an answer; so does hypercorn, of
which it is a fork, but that one blocks a connection whose body was refused. What is around a
connection is done here, because anycorn's own loop ends the whole server with one error: when the
process has no descriptor left, and when a connection fails in a way that was not expected. And it
would let two kinds of clients stay for ever: one that does not read, since it writes behind a
shield, and one that opens HTTP/2 and falls silent.
"""

from __future__ import annotations

import logging
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

import anyio
import anyio.abc
import trio
from anycorn import Config
from anycorn.tcp_server import tcp_server_handler
from anycorn.typing import ConnectionState
from anycorn.utils import wrap_app
from anycorn.worker_context import WorkerContext

from .http_connection import CONNECTION, IDLE_SECONDS, HttpConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .endpoint import Endpoint
    from .http_application import HttpApplication

    Address: TypeAlias = tuple[str, int]

__all__ = ["check_addresses", "close_all", "listen", "run_http"]

_log = logging.getLogger("wasmpool.mcp")

_BACKLOG: Final = 128
_MAX_CONNECTIONS: Final = 1_024
"""Of all clients. More wait until one is closed."""
_ACCEPT_PAUSE: Final = 0.1
"""Seconds, when none can be accepted."""
_UNREAD_SECONDS: Final = 20
"""After which a connection is closed whose client reads nothing of what is sent."""
_PIECE: Final = 64 << 10
"""Bytes that a client has this time for."""
_FLUSH_SECONDS: Final = 5.0
"""That clients have to read the last answers after a shutdown."""


async def listen(host: str, port: int) -> list[socket.socket]:
    """Open sockets for all addresses of a host, on one port; 0 is a free one.

    Raises:
        OSError: the host is not known, or the port cannot be had.
    """
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(found):
            sockets.append(_listener(family, address[0], port))
            port = sockets[0].getsockname()[1]
    except BaseException:
        close_all(sockets)
        raise
    return sockets


def _listener(family: int, host: str | int, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close sockets."""
    for each in sockets:
        each.close()


def check_addresses(sockets: Sequence[socket.socket], token: str | None) -> None:
    """Refuse to listen to other machines without a token.

    Raises:
        ValueError: the message names the address.
    """
    for each in sockets:
        host, *_ = _address(each)
        if token is None and not ip_address(host.partition("%")[0]).is_loopback:
            message = (
                f"the address {host} can be reached from other machines: serve it with a token, or "
                "listen on 127.0.0.1"
            )
            raise ValueError(message)


def _address(listener: socket.socket) -> Address:
    host, port, *_ = listener.getsockname()
    return host, port


async def run_http(
    endpoint: Endpoint,
    application: HttpApplication,
    sockets: Sequence[socket.socket],
    *,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an application of an endpoint, until the endpoint is drained.

    When the endpoint begins to drain, no new connections are accepted; those that are open go on.

    Args:
        endpoint: whose `Endpoint.drain` ends this.
        application: what `http_app` has made of it.
        sockets: which listen. They are closed when the endpoint begins to drain, at the latest.
        task_status: reports the address of the first socket, when requests are served.
    """
    server = _Server(application)
    async with application.lifespan(), trio.open_nursery() as nursery:
        nursery.start_soon(_end_when_drained, endpoint, nursery.cancel_scope)
        async with trio.open_nursery() as connections:
            for each in sockets:
                connections.start_soon(server.accept, each, connections, endpoint.draining)
            task_status.started(_address(sockets[0]))
            await endpoint.draining.wait()
            await server.end_idle_connections()
        nursery.cancel_scope.cancel()


async def _end_when_drained(endpoint: Endpoint, scope: trio.CancelScope) -> None:
    await endpoint.drained.wait()
    await trio.sleep(_FLUSH_SECONDS)
    scope.cancel()


@final
class _Server:
    """Accepts connections, and serves each by anycorn."""

    def __init__(self, application: HttpApplication) -> None:
        self._application: Final = wrap_app(cast("Any", application), 0, "asgi")
        self._config: Final = _config()
        self._context: Final = WorkerContext(None)
        self._connections: Final = trio.CapacityLimiter(_MAX_CONNECTIONS)

    async def end_idle_connections(self) -> None:
        """Close those without a request, and each other one after its request."""
        await self._context.terminated.set()

    async def accept(
        self, listener: socket.socket, nursery: trio.Nursery, draining: trio.Event
    ) -> None:
        """Accept connections, until the endpoint begins to drain."""
        listener.settimeout(0)
        with listener, trio.CancelScope() as scope:
            nursery.start_soon(_cancel_when, draining, scope)
            while True:
                connection = object()
                await self._connections.acquire_on_behalf_of(connection)
                try:
                    accepted = await _accept(listener)
                except BaseException:
                    self._connections.release_on_behalf_of(connection)
                    raise
                nursery.start_soon(self._serve, accepted, connection)

    async def _serve(self, accepted: socket.socket, connection: object) -> None:
        """Serve one connection. What fails in it ends no other one."""
        try:
            with accepted:
                await self._speak(accepted)
        except* Exception as failed:  # noqa: BLE001 - whatever a client can cause
            _log.warning("a connection failed: %r", failed.exceptions[0])
        finally:
            self._connections.release_on_behalf_of(connection)

    async def _speak(self, accepted: socket.socket) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with await anyio.abc.SocketStream.from_socket(accepted) as stream:
            with HttpConnection() as connection:
                state = ConnectionState({CONNECTION: connection})
                handler = tcp_server_handler(self._application, self._config, self._context, state)
                await handler(_BoundedStream(stream))


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _accept(listener: socket.socket) -> socket.socket:
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            return listener.accept()[0]
        except (BlockingIOError, ConnectionError, InterruptedError):
            continue  # another process has accepted it, or the client is gone already
        except OSError as error:  # no descriptor is left, or no memory
            _log.error("no connection can be accepted: %s", error)
            await trio.sleep(_ACCEPT_PAUSE)


@final
class _BoundedStream:
    """A connection that breaks when the client reads nothing for too long."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            with trio.move_on_after(_UNREAD_SECONDS) as scope:
                await self._stream.send(data[at : at + _PIECE])
            if scope.cancelled_caught:
                raise anyio.BrokenResourceError("the client does not read")


def _config() -> Config:
    config = Config()
    config.errorlog = _log
    config.keep_alive_timeout = IDLE_SECONDS
    config.include_server_header = False
    return config
