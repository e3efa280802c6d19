"""``host_http_request``: a guest's request in JSON, its reply in JSON, and never a trap.

The contract (ABI version 1): ``{method, url, headers?, body?, body_base64?}`` goes in,
``{status, headers?, body, body_base64?}`` comes out. Whatever goes wrong on the host's side is
``{"status": 0, "body": "<why>"}``. Three headers, in exactly this case, are for the host and are
not sent: ``X-Raw-Body`` (answer in ``body_base64``), ``X-H2C`` (HTTP/2 in clear text) and
``X-Host-Timeout-Seconds``. As guests were compiled against a host in Go, details follow Go's
client: a JSON null is an absent value, no method is GET, reply headers are named ``Like-This``,
of a header that stands twice the first counts, and the headers that belong to the connection are
the host's own, ``Host`` among them.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool._json_pieces import SMALL, run_cooperatively

from .reply import ReplyTooLarge, failure, success, success_in_pieces
from .request import BadRequest, Request, read_large_request, read_request

if TYPE_CHECKING:
    from .client import Client, Reply
    from .policy import HttpPolicy

__all__ = ["Http"]

_SHUT: Final = (
    "forbidden by policy: this plugin may reach no host; the program that opens it can allow that "
    "with http=HttpPolicy(...)"
)


@final
class Http:
    """One plugin's HTTP: its policy, and a client that is opened when the plugin first asks.

    Args:
        policy: None reaches no host.
        payload: bytes of JSON that a guest may be given.
    """

    def __init__(self, policy: HttpPolicy | None, payload: int) -> None:
        self._policy = policy
        self._payload = payload
        self._client: Client | None = None

    async def import_client(self) -> None:
        """Have no request wait for the client's import: once in a process, 60 ms in a thread."""
        if self._policy is not None:
            with contextlib.suppress(ModuleNotFoundError):  # said when a guest asks
                await trio.to_thread.run_sync(_client_module)

    async def answer(self, request: bytes) -> bytes:
        """Make one request of a guest's; always an answer, unless the task is cancelled."""
        policy = self._policy
        if policy is None:
            await trio.lowlevel.checkpoint()
            return failure(_SHUT)
        try:
            if len(request) <= SMALL:
                read = read_request(request, policy)
            else:
                steps = read_large_request(request, policy)
                read = await run_cooperatively(steps, trio.lowlevel.checkpoint)
        except BadRequest as bad:
            await trio.lowlevel.checkpoint()
            return failure(str(bad))
        return await self._make(read, policy)

    async def aclose(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _make(self, request: Request, policy: HttpPolicy) -> bytes:
        reply: Reply | None = None
        with trio.move_on_after(request.timeout):
            try:
                client = await self._open(policy)
            except ModuleNotFoundError as missing:
                return failure(
                    f"host_http_request needs {missing.name}, which is not installed here: "
                    'pip install "wasmpool[plugin]"'
                )
            refusal = _client_module().HttpFailure
            try:
                reply = await client.request(
                    request.method, request.url, request.headers, request.body, h2c=request.h2c
                )
            except refusal as why:
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
        """The reply's JSON; None if it is above the limit, and large."""
        if len(reply.body) <= SMALL:
            return success(reply, raw_body=raw_body)
        try:
            steps = success_in_pieces(reply, self._payload, raw_body=raw_body)
            return await run_cooperatively(steps, trio.lowlevel.checkpoint)
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
