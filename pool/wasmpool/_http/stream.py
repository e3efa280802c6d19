"""The bytes of one connection, over TCP or TLS."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any, Final, final

import trio

from wasmpool_host.lowlevel import LoopShare

from .message import HttpFailure

__all__ = ["ConnectionBroke", "HttpStream"]

_PIECE: Final = 64 << 10  # bytes that are received or encrypted in one step


class ConnectionBroke(HttpFailure):
    """The connection was reset, or its TLS is broken."""


@final
class HttpStream:
    """A TCP or TLS connection to one host."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[Any], host: str) -> None:
        self.share: Final = LoopShare()
        """Of the current exchange."""
        self._stream = stream
        self._host = host

    @property
    def protocol(self) -> str | None:
        """The protocol that TLS has negotiated, or None."""
        if isinstance(self._stream, trio.SSLStream):
            chosen: str | None = self._stream.selected_alpn_protocol()
            return chosen
        return None

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Switch to TLS.

        Raises:
            HttpFailure: the handshake fails, or the certificate is not for this host.
        """
        stream = trio.SSLStream(
            self._stream, context, server_hostname=self._host, https_compatible=True
        )
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as failure:
            message = f"TLS with {self._host} failed: {_why(failure)}"
            raise HttpFailure(message) from failure
        self._stream = stream

    async def receive(self) -> bytes:
        """Receive some bytes; ``b""`` at the end.

        Raises:
            ConnectionBroke: the connection ends without a proper close.
        """
        self.share.pause()
        try:
            data = bytes(await self._stream.receive_some(_PIECE))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as failure:
            message = f"the connection to {self._host} broke: {_why(failure)}"
            raise ConnectionBroke(message) from failure
        await self.share.begin()
        return data

    async def send(self, data: bytes) -> None:
        """Send all of the data; over TLS in pieces, as encryption blocks the loop.

        Raises:
            ConnectionBroke: the other side has closed the connection.
        """
        piece = _PIECE if isinstance(self._stream, trio.SSLStream) else max(1, len(data))
        with memoryview(data) as view:
            try:
                for start in range(0, len(data), piece):
                    await self._stream.send_all(view[start : start + piece])
            except (trio.BrokenResourceError, trio.ClosedResourceError) as failure:
                message = f"the connection to {self._host} broke: {_why(failure)}"
                raise ConnectionBroke(message) from failure

    def has_arrivals(self) -> bool:
        """Return True if the socket has bytes to receive, or is at its end."""
        stream: Any = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        readable: bool = stream.socket.is_readable()
        return readable

    async def is_silent(self) -> bool:
        """Return True if the other side has sent nothing that is still to be received.

        Over TLS this needs a receive: TLS may have read data ahead, and its own messages (session
        tickets) do not count.
        """
        if not isinstance(self._stream, trio.SSLStream):
            return not self.has_arrivals()
        # Cancelled in the next scheduler pass: if cancelled now, it would receive nothing.
        with trio.CancelScope() as scope:
            trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.receive_some(1)
            return False
        return True

    async def aclose(self) -> None:
        """Close the socket at once, also if the task is cancelled."""
        await trio.aclose_forcefully(self._stream)


def _why(failure: BaseException) -> str:
    cause = failure.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {cause.verify_message}"
    return str(cause or failure) or type(cause or failure).__name__
