"""A client by hand: one request on a connection of its own, or a session that keeps one."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from tests.serve.server_process import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KeptSession", "Reply", "call", "get", "initialize", "one_session_of_each", "post"]


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


_FORM: Final = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}
_INITIALIZE: Final = {
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
}


def get(port: int, path: str, **headers: str) -> Reply:
    with closing(_connect(port)) as connection:
        return _ask(connection, "GET", path, None, {"Connection": "close", **headers})


def post(port: int, message: Mapping[str, Any], **headers: str) -> Reply:
    """Send a message of the protocol, in the revision with a handshake."""
    with closing(_connect(port)) as connection:
        return _post(connection, message, {"Connection": "close", **headers})


def initialize(port: int, **headers: str) -> dict[str, str]:
    """Open a session, and return the headers of its requests."""
    reply = post(port, _INITIALIZE, **headers)
    assert reply.status == 200, reply
    session = {**headers, "Mcp-Session-Id": reply.headers["mcp-session-id"]}
    assert post(port, {"method": "notifications/initialized"}, **session).status == 202
    return session


def call(port: int, tool: str, arguments: Mapping[str, Any], **headers: str) -> Any:
    """Call a tool, and return the result."""
    reply = post(port, _call(tool, arguments), **headers)
    assert reply.status == 200, reply
    return reply.json["result"]


@final
class KeptSession:
    """A session on one connection, so that its worker is the one that has accepted it.

    Attributes:
        headers: of its requests.
    """

    def __init__(self, port: int) -> None:
        self._connection = _connect(port)
        reply = _post(self._connection, _INITIALIZE, {})
        self.headers = {"Mcp-Session-Id": reply.headers["mcp-session-id"]}
        assert self._post({"method": "notifications/initialized"}).status == 202

    @property
    def worker(self) -> str:
        """The number of its worker."""
        return self.headers["Mcp-Session-Id"].partition("-")[0]

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        reply = self._post(_call(tool, arguments))
        assert reply.status == 200, reply
        return reply.json["result"]

    def close(self) -> None:
        self._connection.close()

    def _post(self, message: Mapping[str, Any]) -> Reply:
        return _post(self._connection, message, self.headers)


@contextmanager
def one_session_of_each(port: int) -> Iterator[dict[str, KeptSession]]:
    """Sessions by worker, of two; which worker accepts a connection is by chance."""
    with ExitStack() as stack:
        sessions: dict[str, KeptSession] = {}
        deadline = time.monotonic() + SECONDS
        while len(sessions) < 2:
            assert time.monotonic() < deadline
            session = KeptSession(port)
            stack.callback(session.close)
            sessions[session.worker] = session
        yield sessions


def _call(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    params = {"name": tool, "arguments": dict(arguments)}
    return {"id": 1, "method": "tools/call", "params": params}


def _connect(port: int) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", port, timeout=SECONDS)


def _post(
    connection: HTTPConnection, message: Mapping[str, Any], headers: Mapping[str, str]
) -> Reply:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    return _ask(connection, "POST", "/mcp", body, {**_FORM, **headers})


def _ask(
    connection: HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
) -> Reply:
    connection.request(method, path, body, {"Host": "localhost", **headers})
    reply = connection.getresponse()
    names = {name.lower(): value for name, value in reply.getheaders()}
    return Reply(reply.status, names, reply.read().decode())
