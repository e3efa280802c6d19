"""The whole command in one process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, final

import trio

from .config_file import build_config, read_file
from .listening import listening
from .server import open_server
from .signals import Signals
from .table import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import Config
    from .config_file import Arguments
    from .server import Server

__all__ = ["serve_alone"]

_log = logging.getLogger("wasmpool.serve")


async def serve_alone(arguments: Arguments, config: Config) -> None:
    """Serve until a signal ends it, or the client at the standard streams is gone.

    Raises:
        ConfigError: the address cannot be had.
    """
    signals = Signals()
    with signals.handled():
        async with listening(config.server.http) as sockets, trio.open_nursery() as nursery:
            opened = _Opened(nursery.cancel_scope)
            nursery.start_soon(opened.end_when_stopped, signals)
            async with open_server(config) as server:
                opened.server = server
                nursery.start_soon(_change_when_asked, signals, arguments, server)
                await server.load()
                if sockets:
                    await server.run_http(sockets, _Alone(server))
                else:
                    await server.run_stdio()
            nursery.cancel_scope.cancel()


@final
class _Opened:
    """A server, once it is open.

    Args:
        scope: of all of it.

    Attributes:
        server: None until it is open, which takes a minute where an interpreter is compiled.
    """

    def __init__(self, scope: trio.CancelScope) -> None:
        self.server: Server | None = None
        self._scope = scope

    async def end_when_stopped(self, signals: Signals) -> None:
        await signals.stopping.wait()
        if self.server is None:
            self._scope.cancel()
        else:
            await self.server.drain()


@final
class _Alone:
    """The reports of a server that has no workers."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, kind: str, /) -> Mapping[str, Any]:
        return {"": await self._server.report(kind)}


async def _change_when_asked(signals: Signals, arguments: Arguments, server: Server) -> None:
    while True:
        await signals.wait_for_reload()
        try:
            config = build_config(arguments, _content(arguments))
        except ConfigError as error:
            _log.error("the configuration stays as it is: %s", error)
            continue
        await server.change(config)


def _content(arguments: Arguments) -> bytes | None:
    return None if arguments.file is None else read_file(arguments.file)
