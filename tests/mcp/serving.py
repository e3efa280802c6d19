"""Servers in the test's own process, and what clients of them write by hand."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import trio

from wasmpool.mcp import serve_http

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import wasmpool

__all__ = ["HttpServer", "call_request", "modern_headers", "over_http", "post"]


class HttpServer:
    """A server over HTTP.

    Attributes:
        port: where it listens.
        shutdown: set to end it.
        ended: set when it has ended.
    """

    def __init__(self, shutdown: trio.Event) -> None:
        self.port = 0
        self.shutdown = shutdown
        self.ended = trio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


@contextlib.asynccontextmanager
async def over_http(loader: wasmpool.Loader, **options: Any) -> AsyncGenerator[HttpServer]:
    """Serve a loader over HTTP, on a free port."""
    shutdown = trio.Event()
    server = HttpServer(shutdown)

    async def serve(*, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
        given = {"port": 0, "grace": 0, **options}
        await serve_http(loader, shutdown=shutdown, task_status=task_status, **given)
        server.ended.set()

    async with trio.open_nursery() as nursery:
        _, server.port = await nursery.start(serve)
        yield server
        nursery.cancel_scope.cancel()


_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "by hand", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call_request(name: str, arguments: dict[str, Any], number: object = 1) -> dict[str, Any]:
    """A call of a tool in the revision in which each request stands alone."""
    params = {"name": name, "arguments": arguments, "_meta": dict(_META)}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def modern_headers(request: dict[str, Any]) -> dict[str, str]:
    """What the HTTP request for a message has as its headers."""
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": request["method"]}
    if "name" in request.get("params", {}):
        headers["Mcp-Name"] = request["params"]["name"]
    return headers


def post(
    body: bytes | dict[str, Any], headers: dict[str, str] | None = None, path: str = "/mcp"
) -> bytes:
    """The bytes of an HTTP request."""
    if isinstance(body, dict):
        headers = {**modern_headers(body), **(headers or {})}
        body = json.dumps(body).encode()
    every = {
        "Host": "127.0.0.1",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in every.items() if value)
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
