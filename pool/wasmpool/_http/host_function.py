"""``host_http_request``: a guest's request and its reply, both in JSON; it never traps.

The contract (ABI version 1): the guest passes ``{method, url, headers?, body?, body_base64?}`` and
gets ``{status, headers?, body, body_base64?}``. If there is no reply for any reason, it gets
``{"status": 0, "body": "<reason>"}``. Three headers, in exactly this case, are for the host and are
not sent: ``X-Raw-Body`` (return the body in ``body_base64``), ``X-H2C`` (HTTP/2 without TLS) and
``X-Host-Timeout-Seconds``.

Existing guests were compiled for a host in Go, so the details are those of Go's client: a JSON null
is an absent value, the default method is GET, the names of reply headers are written ``Like-This``,
the first of repeated reply headers counts, and the host sets the headers of the connection,
including ``Host``.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool._json_pieces import SMALL, run_cooperatively

from .guest_reply import ReplyTooLarge, failure, success, success_in_pieces
from .guest_request import BadRequest, GuestRequest, read_large_request, read_request

if TYPE_CHECKING:
    from .client import Client
    from .message import Reply
    from .policy import HttpPolicy

__all__ = ["Http"]

_NO_POLICY: Final = (
    "forbidden by policy: this plugin may reach no host; the program that opens it can allow that "
    "with http=HttpPolicy(...)"
)


@final
class Http:
    """The HTTP requests of one plugin: its policy, and its client, made at the first request.

    Args:
        policy: None allows no host.
        payload: the most bytes of JSON that the guest can get.
    """

    def __init__(self, policy: HttpPolicy | None, payload: int) -> None:
        self._policy = policy
        self._payload = payload
        self._client: Client | None = None

    async def import_client(self) -> None:
        """Import the client now, in a thread, so that no request waits 60 ms for the import."""
        if self._policy is not None:
            with contextlib.suppress(ModuleNotFoundError):  # the first request reports it
                await trio.to_thread.run_sync(_client_module)

    async def answer(self, request: bytes) -> bytes:
        """Answer one request of a guest; it always returns, unless the task is cancelled."""
        policy = self._policy
        if policy is None:
            await trio.lowlevel.checkpoint()
            return failure(_NO_POLICY)
        try:
            if len(request) <= SMALL:
                read = read_request(request, policy)
            else:
                work = read_large_request(request, policy)
                read = await run_cooperatively(work, trio.lowlevel.checkpoint)
        except BadRequest as bad:
            await trio.lowlevel.checkpoint()
            return failure(str(bad))
        return await self._send(read, policy)

    async def aclose(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _send(self, request: GuestRequest, policy: HttpPolicy) -> bytes:
        reply: Reply | None = None
        with trio.move_on_after(request.timeout):
            try:
                client = await self._open(policy)
            except ModuleNotFoundError as missing:
                return failure(
                    f"host_http_request needs {missing.name}, which is not installed here: "
                    'pip install "wasmpool[plugin]"'
                )
            http_failure = _client_module().HttpFailure
            try:
                reply = await client.request(
                    request.method, request.url, request.headers, request.body, h2c=request.h2c
                )
            except http_failure as why:
                return failure(str(why))
        if reply is None:
            return failure(f"timed out: no whole reply within {request.timeout:g} s")
        written = await self._write(reply, raw_body=request.raw_body)
        if written is None or len(written) > self._payload:
            return failure(
                "the reply is too large: as JSON it is above limits.payload "
                f"({self._payload:,} bytes)"
            )
        return written

    async def _write(self, reply: Reply, *, raw_body: bool) -> bytes | None:
        """Return the reply's JSON; None if a large one is above the limit."""
        if len(reply.body) <= SMALL:
            return success(reply, raw_body=raw_body)
        try:
            work = success_in_pieces(reply, self._payload, raw_body=raw_body)
            return await run_cooperatively(work, trio.lowlevel.checkpoint)
        except ReplyTooLarge:
            return None

    async def _open(self, policy: HttpPolicy) -> Client:
        if self._client is not None:
            return self._client
        module = await trio.to_thread.run_sync(_client_module)
        client: Client = self._client or module.Client(policy)
        self._client = client
        return client


def _client_module() -> Any:
    return importlib.import_module(".client", __package__)
