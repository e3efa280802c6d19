"""What a supervisor and a worker tell each other: JSON objects over a pair of sockets."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, final

import trio

from wasmpool._frames import Frames

if TYPE_CHECKING:
    import socket

__all__ = ["Channel"]


@final
class Channel:
    """One end of a pair of sockets.

    Args:
        end: a connected socket, which this closes.
        patience: seconds that the other end has to take a message.
    """

    def __init__(self, end: socket.socket, patience: float = math.inf) -> None:
        self._patience = patience
        self._frames = Frames(end)
        self._sending = trio.Lock()

    async def send(self, message: dict[str, Any]) -> bool:
        """Send a message as a whole; return False if nobody is there to read it.

        If the other end takes too long, the channel is closed.
        """
        body = json.dumps(message).encode()
        async with self._sending:
            with trio.CancelScope(shield=True) as writing:  # half a message would end the channel
                writing.deadline = trio.current_time() + self._patience
                return await self._frames.send(body)
        return False

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message; None if the other end is gone."""
        body = await self._frames.receive()
        if body is None:
            return None
        message: dict[str, Any] = json.loads(body)
        return message

    async def aclose(self) -> None:
        """Close the socket."""
        await self._frames.aclose()
