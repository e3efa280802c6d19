"""What a server sends is bounded before it is looked at, and never holds the loop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.held_loop import HELD, watching
from tests.http.misbehaving_server import HTTP1, HTTP2, Server, serving

from wasmpool._http import message
from wasmpool._http.host_function import Http
from wasmpool._http.policy import HttpPolicy
from wasmpool_host._scheduling.loop_budget import BUDGET, budget_of_this_run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def bad() -> AsyncGenerator[Server, None]:
    async with serving(0) as server:
        yield server


@pytest.fixture
async def http() -> AsyncGenerator[Http, None]:
    http = Http(HttpPolicy(allow_private=True, max_timeout=60), 16 << 20)
    await http.import_client()
    yield http
    await http.aclose()


async def ask(http: Http, url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    request = {"url": url, "headers": headers or {}}
    reply: dict[str, Any] = json.loads(await http.answer(json.dumps(request).encode()))
    return reply


FLOODS = {
    "informational_flood": "the reply has more than 5 informational replies before it",
    "header_flood": "the reply's head is too large: more than 102,400 bytes or 1,000 lines",
    "long_header": "the reply's head is too large",
    "many_headers": "the reply's head is too large",
    "one_byte_chunk_flood": "the reply came in too many pieces: 10,32",
    "chunk_extension_flood": "Receive buffer too long",
    "trailer_flood": "the reply has more than 100 trailers",
    "many_trailers": "the reply has more than 100 trailers",
    "endless_length": "bad Content-Length",
    "endless_body": "the reply is too large: more than 10,485,760 bytes",
    "gzip_bomb": "the reply is too large: more than 10,485,760 bytes",
    "gzip_of_nothing": "the reply's gzip stream is broken",
}
FLOODS_OF_HTTP2 = {
    "ping_flood": "the server sent more than 10,000 HTTP/2 frames beside the reply",
    "settings_flood": "the server sent more than 10,000 HTTP/2 frames beside the reply",
    "window_update_flood": "the server sent more than 10,000 HTTP/2 frames beside the reply",
    "unknown_flood": "the server sent more than 10,000 HTTP/2 frames beside the reply",
    "many_settings": "the server sent too many HTTP/2 settings",
    "empty_data_flood": "the reply came in too many pieces: 10,001 for 0 bytes",
    "one_byte_data_flood": "the reply came in too many pieces: 10,32",
    "continuation_flood": "the reply's head is too large",
    "long_continuation": "the reply's head is too large",
    "informational_flood": "the reply has more than 5 informational replies before it",
    "many_headers": "Oversized header block",
    "too_long_frame": "the server sent an HTTP/2 frame of 1,048,576 bytes, above 16,384",
}


@pytest.fixture
def few_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a reply come in a tenth of the pieces that are allowed: ten times as many take long."""
    monkeypatch.setattr(message, "_PIECES", 10_000)


def test_a_reply_may_come_in_a_hundred_thousand_pieces_and_one_for_each_32_bytes() -> None:
    """A reply in reasonable pieces never has as many."""
    assert not message.too_many_pieces(100_000, 31)
    assert message.too_many_pieces(100_001, 31)
    assert not message.too_many_pieces(100_001, 32)


@pytest.mark.usefixtures("few_pieces")
@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_an_error(http: Http, bad: Server, name: str) -> None:
    """It has a limit, which the reply names, and the loop goes on meanwhile."""
    assert name in HTTP1
    with watching() as longest:
        reply = await ask(http, f"{bad.url}/{name}/token")
    assert reply["status"] == 0
    assert FLOODS[name] in reply["body"]
    assert longest.seconds < HELD


