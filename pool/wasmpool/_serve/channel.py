"""What a supervisor and a worker tell each other: JSON objects over a pair of sockets."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final, final

import trio

if TYPE_CHECKING:
    import socket

__all__ = ["Channel"]

_HEAD: Final = 4
"""Bytes of a message's size, which comes before it."""
_CHUNK: Final = 64 << 10


@final
class Channel:
    """One end of a pair of sockets.

    Args:
        end: a connected socket, which this closes.
        patience: seconds that the other end has to take a message.
    """

    def __init__(self, end: socket.socket, patience: float = math.inf) -> None:
        self._patience = patience
        end.setblocking(False)  # noqa: FBT003 - its form
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(end))
        self._sending = trio.Lock()
        self._read = bytearray()

    async def send(self, message: dict[str, Any]) -> bool:
        """Send a message as a whole; return False if nobody is there to read it.

        If the other end takes too long, the channel is closed.
        """
        body = json.dumps(message).encode()
        async with self._sending:
            with trio.CancelScope(shield=True) as writing:  # half a message would end the channel
                writing.deadline = trio.current_time() + self._patience
                try:
                    await self._stream.send_all(len(body).to_bytes(_HEAD, "big") + body)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return False
            if writing.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
                return False
        return True

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message; None if the other end is gone."""
        if not await self._fill(_HEAD):
            return None
        end = _HEAD + int.from_bytes(self._read[:_HEAD], "big")
        if not await self._fill(end):
            return None
        body = bytes(self._read[_HEAD:end])
        del self._read[:end]  # only now: a cancel loses nothing
        message: dict[str, Any] = json.loads(body)
        return message

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()

    async def _fill(self, count: int) -> bool:
        """Read until so many bytes are there; return False if the other end is gone before."""
        while len(self._read) < count:
            try:
                chunk = await self._stream.receive_some(_CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            if not chunk:
                return False
            self._read += chunk
        return True
