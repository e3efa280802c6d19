"""The tools of a loader, served to agents and other clients by the Model Context Protocol.

`serve_stdio` serves one client over the standard streams, `serve_http` any number of clients over
HTTP, and `app` is an ASGI application for a server of your own. All of them serve the tools of all
plugins of a `Loader`, also of those that are loaded later. They need the extra ``serve``.
"""

from __future__ import annotations

try:
    import anycorn  # noqa: F401 - is it installed?
    import jsonschema  # noqa: F401
    import mcp as _sdk  # noqa: F401
    import starlette  # noqa: F401
except ImportError as _missing:
    _message = f'wasmpool.mcp needs {_missing.name}: pip install "wasmpool[serve]"'
    raise ImportError(_message, name=_missing.name) from _missing

import contextlib
from typing import TYPE_CHECKING

import trio

from wasmpool_host.lowlevel import check_trio

from ._mcp.catalog import Catalog
from ._mcp.endpoint import Endpoint, open_endpoint
from ._mcp.exposure import Exposure
from ._mcp.http import http_app
from ._mcp.http_server import check_addresses, close_all, listen, run_http
from ._mcp.stdio import run_stdio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from ._mcp.http_server import Address
    from ._mcp.tool_set import Mode, Scripts
    from ._plugin.loader import Loader

__all__ = ["Exposure", "app", "serve_http", "serve_stdio"]

Exposure.__module__ = __name__  # where users import it from


async def serve_stdio(  # noqa: PLR0913 - options, by name
    loader: Loader,
    *,
    exposures: Mapping[str, Exposure] | None = None,
    mode: Mode = "plain",
    scripts: Scripts | None = None,
    shutdown: trio.Event | None = None,
    grace: float = 30.0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one client over the standard streams of the process.

    While it runs, nothing else in the process reads from standard input, and what is printed goes
    to standard error.

    Args:
        loader: whose plugins are served, also those that it loads later.
        exposures: by plugin name, which tools are served, and with which prefix. All tools of a
            plugin that is not there.
        mode: "plain" lists the tools as they are. "search" lists two tools: ``search`` finds those
            of the plugins, and ``execute`` calls them.
        scripts: an object with ``async run(source) -> ToolResult``, which runs scripts: there is a
            tool ``execute`` then that takes a ``script``. None is no scripts.
        shutdown: an event that ends the serving: new calls are refused, and those under way have
            ``grace`` seconds.
        grace: seconds.
        task_status: for ``nursery.start``.

    Raises:
        OSError: standard input or standard output is closed.
        ValueError: there is no such mode.

    Returns when the input has ended and all requests are answered, when the client is gone, or
    after ``shutdown``. A cancel ends the calls under way.
    """
    check_trio("serve_stdio")
    endpoint = open_endpoint(Catalog(loader, exposures), mode=mode, scripts=scripts)
    async with endpoint as opened, _drained_by(shutdown, grace, opened):
        await run_stdio(opened, task_status=task_status)


async def serve_http(  # noqa: PLR0913 - options, by name
    loader: Loader,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
    allowed_origins: Collection[str] = (),
    routes: Sequence[BaseRoute] = (),
    exposures: Mapping[str, Exposure] | None = None,
    mode: Mode = "plain",
    scripts: Scripts | None = None,
    shutdown: trio.Event | None = None,
    grace: float = 30.0,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve any number of clients over HTTP, at ``/mcp``.

    Args:
        loader: as for `serve_stdio`.
        host: the name or address to listen on.
        port: the port to listen on; 0 is a free one.
        token: as for `app`. It is needed for an address that other machines can reach.
        allowed_hosts: as for `app`.
        allowed_origins: as for `app`.
        routes: as for `app`.
        exposures: as for `serve_stdio`.
        mode: as for `serve_stdio`.
        scripts: as for `serve_stdio`.
        shutdown: as for `serve_stdio`; new connections are no longer accepted then.
        grace: seconds.
        task_status: for ``nursery.start``, which returns the address, as ``(host, port)``, when
            requests are served.

    Raises:
        OSError: the host is not known, or the port is taken.
        ValueError: there is no such mode; an allowed host or origin is none; the token is empty;
            or other machines can reach the address, and there is no token.

    Returns after ``shutdown``. A cancel ends the calls under way.
    """
    check_trio("serve_http")
    async with contextlib.AsyncExitStack() as stack:
        sockets = await listen(host, port)
        stack.callback(close_all, sockets)
        check_addresses(sockets, token)
        endpoint = await stack.enter_async_context(
            open_endpoint(Catalog(loader, exposures), mode=mode, scripts=scripts)
        )
        application = http_app(
            endpoint,
            token=token,
            allowed_hosts=allowed_hosts,
            allowed_origins=allowed_origins,
            routes=routes,
        )
        await stack.enter_async_context(_drained_by(shutdown, grace, endpoint))
        await run_http(endpoint, application, sockets, task_status=task_status)


def app(  # noqa: PLR0913 - options, by name
    loader: Loader,
    *,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
    allowed_origins: Collection[str] = (),
    routes: Sequence[BaseRoute] = (),
    exposures: Mapping[str, Exposure] | None = None,
    mode: Mode = "plain",
    scripts: Scripts | None = None,
) -> ASGIApp:
    """Return an ASGI application with the protocol at ``/mcp``, for a server that runs on trio.

    Args:
        loader: as for `serve_stdio`; its block must be around the server.
        token: a secret that each request must have as its bearer token; None, the default, is no
            token.
        allowed_hosts: what requests may have as their ``Host`` besides the names of this machine:
            ``"tools.example"``, or with a port ``"10.0.0.7:8000"``.
        allowed_origins: which web pages may send requests, besides those of allowed hosts:
            ``"https://app.example"``.
        routes: routes of Starlette's, served behind the same checks.
        exposures: as for `serve_stdio`.
        mode: as for `serve_stdio`.
        scripts: as for `serve_stdio`.

    Raises:
        ValueError: there is no such mode, an allowed host or origin is none, or the token is empty.

    The server must run the application's lifespan, once. Its end cancels the calls under way.
    """
    return http_app(
        Endpoint(Catalog(loader, exposures), mode=mode, scripts=scripts),
        token=token,
        allowed_hosts=allowed_hosts,
        allowed_origins=allowed_origins,
        routes=routes,
        runs_endpoint=True,
    )


@contextlib.asynccontextmanager
async def _drained_by(
    shutdown: trio.Event | None, grace: float, endpoint: Endpoint
) -> AsyncGenerator[None]:
    """A block in which an event drains an endpoint."""

    async def drain() -> None:
        if shutdown is not None:
            await shutdown.wait()
            await endpoint.drain(grace)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        yield
        nursery.cancel_scope.cancel()
