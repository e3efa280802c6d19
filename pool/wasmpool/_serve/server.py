"""One trio run that serves: a loader with the plugins of a configuration, and its clients."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool._extism.kind import ExtismKind
from wasmpool._mcp.catalog import Catalog
from wasmpool._mcp.endpoint import open_endpoint
from wasmpool._mcp.http import http_app
from wasmpool._mcp.http_server import run_http
from wasmpool._mcp.stdio import run_stdio
from wasmpool._plugin.loader import open_loader_of
from wasmpool._plugin.options import PluginOptions

from .metrics import Metrics
from .page.routes import Page
from .plugins import Plugins, exposures
from .readiness import readiness
from .routes import operating_routes

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Sequence

    from wasmpool import Loader
    from wasmpool._mcp.endpoint import Endpoint
    from wasmpool._mcp.tool_set import Scripts
    from wasmpool._plugin.admission import Candidate

    from .config import Config
    from .routes import Ask
    from .session_router import SessionRouter

__all__ = ["Server", "open_server"]

_log = logging.getLogger("wasmpool.serve")


@contextlib.asynccontextmanager
async def open_server(config: Config, *, measures_process: bool = True) -> AsyncGenerator[Server]:
    """Yield a server whose plugins are not loaded yet: `Server.load` does it.

    The end of the block cancels the calls under way; `Server.drain` before it does not.

    Args:
        config: what is served.
        measures_process: False where another server in this process tells of that.
    """
    catalog: Catalog

    def admit(candidate: Candidate) -> None:
        catalog.admit(candidate)

    async with open_loader_of([ExtismKind()], PluginOptions(), admit) as loader:
        catalog = Catalog(loader, exposures(config))
        async with (
            _open_scripts(config, catalog) as scripts,
            open_endpoint(catalog, mode=config.server.tools, scripts=scripts) as endpoint,
            trio.open_nursery() as watching,
        ):
            metrics = Metrics(loader, endpoint, measures_process=measures_process)
            yield Server(loader, endpoint, Plugins(loader, catalog, config, watching), metrics)
            watching.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def _open_scripts(config: Config, catalog: Catalog) -> AsyncGenerator[Scripts | None]:
    if not config.server.scripts:
        yield None
        return
    from wasmpool._scripts import open_scripts  # noqa: PLC0415 - it has an extra of its own

    async with open_scripts(catalog.call, limits=config.server.script_limits) as scripts:
        yield scripts


@final
class Server:
    """The plugins of a configuration, and what clients ask of them."""

    def __init__(
        self, loader: Loader, endpoint: Endpoint, plugins: Plugins, metrics: Metrics
    ) -> None:
        self._loader: Final = loader
        self._endpoint: Final = endpoint
        self._plugins: Final = plugins
        self._metrics: Final = metrics
        self._loading = trio.CancelScope()
        self._changing = trio.Lock()

    async def load(self) -> None:
        """Try each plugin once; returns early if the server is drained meanwhile."""
        with self._loading:
            async with self._changing:
                await self._plugins.apply(self._plugins.config)
        tools, plugins = len(self._endpoint.catalog.tools), len(self._loader.plugins)
        _log.info("serving %s of %s", _counted(tools, "tool"), _counted(plugins, "plugin"))

    async def change(self, config: Config) -> None:
        """Put another configuration in place of the one that there is."""
        async with self._changing:
            if restart := _needs_restart(self._plugins.config, config):
                _log.warning("%s changed, which needs a restart", " and ".join(restart))
            await self._plugins.apply(config)
        _log.info("the configuration has been read again")

    async def run_stdio(self) -> None:
        """Serve the client at the standard streams, until it is gone or the server is drained."""
        if not self._endpoint.draining.is_set():
            await run_stdio(self._endpoint)

    async def run_http(
        self, sockets: Sequence[socket.socket], ask: Ask, router: SessionRouter | None = None
    ) -> None:
        """Serve the clients at some sockets, and close these when the server begins to drain.

        Returns when the server is drained, and the answers are written.

        Args:
            sockets: which listen.
            ask: where the routes for operators get their reports.
            router: of several workers, what finds the one that has a session.
        """
        if self._endpoint.draining.is_set():
            return
        server, page = self._plugins.config.server, Page(self._loader)
        application = http_app(
            self._endpoint,
            token=server.token,
            allowed_hosts=server.hosts,
            allowed_origins=server.origins,
            routes=(*operating_routes(ask), *page.routes),
            around=None if router is None else router.around,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(page.run)
            await run_http(self._endpoint, application, sockets)
            nursery.cancel_scope.cancel()

    async def drain(self) -> None:
        """Refuse new calls, give those under way the grace, and cancel the rest."""
        self._loading.cancel()
        if calls := self._endpoint.calls:
            grace = self._plugins.config.server.grace
            _log.info("%s under way, with %g s to end", _counted(calls, "call"), grace)
        await self._endpoint.drain(self._plugins.config.server.grace)

    async def report(self, kind: str) -> Any:
        """Return a report of this server: ``readiness`` or ``metrics``."""
        await trio.lowlevel.checkpoint()
        if kind == "metrics":
            return self._metrics.text()
        draining = self._endpoint.draining.is_set()
        return readiness(self._loader, self._plugins, draining=draining)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _needs_restart(before: Config, now: Config) -> list[str]:
    """The keys of what has changed and cannot be changed while the server runs."""
    one, other = before.server, now.server
    keys = ("http", "token", "hosts", "origins", "workers", "threads", "tools", "scripts")
    changed = [f"server.{key}" for key in keys if getattr(one, key) != getattr(other, key)]
    return changed + ["scripts"] * (one.script_limits != other.script_limits)
