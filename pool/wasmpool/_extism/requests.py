"""``http_request``: the HTTP requests of one Extism plugin.

The policy of the application and the manifest both have to allow a host, at each redirect, too; the
manifest alone decides in Extism, and only for the first. The address that a name leads to has to be
public, as `HttpPolicy` says.
"""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool._http.guest_request import BadRequest, plain_headers, read_method

from .hosts import lists_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool._http.client import Client
    from wasmpool._http.message import Reply
    from wasmpool._http.policy import HttpPolicy

__all__ = ["MOST_OF_A_REQUEST", "Refused", "Requests"]

MOST_OF_A_REQUEST: Final = 64 << 10
"""Bytes of a request's JSON: servers accept a head of half of it at most."""

_MEMBERS: Final = ("url", "method", "headers")
_SHOWN: Final = 200
"""Characters of a URL that an error shows."""


class Refused(Exception):
    """There is no reply; the message says why."""


@final
class Requests:
    """Sends the requests of one plugin; its client is made at the first one.

    Args:
        policy: what the application allows; None is no host.
        hosts: the patterns of the manifest; none is no host.
    """

    def __init__(self, policy: HttpPolicy | None, hosts: Sequence[str]) -> None:
        self._policy = policy if hosts else None
        self._hosts = hosts
        self._client: Client | None = None

    async def import_client(self) -> None:
        """Import the client now, in a thread, so that no request waits for the import."""
        if self._policy is not None:
            try:
                await trio.to_thread.run_sync(_client_module)
            except ModuleNotFoundError:  # the first request reports it
                return

    async def send(self, request: bytes, body: bytes) -> Reply:
        """Send one request: JSON of ``{url, method?, headers?}``, and its body.

        Raises:
            Refused: there is no reply, for any reason.

        A cancel closes the connection.
        """
        url, method, headers = _read(request)
        policy = self._policy
        if policy is None:
            raise Refused(f"HTTP request to {url[:_SHOWN]} is not allowed")
        reply: Reply | None = None
        with trio.move_on_after(policy.default_timeout):
            reply = await self._send(policy, url, method, headers, body)
        if reply is None:
            message = f"timed out: no whole reply within {policy.default_timeout:g} s"
            raise Refused(message)
        return reply

    async def aclose(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _send(
        self,
        policy: HttpPolicy,
        url: str,
        method: str,
        headers: list[tuple[str, bytes]],
        body: bytes,
    ) -> Reply:
        try:
            client = await self._open(policy)
        except ModuleNotFoundError as missing:
            message = (
                f"http_request needs {missing.name}, which is not installed here: "
                'pip install "wasmpool[plugin]"'
            )
            raise Refused(message) from missing
        try:
            return await client.request(method, url, headers, body)
        except _client_module().HttpFailure as why:
            raise Refused(str(why)) from why

    async def _open(self, policy: HttpPolicy) -> Client:
        if self._client is not None:
            return self._client
        module = await trio.to_thread.run_sync(_client_module)
        client: Client = self._client or module.Client(policy, lists_of(self._hosts))
        self._client = client
        return client


def _client_module() -> Any:
    return importlib.import_module("wasmpool._http.client")


def _read(request: bytes) -> tuple[str, str, list[tuple[str, bytes]]]:
    """Read the JSON of a request: URL, method and headers."""
    try:
        given = json.loads(request)
    except (ValueError, RecursionError) as broken:
        raise Refused(f"bad request: not JSON: {broken}") from None
    if not isinstance(given, dict) or not isinstance(given.get("url"), str):
        raise Refused("bad request: it must be a JSON object with a url")
    if unknown := [key for key in given if key not in _MEMBERS]:
        raise Refused(f"bad request: unknown member {unknown[0][:_SHOWN]!r}")
    method = given.get("method")
    if not isinstance(method, str | None):
        raise Refused("bad request: method must be a string")
    try:
        return (
            given["url"],
            read_method((method or "GET").upper()),
            plain_headers(given.get("headers")),
        )
    except BadRequest as bad:
        raise Refused(str(bad)) from None