@pytest.mark.usefixtures("few_pieces")
@pytest.mark.parametrize("name", FLOODS_OF_HTTP2)
async def test_a_flood_of_frames_is_an_error(http: Http, bad: Server, name: str) -> None:
    """It has a limit, which the reply names, and the loop goes on meanwhile."""
    assert name in HTTP2
    with watching() as longest:
        reply = await ask(http, f"{bad.url}/{name}/token", {"X-H2C": "1"})
    assert reply["status"] == 0
    assert FLOODS_OF_HTTP2[name] in reply["body"]
    assert longest.seconds < HELD


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "headers", "pieces"),
    [
        ("one_byte_chunk_flood", {}, "103,2"),
        ("empty_data_flood", {"X-H2C": "1"}, "100,001 for 0 bytes"),
        ("one_byte_data_flood", {"X-H2C": "1"}, "103,2"),
    ],
)
async def test_a_flood_of_all_pieces_that_are_allowed_is_an_error(
    http: Http, bad: Server, name: str, headers: dict[str, str], pieces: str
) -> None:
    """The same, at the limit that users have."""
    with watching() as longest:
        reply = await ask(http, f"{bad.url}/{name}/token", headers)
    assert reply["status"] == 0
    assert f"the reply came in too many pieces: {pieces}" in reply["body"]
    assert longest.seconds < HELD


@pytest.mark.parametrize(
    ("name", "headers", "size"),
    [
        ("one_byte_chunks", {}, 5005),
        ("gzipped", {}, 100_005),
        ("dripped", {}, 5),
        ("one_byte_data", {"X-H2C": "1"}, 2005),
        ("huffman", {"X-H2C": "1"}, 5),
    ],
)
async def test_many_pieces_within_reason_are_a_reply(
    http: Http, bad: Server, name: str, headers: dict[str, str], size: int
) -> None:
    """Small pieces are allowed, and the loop goes on between them."""
    with watching() as longest:
        reply = await ask(http, f"{bad.url}/{name}/token", headers)
    assert (reply["status"], len(reply["body"])) == (200, size)
    assert reply["body"].endswith("token")
    assert longest.seconds < HELD


async def test_many_requests_share_the_loop(http: Http, bad: Server) -> None:
    """Sixteen floods at once hold it no longer than one: they share one budget."""
    async with trio.open_nursery() as nursery:
        with watching() as longest:
            async with trio.open_nursery() as floods:
                for number in range(8):
                    floods.start_soon(ask, http, f"{bad.url}/one_byte_chunks/{number}")
                    h2c = {"X-H2C": "1"}
                    floods.start_soon(ask, http, f"{bad.url}/one_byte_data/{number}", h2c)
        nursery.cancel_scope.cancel()
    assert longest.seconds < HELD


async def test_a_reply_waits_for_the_loop_when_its_budget_is_spent(http: Http, bad: Server) -> None:
    """What others took of a pass counts, and what a reply takes counts for them."""
    budget = budget_of_this_run()
    spent: list[float] = []

    class Noting(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            del timeout
            spent.append(budget.spent)

    noting = Noting()
    trio.lowlevel.add_instrument(noting)
    reply = await ask(http, f"{bad.url}/one_byte_chunks/token")
    trio.lowlevel.remove_instrument(noting)
    assert reply["status"] == 200
    assert max(spent) > BUDGET / 2
    assert len(spent) > 20


@pytest.mark.parametrize("path", ["%" * 16_300, "a/../" * 3_000, "?a=b" * 4_000])
async def test_a_long_url_is_read(http: Http, bad: Server, path: str) -> None:
    """Within 16 KiB, and the loop goes on after it."""
    with watching() as longest:
        reply = await ask(http, f"{bad.url}/right/{path}")
    assert reply["status"] in (0, 200)
    assert "InvalidURL" not in reply["body"]
    assert longest.seconds < HELD


@pytest.mark.parametrize("path", ["%" * 16_384, "ü" * 8200, "x" * 1_000_000])
async def test_a_longer_url_is_refused(http: Http, bad: Server, path: str) -> None:
    """Before it is read."""
    reply = await ask(http, f"{bad.url}/right/{path}")
    assert reply["status"] == 0
    assert "is too long: " in reply["body"]
    assert "bytes, above 16,384" in reply["body"]
    assert bad.connections == 0


async def test_a_redirect_to_a_longer_url_is_refused(http: Http, server: Any) -> None:
    """The limit is the same for servers."""
    to = f"/{'x' * 20_000}"

    async def far(request: Any) -> Any:
        return type(await server.do_cookie(request))(302, b"", (("location", to),))

    server.route["/far"] = far
    reply = await ask(http, f"{server.url}/far")
    assert reply["status"] == 0
    assert "is too long: 20,001 bytes" in reply["body"]
