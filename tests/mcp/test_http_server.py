"""What a server does with its connections, whatever is asked over them."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from starlette.routing import Route
from tests.mcp.serving import call_request, over_http, post

from wasmpool._mcp import http_connection, http_server
from wasmpool._mcp.catalog import Catalog
from wasmpool._mcp.endpoint import open_endpoint
from wasmpool.mcp import app, serve_http

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable

    import wasmpool

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ECHO = call_request("echo", {"message": "hello"})


@pytest.mark.parametrize("sent", [b"", b"POST /mcp HTTP/1.1\r\nHost:", PREFACE])
async def test_a_silent_connection_is_closed(
    loader: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Also one that has sent a part of a request, or has opened HTTP/2."""
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 0.05)
    async with over_http(loader) as server, await server.connect() as stream:
        if sent:
            await stream.send_all(sent)
        assert (await _all(stream))[:5] != b"HTTP/"


async def _all(stream: trio.SocketStream) -> bytes:
    try:
        return b"".join([part async for part in stream])
    except trio.BrokenResourceError:
        return b""


class _Endless:
    """An answer without an end."""

    def __init__(self) -> None:
        self.ended = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, send)
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()
        finally:
            self.ended.set()

    async def _send(self, send: Any) -> None:
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})


async def test_a_client_that_reads_nothing_is_disconnected(
    loader: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds up neither what it has asked for nor a shutdown."""
    monkeypatch.setattr(http_server, "_UNREAD_SECONDS", 0.05)
    endless = _Endless()
    routes = [Route("/endless", endless, methods=["POST"])]
    async with over_http(loader, routes=routes) as server, await server.connect() as stream:
        await stream.send_all(post(ECHO, path="/endless"))
        await endless.ended.wait()


async def test_connections_are_bounded(
    loader: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more waits until another one is closed."""
    monkeypatch.setattr(http_server, "_MAX_CONNECTIONS", 1)
    async with over_http(loader) as server:
        first = await server.connect()
        second = await server.connect()  # the system has accepted it
        async with first, second:
            await second.send_all(post(ECHO))
            await first.send_all(post(ECHO))
            assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
            await first.aclose()
            assert (await second.receive_some()).startswith(b"HTTP/1.1 200")


class _FailingListener:
    """A socket whose first accepts fail."""

    def __init__(self, inner: socket.socket, *failures: OSError) -> None:
        self._inner = inner
        self._failures = list(failures)

    def fileno(self) -> int:
        return self._inner.fileno()

    def accept(self) -> Any:
        if self._failures:
            raise self._failures.pop(0)
        return self._inner.accept()


async def test_no_descriptor_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, and connections are accepted again later."""
    monkeypatch.setattr(http_server, "_ACCEPT_PAUSE", 0.01)
    (listener,) = await http_server.listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        failures = OSError(errno.EMFILE, os.strerror(errno.EMFILE)), ConnectionAbortedError()
        failing: Any = _FailingListener(listener, *failures)
        accepted = await http_server._accept(failing)
        accepted.close()
    assert "no connection can be accepted: [Errno 24] Too many open files" in caplog.text


async def test_a_port_that_is_taken(loader: wasmpool.Loader) -> None:
    """The error is the system's."""
    (listener,) = await http_server.listen("127.0.0.1", 0)
    with listener:
        _, port = listener.getsockname()
        with pytest.raises(OSError, match="in use"):
            await serve_http(loader, port=port)


async def test_all_addresses_of_a_host_have_one_port() -> None:
    """A client may try any of them first."""
    sockets = await http_server.listen("localhost", 0)
    assert len({each.getsockname()[1] for each in sockets}) == 1
    http_server.close_all(sockets)


async def test_a_cancel_at_any_step(
    loader: wasmpool.Loader,
    cancelled_at: Callable[[int], contextlib.AbstractContextManager[trio.CancelScope]],
) -> None:
    """A start that is cancelled leaves no task and no socket, and no other error."""
    step = 0
    cancelled = True
    while cancelled:
        step += 3  # each takes a while; all kinds of steps are met
        with cancelled_at(step) as scope:
            async with over_http(loader) as server, await server.connect() as stream:
                await stream.send_all(post(ECHO))
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        cancelled = scope.cancelled_caught
    assert step > 20


async def test_an_application_for_another_server(loader: wasmpool.Loader) -> None:
    """`app` opens its endpoint in its lifespan, and serves no other kind of scope than HTTP."""
    application: Any = app(loader)
    sent: list[Any] = []
    go = trio.Event()
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        if sent:
            await go.wait()
        return {"type": next(asked)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(application, {"type": "lifespan"}, receive, send)
        await trio.testing.wait_all_tasks_blocked()
        assert sent == ["lifespan.startup.complete"]
        await application({"type": "websocket", "headers": []}, receive, send)
        go.set()
    assert sent[1:] == ["websocket.close", "lifespan.shutdown.complete"]


async def test_too_many_calls(loader: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused by a sentence."""
    monkeypatch.setattr("wasmpool._mcp.endpoint.MAX_CALLS", 0)
    async with open_endpoint(Catalog(loader)) as endpoint:
        result = await endpoint.call("echo", {"message": 1})
    assert result.is_error
    assert result.data == "the server is busy: 0 calls are under way"
    assert repr(endpoint) == "<Endpoint drained: 0 calls, 10 tools>"
