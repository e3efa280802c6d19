"""A connection's bytes, and the loop's share of the time that it takes to look at them.

Trio checkpoints at each receive, but 64 KiB of one-byte chunks are ten thousand events of a
parser, a tenth of a second. So the time that goes by between two receives is added to what guests
take of the loop in a scheduler pass, and above that budget a request waits for a later pass. The
budget is one for all requests and guests of a trio run: thirty-two plugins hold the loop no longer
than one.
"""

from __future__ import annotations

import contextlib
import ssl
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio

from wasmpool_host.lowlevel import SOFT_LIMIT, budget_of_this_run

from .message import HttpFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Address", "ConnectionBroke", "HttpStream", "LoopShare", "connect_first"]

_PIECE: Final = 64 << 10  # bytes that are received, or encrypted, at once
_NEXT_ATTEMPT: Final = 0.25  # seconds until the next address is tried too (RFC 8305, section 5)
_NOTICED: Final = 0.0001  # seconds; less is not worth the bookkeeping


class ConnectionBroke(HttpFailure):
    """The connection is reset, or its TLS is broken."""


@final
class LoopShare:
    """Counts what one request takes of the loop, and waits when that is too much.

    Its task resumes it after everything it has waited for; `HttpStream.receive` does that itself.
    """

    def __init__(self) -> None:
        self._budget = budget_of_this_run()
        self._since = perf_counter()

    async def step(self) -> None:
        """Wait for a later pass if this one is used up; call it between small pieces of work."""
        if perf_counter() - self._since > _NOTICED:
            self.pause()
            await self.begin()

    async def begin(self) -> None:
        """Start counting in a pass that is not used up; call it after the task has waited."""
        if self._budget.spent > SOFT_LIMIT and self._budget.is_exhausted():
            await self._budget.wait()
        self.resume()

    def pause(self) -> None:
        """Count what was taken; call it before the task waits for something."""
        self._budget.spent += perf_counter() - self._since

    def resume(self) -> None:
        """Start counting; call it after the task has waited."""
        self._since = perf_counter()


@final
class HttpStream:
    """A TCP or TLS connection to one host."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[Any], host: str) -> None:
        self.share: Final = LoopShare()
        """For the exchange that is under way."""
        self._stream = stream
        self._host = host

    @property
    def protocol(self) -> str | None:
        """What TLS has agreed to speak."""
        if isinstance(self._stream, trio.SSLStream):
            chosen: str | None = self._stream.selected_alpn_protocol()
            return chosen
        return None

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on.

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
        """Some bytes, or nothing at the end.

        Raises:
            ConnectionBroke: it ends in another way.
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
        """Send all of it; over TLS in pieces that are encrypted in a moment.

        Raises:
            ConnectionBroke: the other side does not take it any more.
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
        """Return True if bytes, or the end, wait in the socket."""
        stream: Any = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        readable: bool = stream.socket.is_readable()
        return readable

    async def is_silent(self) -> bool:
        """Return True if the other side has said nothing that was not received.

        What TLS has read ahead is seen only by receiving it, and so are TLS's own messages
        (session tickets), which are no news.
        """
        if not isinstance(self._stream, trio.SSLStream):
            return not self.has_arrivals()
        # Cancelled in the scheduler's next pass: at once, nothing would be received.
        with trio.CancelScope() as scope:
            trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.receive_some(1)
            return False
        return True

    async def aclose(self) -> None:
        """Close the socket; waits for nothing, and no cancel keeps it from closing."""
        await trio.aclose_forcefully(self._stream)


@attrs.frozen
class Address:
    """Where a name leads."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def text(self) -> str:
        """The address, without the port."""
        return str(self.sockaddr[0])


async def connect_first(addresses: Sequence[Address], host: str, port: int) -> HttpStream:
    """Connect to the address that answers first; each has a quarter of a second before the next.

    Raises:
        HttpFailure: none of them answers.
    """
    connected: list[trio.SocketStream] = []
    failures: list[str] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        socket = trio.socket.socket(address.family, trio.socket.SOCK_STREAM)
        try:
            await socket.connect(address.sockaddr)
        except OSError as failure:
            failures.append(f"{address.text}: {failure.strerror or failure}")
            failed.set()
        else:
            connected.append(trio.SocketStream(socket))
            nursery.cancel_scope.cancel()
        finally:
            if not connected or connected[0].socket is not socket:
                socket.close()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
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


def _why(failure: BaseException) -> str:
    cause = failure.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {cause.verify_message}"
    return str(cause or failure) or type(cause or failure).__name__
