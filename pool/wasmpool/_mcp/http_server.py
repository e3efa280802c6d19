"""An HTTP server for an endpoint's ASGI application.

anycorn runs on trio, and tells an application that its client is gone, while it waits as well as in
the middle of an answer; hypercorn, of which it is a fork, does so, too. What it lacks is done here
and in `http_checks`: it writes behind a shield, so a client that does not read would hold up a
shutdown for ever. The system closes such a connection after a while, by a socket option.
"""

from __future__ import annotations

import logging
import math
import socket
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import anycorn
import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp

    from .endpoint import Endpoint

    Address: TypeAlias = tuple[str, int]

__all__ = ["check_addresses", "close_all", "listen", "run_http"]

_log = logging.getLogger("wasmpool.mcp")

_BACKLOG: Final = 128
_UNREAD_SECONDS: Final = 20
"""After which a connection is closed whose client reads nothing of what is sent."""
_IDLE_SECONDS: Final = 10
"""For the headers of a request, and between two requests of a connection."""
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
    application: ASGIApp,
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
    address = _address(sockets[0])
    config = _config(sockets)
    async with trio.open_nursery() as nursery:
        serve = partial(
            anycorn.serve,
            cast("Any", application),  # the types of its messages are other ones
            config,
            shutdown_trigger=endpoint.draining.wait,
            mode="asgi",
        )
        await nursery.start(_ending, serve, nursery.cancel_scope)
        task_status.started(address)
        await endpoint.drained.wait()
        await trio.sleep(_FLUSH_SECONDS)
        nursery.cancel_scope.cancel()


async def _ending(
    serve: Any, scope: trio.CancelScope, *, task_status: trio.TaskStatus[list[str]]
) -> None:
    """Serve, and cancel a scope at the end."""
    await serve(task_status=task_status)
    scope.cancel()


def _config(sockets: Sequence[socket.socket]) -> anycorn.Config:
    config = anycorn.Config()
    binds: list[str] = []
    for each in sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit both
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_SECONDS * 1_000)
        binds.append(f"fd://{each.detach()}")  # the server closes it
    config.bind = binds
    config.backlog = _BACKLOG
    config.errorlog = _log
    config.graceful_timeout = math.inf  # `run_http` ends it
    config.keep_alive_timeout = _IDLE_SECONDS
    config.include_server_header = False
    return config
