"""Connecting to the first of several addresses that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from .message import HttpFailure
from .stream import HttpStream

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Endpoint", "connect_first"]

_NEXT_ATTEMPT: Final = 0.25  # seconds until the next address is tried as well (RFC 8305, section 5)


@attrs.frozen
class Endpoint:
    """An address and a port to connect to."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def text(self) -> str:
        """The address as text, without the port."""
        return str(self.sockaddr[0])


async def connect_first(endpoints: Sequence[Endpoint], host: str, port: int) -> HttpStream:
    """Connect to the endpoint that answers first; a new one is tried every quarter of a second.

    Raises:
        HttpFailure: none of them answers.

    A cancel closes all connections.
    """
    connected: list[trio.SocketStream] = []
    failures: list[str] = []

    async def attempt(endpoint: Endpoint, failed: trio.Event) -> None:
        socket = trio.socket.socket(endpoint.family, trio.socket.SOCK_STREAM)
        try:
            await socket.connect(endpoint.sockaddr)
        except OSError as failure:
            failures.append(f"{endpoint.text}: {failure.strerror or failure}")
            failed.set()
        else:
            connected.append(trio.SocketStream(socket))
            nursery.cancel_scope.cancel()
        finally:
            if not connected or connected[0].socket is not socket:
                socket.close()

    try:
        async with trio.open_nursery() as nursery:
            for endpoint in endpoints:
                failed = trio.Event()
                nursery.start_soon(attempt, endpoint, failed)
                with trio.move_on_after(_NEXT_ATTEMPT):
                    await failed.wait()
    except BaseException:
        for stream in connected:
            await trio.aclose_forcefully(stream)
        raise
    if not connected:
        message = f"no connection to {host}:{port}: {'; '.join(failures)}"
        raise HttpFailure(message)
    return HttpStream(connected[0], host)
