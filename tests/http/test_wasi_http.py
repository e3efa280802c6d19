"""HTTP of components, by the client of plugins, against a real server on loopback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool import HttpPolicy, WasiHttp, open_wasi_http
from wasmpool_host.lowlevel import WasiHttpFailure, WasiHttpReply, WasiHttpRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.http.server import Server

LOCAL = HttpPolicy(allow_private=True)


@pytest.fixture
async def http() -> AsyncGenerator[WasiHttp, None]:
    async with open_wasi_http(LOCAL) as http:
        yield http


def request(url: str, **parts: Any) -> WasiHttpRequest:
    given = {"method": "GET", "headers": [], "body": b"", "timeout": None, **parts}
    return WasiHttpRequest(url=url, **given)


async def failure(http: WasiHttp, asked: WasiHttpRequest) -> WasiHttpFailure:
    with pytest.raises(WasiHttpFailure) as caught:
        await http._send(asked)
    return caught.value


async def test_a_request_arrives_as_it_was_made(http: WasiHttp, server: Server) -> None:
    """With its method, headers and body; the host adds those of the connection."""
    headers = [("X-One", b"1"), ("X-One", b"2")]
    reply = await http._send(
        request(f"{server.url}/echo?q=1", method="PUT", headers=headers, body=b"hello")
    )
    assert isinstance(reply, WasiHttpReply)
    assert (reply.status, dict(reply.headers)["content-type"]) == (200, b"text/json")
    seen = json.loads(reply.body)
    assert (seen["method"], seen["target"]) == ("PUT", "/echo?q=1")
    sent = [(name.lower(), value) for name, value in seen["headers"]]
    assert [each for each in sent if each[0] == "x-one"] == [("x-one", "1"), ("x-one", "2")]
    assert ("content-length", "5") in sent


async def test_the_policy_decides(server: Server) -> None:
    """What it forbids is denied, before a connection is made."""
    for policy in (HttpPolicy(), HttpPolicy(allow_private=True, allow_hosts=["example.com"])):
        async with open_wasi_http(policy) as http:
            denied = await failure(http, request(f"{server.url}/echo"))
            assert denied.case == "HTTP-request-denied"
    assert server.connections == 0


async def test_a_request_takes_no_longer_than_it_may(http: WasiHttp, server: Server) -> None:
    """What the component asks for, or the policy's default, and never more than its most."""
    late = await failure(http, request(f"{server.url}/hang", timeout=0.05))
    assert late.case == "HTTP-response-timeout"
    policy = HttpPolicy(allow_private=True, default_timeout=0.05, max_timeout=0.1)
    async with open_wasi_http(policy) as short:
        for timeout in (None, 1000.0):
            late = await failure(short, request(f"{server.url}/hang", timeout=timeout))
            assert late.case == "HTTP-response-timeout"


async def test_other_failures_have_a_text(http: WasiHttp, server: Server) -> None:
    """For the author of the component."""
    policy = HttpPolicy(allow_private=True, max_response=100)
    async with open_wasi_http(policy) as small:
        large = await failure(small, request(f"{server.url}/big?size=1000"))
    assert large.case == "internal-error"
    assert "100" in large.text
    assert (await failure(http, request(server.url, method="CONNECT"))).case == (
        "HTTP-request-method-invalid"
    )


async def test_the_end_of_the_block_ends_requests(server: Server) -> None:
    """And their connections; what asks later is told to close the pool first."""
    async with open_wasi_http(LOCAL) as http:
        http._start(http._send, request(f"{server.url}/hang"))
        while not server.waiting:
            await trio.lowlevel.checkpoint()
    with trio.fail_after(20):
        while not server.gone:
            await trio.lowlevel.checkpoint()
    with pytest.raises(RuntimeError, match="close the pool first"):
        http._start(http._send, request(server.url))


async def test_a_cancel_ends_the_block(server: Server) -> None:
    """Whatever is under way in it."""
    with trio.CancelScope() as scope:
        async with open_wasi_http(LOCAL) as http:
            http._start(http._send, request(f"{server.url}/hang"))
            while not server.waiting:
                await trio.lowlevel.checkpoint()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_only_a_policy_is_one() -> None:
    """The sentence says what to give."""
    with pytest.raises(TypeError, match=r"takes an HttpPolicy\(\.\.\.\), not None"):
        async with open_wasi_http(None):  # type: ignore[arg-type]
            pass
