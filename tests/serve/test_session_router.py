"""Requests for a session of another worker are passed on, as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from wasmpool._serve.session_router import SessionRouter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.types import Message, Receive, Scope, Send

ANSWER = (
    b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)


async def inner(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers with the session that it is asked for, and opens one of its own."""
    seen = dict(scope["headers"]).get(b"mcp-session-id", b"none")
    headers = [(b"mcp-session-id", b"opened")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": seen})


def request(session: bytes | None, body: bytes = b"{}") -> Scope:
    headers = [(b"host", b"localhost"), (b"content-length", str(len(body)).encode())]
    if session is not None:
        headers.append((b"mcp-session-id", session))
    return {
        "type": "http",
        "method": "POST",
        "raw_path": b"/mcp",
        "query_string": b"a=b",
        "headers": headers,
    }


async def ask(router: SessionRouter, scope: Scope, body: bytes = b"{}") -> list[Message]:
    sent: list[Message] = []
    read = False

    async def receive() -> Message:
        nonlocal read
        if read:
            await trio.sleep_forever()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    with trio.fail_after(30):
        await router.around(inner)(scope, receive, send)
    return sent


@pytest.fixture
async def peer() -> AsyncGenerator[Callable[[bytes], Awaitable[tuple[int, list[bytes]]]]]:
    """Another worker, with an answer to each request; its port, and what it was sent."""
    async with trio.open_nursery() as nursery:

        async def start(answer: bytes) -> tuple[int, list[bytes]]:
            received: list[bytes] = []

            async def serve(stream: trio.SocketStream) -> None:
                data = b""
                while b"\r\n\r\n" not in data or not data.endswith(b"{}"):
                    data += await stream.receive_some()
                received.append(data)
                await stream.send_all(answer)
                await stream.aclose()

            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            return listeners[0].socket.getsockname()[1], received

        yield start
        nursery.cancel_scope.cancel()


async def test_a_session_of_its_own_is_named_by_its_key() -> None:
    """The key comes before the name in an answer, and goes from the name in a request."""
    router = SessionRouter(1)
    assert router.key.startswith("1-")
    start, body = await ask(router, request(None))
    assert start["headers"] == [(b"mcp-session-id", f"{router.key}.opened".encode())]
    assert body["body"] == b"none"
    _, body = await ask(router, request(f"{router.key}.opened".encode()))
    assert body["body"] == b"opened"


@pytest.mark.parametrize("session", [b"unknown", b"9-abc.unknown", b".", b"\xff.\xff"])
async def test_a_session_of_nobody_stays_as_it_is(session: bytes) -> None:
    """The protocol says that there is none."""
    _, body = await ask(SessionRouter(1), request(session))
    assert body["body"] == session


async def test_a_session_of_another_worker_is_passed_on(peer: Any) -> None:
    """The request and its answer are the same, but for what is about the connection."""
    port, received = await peer(ANSWER)
    router = SessionRouter(1)
    router.ports = {"2-abc": port}
    start, *parts = await ask(router, request(b"2-abc.theirs"))
    assert (start["status"], start["headers"]) == (201, [(b"content-type", b"text/plain")])
    assert b"".join(part["body"] for part in parts) == b"hello"
    assert not parts[-1].get("more_body", False)
    head, _, sent = received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /mcp?a=b HTTP/1.1\r\n")
    assert b"mcp-session-id: 2-abc.theirs" in head
    assert sent == b"{}"


@pytest.mark.parametrize(
    "answer", [b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"]
)
async def test_a_worker_that_ends_before_it_answers(answer: bytes, peer: Any) -> None:
    """The client is told so."""
    router = SessionRouter(1)
    router.ports = {"2-abc": (await peer(answer))[0]}
    start, body = await ask(router, request(b"2-abc.theirs"))
    assert (start["status"], body["body"]) == (502, b"the worker with this session has ended\n")


async def test_a_worker_that_ends_in_the_middle_of_its_answer(peer: Any) -> None:
    """The connection has to be broken: the answer is not whole."""
    router = SessionRouter(1)
    router.ports = {"2-abc": (await peer(ANSWER[:-8]))[0]}
    with pytest.raises(ExceptionGroup):
        await ask(router, request(b"2-abc.theirs"))


async def test_a_worker_that_is_gone_has_no_sessions() -> None:
    """Its port is closed: 404 tells the client to open another session."""
    router = SessionRouter(1)
    async with trio.open_nursery():
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        router.ports = {"2-abc": listener.socket.getsockname()[1]}
        await listener.aclose()
    start, _ = await ask(router, request(b"2-abc.theirs"))
    assert start["status"] == 404


async def test_a_client_that_is_gone_ends_the_request(peer: Any) -> None:
    """The other worker sees its connection closed, and ends the call."""
    closed = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass
        closed.set()

    async def gone() -> Message:
        await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        raise AssertionError

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        router = SessionRouter(1)
        router.ports = {"2-abc": listeners[0].socket.getsockname()[1]}
        await router.around(inner)(request(b"2-abc.theirs"), gone, send)
        with trio.fail_after(30):
            await closed.wait()
        nursery.cancel_scope.cancel()
