"""The sockets that a server listens at."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from wasmpool._mcp.http_server import listen

from .table import ConfigError

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Sequence

    from .address import Address

__all__ = ["listening"]

_log = logging.getLogger("wasmpool.serve")


@contextlib.asynccontextmanager
async def listening(address: Address | None) -> AsyncGenerator[Sequence[socket.socket]]:
    """Yield sockets that listen at an address, until the end of the block; none for None.

    Raises:
        ConfigError: the address cannot be had.
    """
    if address is None:
        yield ()
        return
    try:
        sockets = await listen(address.host, address.port)
    except OSError as error:
        raise ConfigError(f"cannot listen at {address}: {error.strerror}") from error
    try:
        port = sockets[0].getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host
        _log.info("listening at http://%s:%d", host, port)
        yield sockets
    finally:
        for each in sockets:
            each.close()
