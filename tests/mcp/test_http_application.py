"""What is refused before anything reads it, and garbage, over HTTP."""

from __future__ import annotations

import json
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.mcp.serving import HttpServer, call_request, over_http, post

from wasmpool._mcp import http_application, http_connection
from wasmpool._mcp.allowed_hosts import AllowedHosts
from wasmpool.mcp import serve_http

if TYPE_CHECKING:
    import wasmpool

TOKEN = "secret"  # noqa: S105 - of these tests
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - to be refused
ECHO = call_request("echo", {"message": "hello"})


async def exchange(server: HttpServer, sent: bytes) -> tuple[int, str]:
    """Send a request; return the status and the rest of the answer, 0 if there is none."""
    async with await server.connect() as stream:
        await stream.send_all(sent.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        try:
            reply = b"".join([part async for part in stream])
        except trio.BrokenResourceError:
            reply = b""
    if not reply.startswith(b"HTTP/"):  # nothing, or frames of HTTP/2
        return 0, ""
    head, _, rest = reply.decode("latin-1").partition("\r\n")
    return int(head.split()[1]), rest


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Host", "localhost", 200),
        ("Host", "LOCALHOST:8000", 200),
        ("Host", "[::1]:8000", 200),
        ("Host", "tools.example", 200),
        ("Host", "tools.example:81", 200),
        ("Host", "only.example:81", 200),
        ("Host", "only.example:82", 421),
        ("Host", "evil.example", 421),
        ("Host", "localhost.evil.example", 421),
        ("Host", "localhost:8000@evil.example", 421),
        ("Host", "evil.example/localhost", 421),
        ("Host", "", 400),  # the server itself refuses it
        ("Origin", "http://localhost:3000", 200),
        ("Origin", "https://tools.example", 200),
        ("Origin", "https://app.example", 200),
        ("Origin", "http://app.example", 403),
        ("Origin", "https://app.example:444", 403),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "file://localhost", 403),
    ],
)
async def test_hosts_and_origins(
    loader: wasmpool.Loader, header: str, value: str, status: int
) -> None:
    """Foreign ones are refused, on all routes."""

    async def page(_: Any) -> PlainTextResponse:
        return PlainTextResponse("a page")

    hosts, origins = ["tools.example", "only.example:81"], ["https://app.example"]
    allowed = {"allowed_hosts": hosts, "allowed_origins": origins}
    async with over_http(
        loader, routes=[Route("/page", page, methods=["POST"])], **allowed
    ) as server:
        for path in ("/mcp", "/page"):
            got, _ = await exchange(server, post(ECHO, {header: value}, path))
            assert got == status


