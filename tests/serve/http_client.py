"""A client by hand: one request on a connection of its own."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.serve.server_process import SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Reply", "call", "get", "initialize", "post"]


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, also where it is the one event of a stream."""
        for line in self.text.splitlines():
            if line.startswith("data: {"):
                return json.loads(line.removeprefix("data: "))
        return json.loads(self.text)


def get(port: int, path: str, **headers: str) -> Reply:
    return _ask(port, "GET", path, None, headers)


def post(port: int, message: Mapping[str, Any], **headers: str) -> Reply:
    """Send a message of the protocol, in the revision with a handshake."""
    form = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        **headers,
    }
    return _ask(port, "POST", "/mcp", json.dumps({"jsonrpc": "2.0", **message}).encode(), form)


def initialize(port: int, **headers: str) -> dict[str, str]:
    """Open a session, and return the headers of its requests."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    }
    reply = post(port, {"id": 0, "method": "initialize", "params": params}, **headers)
    assert reply.status == 200, reply
    session = {**headers, "Mcp-Session-Id": reply.headers["mcp-session-id"]}
    assert post(port, {"method": "notifications/initialized"}, **session).status == 202
    return session


def call(port: int, tool: str, arguments: Mapping[str, Any], **headers: str) -> Any:
    """Call a tool, and return the result."""
    params = {"name": tool, "arguments": dict(arguments)}
    reply = post(port, {"id": 1, "method": "tools/call", "params": params}, **headers)
    assert reply.status == 200, reply
    return reply.json["result"]


def _ask(
    port: int, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> Reply:
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(
            method,
            path,
            body,
            {"Host": "localhost", "Connection": "close", **headers},
        )
        reply = connection.getresponse()
        names = {name.lower(): value for name, value in reply.getheaders()}
        return Reply(reply.status, names, reply.read().decode())
    finally:
        connection.close()
