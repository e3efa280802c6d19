"""Messages of bytes between two processes, over a pair of sockets: each arrives as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    import socket

__all__ = ["FrameTooLarge", "Frames"]

_HEAD: Final = 4
"""Bytes of a message's size, which comes before it."""
_MOST: Final = (1 << 32) - 1
_CHUNK: Final = 64 << 10


class FrameTooLarge(Exception):
    """The other end announces a message that is larger than one may be."""


@final
class Frames:
    """One end of a pair of sockets.

    Args:
        end: a connected socket, which this closes.
        most: the most bytes of a message that is received.
    """

    def __init__(self, end: socket.socket, most: int = _MOST) -> None:
        self._most = most
        end.setblocking(False)  # noqa: FBT003 - its form
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(end))
        self._sending = trio.Lock()
        self._read = bytearray()

    async def send(self, message: bytes) -> bool:
        """Send a message; return False if nobody is there to read it.

        A cancel while it is being sent closes the socket: half a message would end the talk.
        """
        async with self._sending:
            try:
                await self._stream.send_all(len(message).to_bytes(_HEAD, "big") + message)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            except trio.Cancelled:
                self.close()
                raise
        return True

    async def receive(self) -> bytes | None:
        """Return the next message; None if the other end is gone. A cancel loses nothing.

        Raises:
            FrameTooLarge: the other end announces one above the limit.
        """
        if not await self._fill(_HEAD):
            return None
        size = int.from_bytes(self._read[:_HEAD], "big")
        if size > self._most:
            raise FrameTooLarge(f"a message of {size:,} bytes is announced, of {self._most:,}")
        if not await self._fill(_HEAD + size):
            return None
        message = bytes(self._read[_HEAD : _HEAD + size])
        del self._read[: _HEAD + size]  # only now: a cancel loses nothing
        return message

    async def aclose(self) -> None:
        """Close the socket."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the socket; who receives is told that the other end is gone."""
        self._stream.socket.close()

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