@pytest.mark.parametrize("wrong", ["a b", "", "ftp://a", "a/b", "*"])
def test_allowed_hosts_that_are_none(wrong: str) -> None:
    """An error that shows it."""
    with pytest.raises(ValueError, match="allowed_hosts must be names or addresses"):
        AllowedHosts([wrong])
    with pytest.raises(ValueError, match="allowed_origins must be origins"):
        AllowedHosts([], [wrong])
    with pytest.raises(TypeError, match="allowed_hosts must be a list of strings, not 'a'"):
        AllowedHosts("a")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic secret",
        "Bearer secretx",
        "secret",
        "Bearer sécret",
    ],
)
async def test_a_wrong_token(
    loader: wasmpool.Loader, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused, with what is missing, and the token is in no log."""
    caplog.set_level(logging.DEBUG)
    async with over_http(loader, token=TOKEN) as server:
        status, rest = await exchange(server, post(ECHO, {"Authorization": given}))
        assert status == 401
        assert "www-authenticate: bearer" in rest.lower()
        status, _ = await exchange(server, post(ECHO, {"Authorization": "Bearer secret"}))
        assert status == 200
    assert "secret" not in caplog.text


async def test_an_address_of_other_machines_needs_a_token(loader: wasmpool.Loader) -> None:
    """It is refused at the start."""
    with pytest.raises(ValueError, match="the address 0.0.0.0 can be reached from other machines"):
        await serve_http(loader, host=EVERY_ADDRESS, port=0)
    async with over_http(loader, host=EVERY_ADDRESS, token=TOKEN):
        pass


@pytest.mark.parametrize("token", ["", " "])
async def test_an_empty_token_is_no_token(loader: wasmpool.Loader, token: str) -> None:
    """It may come from a variable that is not set; every client could send it."""
    with pytest.raises(ValueError, match="token must not be empty"):
        await serve_http(loader, host=EVERY_ADDRESS, port=0, token=token)


async def test_a_body_that_is_too_large(loader: wasmpool.Loader) -> None:
    """Whether its size is told before or not."""
    large = call_request("echo", {"message": "x" * http_application.MAX_BODY})
    async with over_http(loader) as server:
        status, _ = await exchange(server, post(large)[:10_000])
        assert status == 413
        head, _, body = post(large).partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if b"Content-Length" not in line]
        chunked = b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""])
        status, _ = await exchange(
            server, chunked + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        )
        assert status in (413, 0)  # the connection may be closed before all of it is sent
        status, _ = await exchange(server, post(ECHO))
        assert status == 200


async def test_a_body_that_does_not_come(
    loader: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for only so long."""
    monkeypatch.setattr(http_application, "_BODY_SECONDS", 0.05)
    async with over_http(loader) as server:
        status, _ = await exchange(server, post(ECHO)[:-5])
        assert status == 408


async def test_too_many_requests(loader: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are refused, and it goes on when there are fewer."""
    monkeypatch.setattr(http_application, "_MAX_REQUESTS", 1)
    async with over_http(loader) as server:
        async with await server.connect() as first:
            await first.send_all(post(ECHO)[:-5])
            while (got := await exchange(server, post(ECHO)))[0] == 200:
                pass
            assert got[0] == 503
        while (got := await exchange(server, post(ECHO)))[0] == 503:
            pass
        assert got[0] == 200


def garbage(random_: random.Random) -> bytes:
    """A request with something wrong."""
    valid = post(ECHO, {"Mcp-Session-Id": random_.choice(["", "x", "0" * 32])})
    deep = b"[" * 100_000
    strange: list[Any] = [None, True, 1e300, [], {}, "x" * 1_000, -1, [[]], {"a": {}}]
    some = random_.choice
    key = some(["jsonrpc", "id", "method", "params"])
    message = {**ECHO, key: some(strange)}
    if random_.random() < 0.5:
        message["params"] = {**ECHO["params"], some(["name", "arguments", "_meta"]): some(strange)}
    wrong_type = json.dumps(message).encode()
    at = random_.randrange(len(valid))
    legacy = {"MCP-Protocol-Version": some(["2025-11-25", "2024-11-05", "1999-01-01", "\xff", ""])}
    return some(
        [
            valid[:at],
            valid[:at] + bytes([random_.randrange(256)]) + valid[at + 1 :],
            random_.randbytes(200) + b"\r\n\r\n",
            post(deep, some([{}, {"MCP-Protocol-Version": "2026-07-28"}])),
            post(wrong_type, {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}),
            post(wrong_type, legacy),
            post(b"\xff\xfe" + random_.randbytes(50)),
            post(b"", legacy),
            post(json.dumps([ECHO] * 3).encode(), legacy),
            post(json.dumps({"jsonrpc": "2.0", "method": "notifications/x"}).encode(), legacy),
            post(ECHO, {"Content-Type": some(["", "text/plain", "x" * 20_000])}),
            post(ECHO, {"Accept": some(["", "text/html", "application/json"])}),
            post(ECHO, {"Content-Length": some(["-1", "x", "1" * 30, "3"])}),
            post(ECHO, path=some(["/", "/mcp/", "//mcp", "/mcp?x=" + "y" * 5_000, "/%00", "*"])),
            valid.replace(b"POST", some([b"GET", b"DELETE", b"PUT", b"OPTIONS", b"P" * 99])),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random_.randbytes(100),
        ]
    )


@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=pytest.mark.slow)])
async def test_requests_of_garbage(
    loader: wasmpool.Loader, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Each gets an error or a closed connection, and the server goes on."""
    monkeypatch.setattr(http_application, "_BODY_SECONDS", 0.1)  # many are cut off
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 0.1)
    random_ = random.Random(15)
    statuses: dict[int, int] = {}

    async def client(server: HttpServer) -> None:
        for _ in range(count // 10):
            status, _ = await exchange(server, garbage(random_))
            statuses[status] = statuses.get(status, 0) + 1

    async with over_http(loader) as server:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(client, server)
        status, rest = await exchange(server, post(ECHO))
        assert status == 200
        assert "hello" in rest
    assert 500 not in statuses
    assert len(statuses) > 4, statuses
    print(statuses)
