"""No request is answered by what came before it: only a connection at rest is used again."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.http.misbehaving_server import HTTP1, HTTP2, RIGHT, Server, answers_another, serving

from wasmpool._http.host_function import Http
from wasmpool._http.policy import HttpPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

H2C = {"X-H2C": "1"}


async def ask(http: Http, url: str, **request: object) -> dict[str, Any]:
    answer = await http.answer(json.dumps({"url": url, **request}).encode())
    reply: dict[str, Any] = json.loads(answer)
    return reply


@pytest.fixture
async def bad() -> AsyncGenerator[Server, None]:
    async with serving(0) as server:
        yield server


@pytest.fixture
async def http() -> AsyncGenerator[Http, None]:
    policy = HttpPolicy(allow_private=True, allow_hosts=["127.0.0.1", "localhost"], max_timeout=20)
    http = Http(policy, 16 << 20)
    yield http
    await http.aclose()


def ending(names: Iterable[str]) -> list[str]:
    """What ends by itself, and soon."""
    return [each for each in sorted(names) if not each.startswith("hang") and "flood" not in each]


@pytest.mark.parametrize("first", ending(HTTP1))
async def test_the_next_request_has_its_own_answer(http: Http, bad: Server, first: str) -> None:
    """Whatever a server of HTTP/1.1 did to the last request, it does nothing to the next."""
    reply = await ask(http, f"{bad.url}/{first}/one")
    assert not answers_another(reply, "one"), reply
    assert bool(reply["status"]) == (first in RIGHT or first == "early"), reply
    reply = await ask(http, f"{bad.url}/right/two")
    assert (reply["status"], reply["body"]) == (200, "two")


@pytest.mark.parametrize("first", ending(HTTP2))
async def test_the_next_request_has_its_own_answer_over_http2(
    http: Http, bad: Server, first: str
) -> None:
    """Whatever a server of HTTP/2 did to the last request, it does nothing to the next."""
    reply = await ask(http, f"{bad.url}/{first}/one", headers=H2C)
    assert not answers_another(reply, "one"), reply
    reply = await ask(http, f"{bad.url}/right/two", headers=H2C)
    assert (reply["status"], reply["body"]) == (200, "two")


@pytest.mark.parametrize("first", [name for name in sorted(RIGHT) if name.startswith("surplus")])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_surplus_bytes_close_the_connection(
    http: Http, bad: Server, first: str, method: str
) -> None:
    """One byte after a whole reply is enough."""
    await ask(http, f"{bad.url}/{first}/one", method=method, body="" if method == "GET" else "x")
    await ask(http, f"{bad.url}/right/two")
    assert bad.connections == 2


async def test_a_body_after_head_closes_the_connection(http: Http, bad: Server) -> None:
    """A server that answers HEAD with a body has said too much."""
    reply = await ask(http, f"{bad.url}/right/one", method="HEAD")
    assert (reply["status"], reply["body"]) == (200, "")
    assert (await ask(http, f"{bad.url}/right/two"))["body"] == "two"
    assert bad.connections == 2


async def test_what_arrives_while_a_connection_is_idle_closes_it(
    http: Http, bad: Server, until: Until
) -> None:
    """A connection with news is not used again."""
    assert (await ask(http, f"{bad.url}/surplus_later/one"))["body"] == "one"
    await until(lambda: bad.sent_late == 1)
    assert (await ask(http, f"{bad.url}/right/two"))["body"] == "two"
    assert bad.connections == 2


@pytest.mark.parametrize(
    ("names", "headers", "connections"),
    [
        (("right", "chunked", "informed", "redirect", "one_byte_chunks", "right"), {}, 1),
        (("right", "one_byte_data", "noisy", "right"), H2C, 1),
        (("closing", "right"), {}, 2),
        (("old", "right"), {}, 2),
        (("two_lengths_of_a_kind", "right"), {}, 2),
        (("without_length", "right"), {}, 2),
        (("going_away", "right"), H2C, 2),
    ],
)
async def test_a_connection_at_rest_is_used_again(
    http: Http, bad: Server, names: tuple[str, ...], headers: dict[str, str], connections: int
) -> None:
    """And no other: not if the server says that it closes, nor if a reply could have two ends."""
    for name in names:
        reply = await ask(http, f"{bad.url}/{name}/token", headers=headers)
        assert reply["body"].endswith("token")
    assert bad.connections == connections


@pytest.mark.parametrize(("first", "headers"), [("early", {}), ("early_2", H2C)])
async def test_a_reply_may_come_before_the_request_was_sent(
    http: Http, bad: Server, first: str, headers: dict[str, str]
) -> None:
    """A server that refuses a large body unread is heard, and its connection not used again."""
    body = "x" * (8 << 20)
    reply = await ask(http, f"{bad.url}/{first}/one", method="POST", body=body, headers=headers)
    assert reply["body"].endswith("one")
    assert (await ask(http, f"{bad.url}/right/two", headers=headers))["body"] == "two"
    assert bad.connections == 2


@pytest.mark.parametrize("headers", [{}, H2C])
async def test_a_large_body_is_sent_whole(http: Http, server: Any, headers: dict[str, str]) -> None:
    """Through windows and pieces, and the connection is at rest after it."""
    seen: list[bytes] = []

    async def count(request: Any) -> Any:
        seen.append(request.body)
        return type(await server.do_cookie(request))(body=b"ok")

    server.route["/count"] = count
    body = bytes(range(256)) * 1000
    encoded = base64.b64encode(body).decode()
    for _ in range(2):
        reply = await ask(
            http, f"{server.url}/count", method="PUT", body_base64=encoded, headers=headers
        )
        assert reply["body"] == "ok", reply
    assert seen == [body, body]
    assert server.connections == 1


@pytest.mark.parametrize("headers", [{}, H2C])
async def test_a_cancelled_request_answers_no_other(
    http: Http, server: Any, cancelled_at: Any, headers: dict[str, str]
) -> None:
    """Wherever a large upload is cancelled, the next request has its own answer."""
    body = "x" * 100_000
    step, done = 0, False
    while not done:
        step += 1
        with cancelled_at(step):
            url = f"{server.url}/echo?cancelled={step}"
            await ask(http, url, method="POST", body=body, headers=headers)
            done = True
        reply = await ask(http, f"{server.url}/echo?next={step}", headers=headers)
        assert reply["status"] == 200, reply
        assert json.loads(reply["body"])["target"] == f"/echo?next={step}"
    assert step > 10


# --- a connection that ends when it is used again ---


async def test_a_request_that_harms_nobody_is_repeated(http: Http, bad: Server) -> None:
    """The server closed the idle connection when a GET was on its way: it gets another."""
    await ask(http, f"{bad.url}/closes_at_the_next/one")
    assert (await ask(http, f"{bad.url}/right/two"))["body"] == "two"
    assert bad.connections == 2


async def test_a_request_with_a_key_is_repeated(http: Http, bad: Server) -> None:
    """A POST that a server can recognise may be sent twice, as in Go's client."""
    await ask(http, f"{bad.url}/closes_at_the_next/one")
    headers = {"Idempotency-Key": "k"}
    reply = await ask(http, f"{bad.url}/right/two", method="POST", body="x", headers=headers)
    assert reply["body"] == "two"


async def test_a_post_is_not_repeated(http: Http, bad: Server) -> None:
    """The server may have acted on it."""
    await ask(http, f"{bad.url}/closes_at_the_next/one")
    reply = await ask(http, f"{bad.url}/right/two", method="POST", body="x")
    assert (reply["status"], reply["body"]) == (
        0,
        "127.0.0.1 closed the connection without a reply",
    )
    assert bad.connections == 1


@pytest.mark.parametrize("refusal", ["gone_away", "refused"])
async def test_a_post_that_the_server_did_not_look_at_is_repeated(
    http: Http, bad: Server, refusal: str
) -> None:
    """On another connection, once: there it is refused again, and that is the answer."""
    await ask(http, f"{bad.url}/right/one", headers=H2C)
    reply = await ask(http, f"{bad.url}/{refusal}/two", method="POST", body="x", headers=H2C)
    assert reply["status"] == 0
    assert bad.connections == 2


async def test_a_new_connection_that_ends_is_an_answer(http: Http, bad: Server) -> None:
    """It is not tried again."""
    reply = await ask(http, f"{bad.url}/closed/one")
    assert (reply["status"], reply["body"]) == (
        0,
        "127.0.0.1 closed the connection without a reply",
    )
    assert bad.connections == 1


async def test_a_request_that_outlives_the_client_keeps_no_connection(
    http: Http, server: Any, until: Until
) -> None:
    """Its reply is given, and its socket closed."""
    replies: list[dict[str, Any]] = []

    async def wait() -> None:
        replies.append(await ask(http, f"{server.url}/hang"))

    def sockets() -> int:
        files = [each for each in Path("/proc/self/fd").iterdir() if each.exists()]
        return sum(str(each.readlink()).startswith("socket:") for each in files)

    before = sockets()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await until(lambda: server.waiting == 1)
        await http.aclose()
        server.release.set()
    assert replies[0]["body"] == "released"
    await until(lambda: sockets() == before)


# --- TLS ---


async def speaking_tls(
    certificate: str, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, *replies: bytes
) -> tuple[str, list[int]]:
    """A server that answers each request with the same records, all in one segment."""
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr("wasmpool._http.client._read_tls_context", lambda: trusting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    connections: list[int] = []

    async def serve(stream: trio.SocketStream) -> None:
        connections.append(1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)

        async def until_done(act: Any) -> Any:
            while True:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    await stream.send_all(outgoing.read())
                    incoming.write(await stream.receive_some())

        try:
            await until_done(tls.do_handshake)
            while await until_done(tls.read):
                for reply in replies:
                    tls.write(reply)
                await stream.send_all(outgoing.read())
        except (ssl.SSLError, trio.BrokenResourceError):
            await trio.aclose_forcefully(stream)

    nursery.start_soon(trio.serve_listeners, serve, listeners)
    return f"https://localhost:{listeners[0].socket.getsockname()[1]}", connections


async def test_surplus_in_the_tls_layer_closes_the_connection(
    http: Http, certificate: str, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    """A record that was received with the reply's, and not yet decrypted, counts."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    url, connections = await speaking_tls(
        certificate, monkeypatch, nursery, reply, reply.replace(b"ok", b"no")
    )
    for _ in range(3):
        assert (await ask(http, url))["body"] == "ok"
    assert len(connections) == 3
    nursery.cancel_scope.cancel()


async def test_a_tls_connection_at_rest_is_used_again(
    http: Http, certificate: str, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    """TLS's own messages, as session tickets, are no surplus."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    url, connections = await speaking_tls(certificate, monkeypatch, nursery, reply)
    for _ in range(3):
        assert (await ask(http, url))["body"] == "ok"
    assert len(connections) == 1
    nursery.cancel_scope.cancel()
