"""`host_http_request` without a guest: JSON in, JSON out, against a real server on loopback."""

from __future__ import annotations

import base64
import functools
import json
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wasmpool._http.host_function import Http
from wasmpool._http.policy import HttpPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

LOCAL = HttpPolicy(allow_private=True)


async def ask(http: Http, url: str, **request: object) -> dict[str, Any]:
    answer = await http.answer(json.dumps({"url": url, **request}).encode())
    reply: dict[str, Any] = json.loads(answer)
    return reply


@pytest.fixture
async def http() -> AsyncGenerator[Http, None]:
    http = Http(LOCAL, 16 << 20)
    yield http
    await http.aclose()


@pytest.fixture
async def policed() -> AsyncGenerator[Callable[[HttpPolicy], Http], None]:
    made: list[Http] = []

    def make(policy: HttpPolicy, payload: int = 16 << 20) -> Http:
        made.append(Http(policy, payload))
        return made[-1]

    yield make
    for http in made:
        await http.aclose()


def seen(reply: dict[str, Any]) -> dict[str, Any]:
    """What the server's echo saw."""
    assert reply["status"] == 200, reply
    request: dict[str, Any] = json.loads(reply["body"])
    return request


# --- requests and replies ---


async def test_get(http: Http, server: Any) -> None:
    """A GET comes out as it went in, without a body, and says who asks."""
    reply = await ask(http, f"{server.url}/echo?a=b", method="GET", headers={"X-Mine": "1"})
    request = seen(reply)
    headers = {name.lower(): value for name, value in request["headers"]}
    assert (request["method"], request["target"], request["body"]) == ("GET", "/echo?a=b", "")
    assert headers["x-mine"] == "1"
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["user-agent"] == "wasmpool"
    assert reply["headers"]["Content-Type"] == "text/json"


async def test_absent_and_null_are_the_same(http: Http, server: Any) -> None:
    """No method is GET, and a null stands for an absent value, as guests in Go send them."""
    reply = await ask(http, f"{server.url}/echo", method=None, headers=None, body=None)
    assert seen(reply)["method"] == "GET"


async def test_post_text(http: Http, server: Any) -> None:
    """A body is sent as UTF-8 with its length."""
    reply = await ask(http, f"{server.url}/echo", method="POST", body="grüße")
    request = seen(reply)
    assert base64.b64decode(request["body"]).decode() == "grüße"
    assert ["content-length", "7"] in [[n.lower(), v] for n, v in request["headers"]]


async def test_post_bytes(http: Http, server: Any) -> None:
    """A body in base64 is sent as the bytes it stands for, and counts before a text body."""
    body = base64.b64encode(bytes(range(256))).decode()
    reply = await ask(http, f"{server.url}/echo", method="PUT", body_base64=body, body="not this")
    assert base64.b64decode(seen(reply)["body"]) == bytes(range(256))


async def test_raw_reply(http: Http, server: Any) -> None:
    """X-Raw-Body has the reply in body_base64, and is not sent."""
    reply = await ask(http, f"{server.url}/bytes", headers={"X-Raw-Body": "1"})
    assert base64.b64decode(reply["body_base64"]) == bytes(range(256))
    assert reply["body"] == ""
    assert "x-raw-body" not in {name.lower() for name, _ in server.requests[0].headers}


async def test_control_headers_have_an_exact_case(http: Http, server: Any) -> None:
    """In another case they are headers like others, and sent."""
    reply = await ask(http, f"{server.url}/echo", headers={"x-raw-body": "1"})
    assert "body_base64" not in reply
    assert ["x-raw-body", "1"] in seen(reply)["headers"]


async def test_an_empty_control_header_asks_for_nothing(http: Http, server: Any) -> None:
    """An empty X-Raw-Body is no wish for a raw body, and is not sent."""
    reply = await ask(http, f"{server.url}/echo", headers={"X-Raw-Body": ""})
    assert "body_base64" not in reply
    assert "x-raw-body" not in {name.lower() for name, _ in seen(reply)["headers"]}


async def test_bytes_that_are_no_text(http: Http, server: Any) -> None:
    """A text reply is always valid JSON, whatever bytes came."""
    reply = await ask(http, f"{server.url}/bytes")
    assert reply["body"].startswith("\x00\x01")
    assert "\ufffd" in reply["body"]


async def test_error_status(http: Http, server: Any) -> None:
    """An error status is a reply like others; of a header that stands twice the first counts."""
    reply = await ask(http, f"{server.url}/status?code=503")
    assert (reply["status"], reply["body"]) == (503, "said so")
    assert reply["headers"]["X-Twice"] == "1"


async def test_host_and_framing_are_not_the_guests(http: Http, server: Any) -> None:
    """A guest cannot say which virtual host it asks, nor how its body is framed."""
    headers = {"Host": "internal", "Content-Length": "1", "Transfer-Encoding": "chunked"}
    reply = await ask(http, f"{server.url}/echo", method="POST", body="abc", headers=headers)
    request = seen(reply)
    sent = {name.lower(): value for name, value in request["headers"]}
    assert sent["host"] == f"127.0.0.1:{server.port}"
    assert sent["content-length"] == "3"
    assert "transfer-encoding" not in sent


async def test_h2c(http: Http, server: Any) -> None:
    """X-H2C speaks HTTP/2 in clear text, with a body, and is not sent."""
    for _ in range(2):
        headers = {"X-H2C": "1", "Te": "trailers"}
        reply = await ask(http, f"{server.url}/echo", method="POST", body="abc", headers=headers)
        request = seen(reply)
        assert request["http"] == "2"
        assert base64.b64decode(request["body"]) == b"abc"
        assert "x-h2c" not in {name for name, _ in request["headers"]}
        assert ["te", "trailers"] in request["headers"]
    assert server.connections == 1


async def test_connections_are_used_again(http: Http, server: Any) -> None:
    """Requests one after another share a connection; at the same time they do not."""
    for _ in range(3):
        seen(await ask(http, f"{server.url}/echo"))
    assert server.connections == 1
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, http, f"{server.url}/wait?ms=20")
    assert server.connections == 5


async def test_a_connection_that_the_server_closed_is_not_used(http: Http, server: Any) -> None:
    """An idle connection that the server hung up is noticed before it is used again."""

    async def close(request: Any) -> Any:
        return type(await server.do_echo(request))(headers=(("connection", "close"),))

    server.route["/close"] = close
    for _ in range(3):
        assert (await ask(http, f"{server.url}/close"))["status"] == 200
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert server.connections == 3


async def test_no_cookie_passes_from_one_request_to_the_next(http: Http, server: Any) -> None:
    """Instances are isolated: what a server sets for one call is not sent with another."""
    reply = await ask(http, f"{server.url}/cookie")
    assert reply["headers"]["Set-Cookie"] == "session=secret; Path=/"
    request = seen(await ask(http, f"{server.url}/echo"))
    assert "cookie" not in {name.lower() for name, _ in request["headers"]}


# --- failures: status 0, and why ---


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "it must be a JSON object, not list"),
        (b'{"url": 1}', "url must be a string, not int"),
        (b'{"url": "http://x", "headers": {"a": 1}}', "headers must be an object of strings"),
        (b'{"url": "http://x", "headers": [1]}', "headers must be an object of strings"),
        (b'{"url": "http://x", "headers": {"a b": "1"}}', "the header 'a b' is not allowed"),
        (b'{"url": "http://x", "headers": {"a": "1\\r\\nb: 2"}}', "the header 'a' is not allowed"),
        (b'{"url": "http://x", "body_base64": "!"}', "body_base64 is not base64"),
        (b'{"url": "http://x", "method": "GET /"}', "a plugin cannot use the method"),
        (b'{"url": "http://x", "method": "CONNECT"}', "a plugin cannot use the method"),
        (b'{"url": "http://x:port/"}', "InvalidURL"),
        (b'{"url": "http://x/\\u0000"}', "InvalidURL"),
        (b'{"url": "file:///etc/passwd"}', "not an http or https URL"),
        (b'{"url": "/path"}', "not an http or https URL"),
        (b'{"url": "http:///path"}', "not an http or https URL"),
        (b"{}", "not an http or https URL"),
    ],
)
async def test_a_bad_request_is_answered(http: Http, request_: bytes, why: str) -> None:
    """What cannot be a request is status 0 with the reason, and reaches nobody."""
    reply = json.loads(await http.answer(request_))
    assert reply["status"] == 0
    assert why in reply["body"]


async def test_refused(http: Http) -> None:
    """A port where nobody listens is status 0 and says so."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        reply = await ask(http, f"http://127.0.0.1:{port}/")
    assert reply["status"] == 0
    assert f"no connection to 127.0.0.1:{port}" in reply["body"]
    assert "refused" in reply["body"]


async def test_name_not_found(http: Http) -> None:
    """A name that nobody knows is status 0 and names it."""
    reply = await ask(http, "http://no-such-name.invalid/")
    assert reply["status"] == 0
    assert "the name 'no-such-name.invalid' was not found" in reply["body"]


async def test_tls_to_a_server_without_it(http: Http, server: Any) -> None:
    """TLS that cannot be is status 0 and says so."""
    reply = await ask(http, f"https://127.0.0.1:{server.port}/")
    assert reply["status"] == 0
    assert "TLS with 127.0.0.1 failed" in reply["body"]


async def test_a_reply_that_is_no_http(http: Http, nursery: trio.Nursery) -> None:
    """A server that speaks something else is status 0."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def speak(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"220 smtp ready\r\n")

    nursery.start_soon(trio.serve_listeners, speak, listeners)
    reply = await ask(http, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/")
    assert reply["status"] == 0
    assert "RemoteProtocolError" in reply["body"]
    nursery.cancel_scope.cancel()


async def test_slow_reply(http: Http, server: Any, mock_clock: trio.testing.MockClock) -> None:
    """X-Host-Timeout-Seconds bounds the whole request, in seconds, and is not sent."""

    async def pass_time() -> None:
        while not server.requests:
            await trio.lowlevel.checkpoint()
        mock_clock.jump(0.99)
        await trio.testing.wait_all_tasks_blocked()
        assert not replies
        mock_clock.jump(0.02)

    replies: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_time)
        headers = {"X-Host-Timeout-Seconds": "1"}
        replies.append(await ask(http, f"{server.url}/hang", headers=headers))
    assert replies == [{"status": 0, "body": "timed out: no whole reply within 1 s"}]
    assert "x-host-timeout-seconds" not in {n.lower() for n, _ in server.requests[0].headers}


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(None, 60), ("5", 5), ("+5", 5), ("300", 300), ("301", 300), ("9" * 18, 300)]
    + [(nonsense, 60) for nonsense in ("", "0", "-1", "1.5", "abc", "9" * 5000, "٣", " 5")],
)
async def test_timeout_header(
    http: Http,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    asked: str,
    seconds: int,
) -> None:
    """60 s by default, at most 300; nonsense means 60."""
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
    headers = {} if asked is None else {"X-Host-Timeout-Seconds": asked}
    url = f"http://127.0.0.1:{listener[0].socket.getsockname()[1]}/"
    # Nobody accepts, so the kernel does, and nothing is ever answered.
    reply = await ask(http, url, headers=headers)
    assert reply["body"] == f"timed out: no whole reply within {seconds} s"
    assert trio.current_time() == pytest.approx(seconds, abs=0.5)
    await listener[0].aclose()


async def test_policy_bounds_the_timeout(policed: Any, server: Any) -> None:
    """The policy's own maximum counts for the default too."""
    http = policed(HttpPolicy(allow_private=True, max_timeout=0.05))
    reply = await ask(http, f"{server.url}/hang")
    assert reply["body"] == "timed out: no whole reply within 0.05 s"


@pytest.mark.parametrize("how", ["", "&chunked"])
async def test_reply_above_10_mib(http: Http, server: Any, how: str) -> None:
    """11 MiB, announced or not, are an error that says so; 10 MiB to the byte are a reply."""
    reply = await ask(http, f"{server.url}/big?size={11 << 20}{how}")
    assert reply["status"] == 0
    assert "the reply is too large: more than 10,485,760 bytes" in reply["body"]
    reply = await ask(http, f"{server.url}/big?size={10 << 20}{how}")
    assert reply["status"] == 200
    assert len(reply["body"]) == 10 << 20


async def test_head_of_something_large(http: Http, server: Any) -> None:
    """HEAD announces a body that never comes, so its length is no reason to refuse."""
    reply = await ask(http, f"{server.url}/big?size={11 << 20}", method="HEAD")
    assert (reply["status"], reply["body"]) == (200, "")
    assert reply["headers"]["Content-Length"] == str(11 << 20)


async def test_gzip(http: Http, server: Any) -> None:
    """Gzip is undone, and the headers then speak of what is given."""
    reply = await ask(http, f"{server.url}/gzip?size=100000")
    assert reply["body"] == "x" * 100_000
    assert not {"Content-Encoding", "Content-Length"} & set(reply["headers"])


async def test_gzip_that_the_guest_asked_for(http: Http, server: Any) -> None:
    """A guest that asks for an encoding itself gets the body as it was sent."""
    headers = {"Accept-Encoding": "gzip", "X-Raw-Body": "1"}
    reply = await ask(http, f"{server.url}/gzip?size=1000", headers=headers)
    assert reply["headers"]["Content-Encoding"] == "gzip"
    assert base64.b64decode(reply["body_base64"]).startswith(b"\x1f\x8b")


async def test_gzip_bomb(http: Http, server: Any) -> None:
    """A reply is measured as it comes out of gzip, not as it was sent."""
    reply = await ask(http, f"{server.url}/gzip?size={64 << 20}")
    assert reply["status"] == 0
    assert "too large" in reply["body"]


async def test_gzip_cut_short(http: Http, server: Any) -> None:
    """Half a gzip stream is an error, never half a body."""
    reply = await ask(http, f"{server.url}/gzip?size=100000&cut")
    assert reply["status"] == 0
    assert "in the middle of its gzip stream" in reply["body"]


async def test_a_reply_above_the_payload_limit(policed: Any, server: Any) -> None:
    """A reply that would not fit into the guest is an error, as JSON can be larger than a body."""
    http = policed(LOCAL, payload=1000)
    reply = await ask(http, f"{server.url}/big?size=2000")
    assert reply["status"] == 0
    assert "above limits.payload (1,000 bytes)" in reply["body"]


# --- policy ---


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"])
async def test_loopback_is_refused_by_default(policed: Any, server: Any, host: str) -> None:
    """However it is written, and also as a name that resolves to it."""
    reply = await ask(policed(HttpPolicy()), f"http://{host}:{server.port}/echo")
    assert reply["status"] == 0
    assert "forbidden by policy" in reply["body"]
    assert server.connections == 0


async def test_metadata_service_is_refused_by_default(policed: Any) -> None:
    """The cloud's credentials are not for plugins."""
    reply = await ask(policed(HttpPolicy()), "http://169.254.169.254/latest/meta-data/")
    assert reply["status"] == 0
    assert "forbidden by policy: 169.254.169.254" in reply["body"]


async def test_the_address_that_is_connected_to_is_judged(
    policed: Any, server: Any, resolver: Any
) -> None:
    """A name with a global and a private address never reaches the private one."""
    resolver.addresses = ["127.0.0.1", "192.0.2.1"]
    reply = await ask(policed(HttpPolicy()), f"http://rebound.example:{server.port}/echo")
    why = "forbidden by policy: rebound.example leads to no address of the public internet"
    assert why in reply["body"]
    assert "127.0.0.1" not in reply["body"]  # what internal names resolve to is not the guest's
    assert resolver.asked == ["rebound.example"]
    assert server.connections == 0


async def test_the_name_is_resolved_once_and_kept_for_the_server(
    policed: Any, server: Any, resolver: Any
) -> None:
    """The checked address is connected to; Host stays the name."""
    http = policed(HttpPolicy(allow_private=True, allow_hosts={"api.example"}))
    request = seen(await ask(http, f"http://API.example:{server.port}/echo"))
    assert ["host", f"api.example:{server.port}"] in [[n.lower(), v] for n, v in request["headers"]]
    assert resolver.asked == ["api.example"]


async def test_the_first_address_that_answers_serves(
    policed: Any, server: Any, resolver: Any
) -> None:
    """An address where nobody listens does not keep a request from the next one."""
    resolver.addresses = ["127.0.0.2", "127.0.0.1"]
    seen(await ask(policed(LOCAL), f"http://two.example:{server.port}/echo"))


async def test_allow_hosts(policed: Any, server: Any) -> None:
    """Only listed names are asked; others are refused before anything is resolved."""
    http = policed(HttpPolicy(allow_private=True, allow_hosts=["127.0.0.1"]))
    seen(await ask(http, f"{server.url}/echo"))
    reply = await ask(http, f"http://localhost:{server.port}/echo")
    assert "forbidden by policy: the host 'localhost' is not among the allowed" in reply["body"]


async def test_redirects_are_followed(http: Http, server: Any) -> None:
    """303 becomes a GET without its body; 307 stays what it was."""
    url = f"{server.url}/redirect?to=/echo&code="
    request = seen(await ask(http, f"{url}303", method="POST", body="abc"))
    assert (request["method"], request["body"]) == ("GET", "")
    request = seen(await ask(http, f"{url}307", method="POST", body="abc"))
    assert (request["method"], base64.b64decode(request["body"])) == ("POST", b"abc")


async def test_endless_redirects(http: Http, server: Any) -> None:
    """Ten are followed."""
    again = "/redirect%3Fcode%3D302%26to%3D/loop"

    async def loop(request: Any) -> Any:
        return await server.do_redirect(
            type(request)("GET", "/redirect?code=302&to=/loop", [], b"", "")
        )

    server.route["/loop"] = loop
    reply = await ask(http, f"{server.url}/redirect?code=302&to={again}")
    assert reply["status"] == 0
    assert "stopped after 10 redirects" in reply["body"]
    assert len(server.requests) == 11


@pytest.mark.parametrize(
    "to", ["http://169.254.169.254/", "http://localhost/", "file:///etc/passwd"]
)
async def test_redirect_to_what_is_forbidden(policed: Any, server: Any, to: str) -> None:
    """Each hop passes the same gate: host, scheme and address."""
    http = policed(HttpPolicy(allow_private=True, allow_hosts=["127.0.0.1"]))
    reply = await ask(http, f"{server.url}/redirect?code=302&to={to}")
    assert reply["status"] == 0
    assert "forbidden by policy" in reply["body"] or "not an http or https URL" in reply["body"]


async def test_redirect_to_a_forbidden_address(
    policed: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of the internet cannot send a plugin to an address of ours."""

    def is_global(address: str) -> bool:  # the server stands for one of the internet
        return address == "127.0.0.1"

    monkeypatch.setattr("wasmpool._http.client.is_global", is_global)
    http = policed(HttpPolicy())
    to = f"http://127.0.0.2:{server.port}/echo"
    reply = await ask(http, f"{server.url}/redirect?code=302&to={to}")
    assert reply["status"] == 0
    assert "forbidden by policy: 127.0.0.2" in reply["body"]


async def test_the_authorization_stays_with_its_origin(http: Http, server: Any) -> None:
    """A redirect to another origin does not take the plugin's token along."""
    to = f"http://localhost:{server.port}/echo"
    headers = {"Authorization": "Bearer secret"}
    reply = await ask(http, f"{server.url}/redirect?code=302&to={to}", headers=headers)
    assert "authorization" not in {name.lower() for name, _ in seen(reply)["headers"]}


async def test_proxies_of_the_environment_are_ignored(
    policed: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would be the address that the check sees."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("ALL_PROXY", server.url)
    reply = await ask(policed(HttpPolicy()), "http://169.254.169.254/")
    assert "forbidden by policy" in reply["body"]
    assert server.connections == 0


async def test_without_a_policy_no_host_is_reached(server: Any) -> None:
    """Whatever is asked, the answer says how the program can allow it."""
    http = Http(None, 16 << 20)
    for request in (json.dumps({"url": f"{server.url}/echo"}).encode(), b"{", b"x" * (1 << 20)):
        reply = json.loads(await http.answer(request))
        assert reply["status"] == 0
        assert "this plugin may reach no host" in reply["body"]
        assert "http=HttpPolicy(...)" in reply["body"]
    assert server.connections == 0


# --- what is large ---


@final
class Longest(trio.abc.Instrument):
    """The most CPU time that the loop's thread spent without looking at the rest of the world."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        self.seconds = max(self.seconds, time.thread_time() - self._since)

    def after_io_wait(self, timeout: float) -> None:
        self._since = time.thread_time()


@pytest.mark.parametrize(
    "request_",
    [
        json.dumps(
            {"url": "http://127.0.0.1:1/", "headers": {f"a{i}": "" for i in range(800_000)}}
        ),
        '{"url":"http://127.0.0.1:1/","x":[' + "{}," * 5_000_000 + "0]}",
        '{"url":"http://127.0.0.1:1/","x":"' + r"\"" * 8_000_000 + '"}',
        '{"url":"http://127.0.0.1:1/","body":"' + "\u00e9" * 8_000_000 + '"}',
        '{"url":"http://127.0.0.1:1/","body_base64":"' + "YWJj" * 4_000_000 + '"}',
        "[" * 16_000_000,
        " " * 16_000_000,
    ],
    ids=lambda each: each[-8:],
)
async def test_no_request_holds_the_loop(policed: Any, request_: str) -> None:
    """Of what 16 MiB can hold, nothing is parsed for as long as it would take at once."""
    http = policed(HttpPolicy())
    await http.import_client()
    longest = Longest()
    trio.lowlevel.add_instrument(longest)
    reply = json.loads(await http.answer(request_.encode()))
    await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(longest)
    assert reply["status"] == 0
    assert longest.seconds < 0.1  # 5 ms are meant; CPU time, with room for a slow machine


async def test_a_large_body_goes_and_comes_whole(http: Http, server: Any) -> None:
    """As text and in base64, each larger than a piece."""
    text = 'x é \U0001f600 \n"\\' * 100_000
    reply = await ask(http, f"{server.url}/echo", method="POST", body=text)
    assert base64.b64decode(seen(reply)["body"]).decode() == text
    body = base64.b64encode(text.encode()).decode()
    headers = {"X-Raw-Body": "1"}
    reply = await ask(http, f"{server.url}/echo", method="POST", body_base64=body, headers=headers)
    assert json.loads(base64.b64decode(reply["body_base64"]))["body"] == body


async def test_a_large_reply_above_the_payload_limit(policed: Any, server: Any) -> None:
    """Is an error like a small one."""
    http = policed(LOCAL, payload=1 << 20)
    reply = await ask(http, f"{server.url}/big?size={2 << 20}")
    assert reply["status"] == 0
    assert "above limits.payload (1,048,576 bytes)" in reply["body"]


@pytest.mark.parametrize("step", range(1, 40, 3))
async def test_a_large_request_can_be_cancelled(http: Http, cancelled_at: Any, step: int) -> None:
    """Between any two of its pieces."""
    request = b'{"url":"file:///","body":"' + b"x" * (4 << 20) + b'"}'
    with cancelled_at(step) as scope:
        await http.answer(request)
    assert scope.cancelled_caught


# --- cancellation ---


@pytest.mark.parametrize("headers", [{}, {"X-H2C": "1"}])
async def test_cancel(http: Http, server: Any, headers: dict[str, str], until: Until) -> None:
    """A cancelled request hangs up at once, and the others do not feel it."""
    url = f"{server.url}/hang"
    replies: list[dict[str, Any]] = []

    async def other() -> None:
        replies.append(await ask(http, url, headers=headers))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as cancelled:
                cancelled.start_soon(functools.partial(ask, http, url, headers=headers))
                await until(lambda: server.waiting == 2)
                scope.cancel()
        await until(lambda: server.gone == 1)
        server.release.set()
    assert [reply["body"] for reply in replies] == ["released"]
    again = await ask(http, url, headers=headers)
    assert again["body"] == "released"


@pytest.mark.parametrize("headers", [{}, {"X-H2C": "1"}])
async def test_cancelled_anywhere(
    server: Any, cancelled_at: Any, headers: dict[str, str], policed: Any, until: Until
) -> None:
    """Wherever a request is cancelled, no connection is left open, and the next one works."""

    def sockets() -> int:
        files = [each for each in Path("/proc/self/fd").iterdir() if each.exists()]
        return sum(str(each.readlink()).startswith("socket:") for each in files)

    url = f"{server.url}/redirect?code=302&to=/echo"
    http = policed(LOCAL)
    before = sockets()
    assert before > 0  # the server's own
    step, done = 0, False
    while not done:
        step += 1
        with cancelled_at(step):
            seen(await ask(http, url, headers=headers))
            done = True
        await http.aclose()
        await until(lambda: sockets() == before)
    assert step > 20


async def test_many_requests_wait_together(http: Http, server: Any, until: Until) -> None:
    """No limit of the client's own makes requests wait for each other."""
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(ask, http, f"{server.url}/hang")
        await until(lambda: server.waiting == 200)
        server.release.set()


# --- TLS ---


async def test_tls_keeps_the_name(
    http: Http, nursery: trio.Nursery, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is held against the name of the URL, which is also sent as SNI."""
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr("wasmpool._http.client._read_tls_context", lambda: trusting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names: list[str] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    port = listeners[0].transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]

    async def speak(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    nursery.start_soon(trio.serve_listeners, speak, listeners)
    assert (await ask(http, f"https://localhost:{port}/"))["body"] == "hi"
    reply = await ask(http, f"https://127.0.0.1:{port}/")
    assert "TLS with 127.0.0.1 failed: the certificate is not trusted" in reply["body"]
    assert names[0] == "localhost"
    nursery.cancel_scope.cancel()


async def test_http2_over_tls(
    http: Http,
    server: Any,
    nursery: trio.Nursery,
    certificate: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is spoken where the server offers it, without being asked for."""
    trusting = ssl.create_default_context(cafile=certificate)
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    monkeypatch.setattr("wasmpool._http.client._read_tls_context", lambda: trusting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    port = listeners[0].transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]
    nursery.start_soon(trio.serve_listeners, server.serve, listeners)
    for _ in range(2):
        request = seen(await ask(http, f"https://localhost:{port}/echo", method="PUT", body="abc"))
        assert (request["http"], base64.b64decode(request["body"])) == ("2", b"abc")
    assert server.connections == 1


async def test_the_certificate_must_be_trusted(
    http: Http, nursery: trio.Nursery, certificate: str
) -> None:
    """A certificate that nobody vouches for is status 0 and says so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    port = listeners[0].transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]

    async def speak(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()

    nursery.start_soon(trio.serve_listeners, speak, listeners)
    reply = await ask(http, f"https://localhost:{port}/")
    assert reply["status"] == 0
    assert "TLS with localhost failed: the certificate is not trusted" in reply["body"]
    nursery.cancel_scope.cancel()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_REQUEST = st.fixed_dictionaries(
    {"url": st.sampled_from(["http://a.example/", "https://b.example:1/?q"]) | st.text() | _JSON},
    optional={
        "method": st.sampled_from(["POST", "HEAD"]) | st.text() | _JSON,
        "headers": st.dictionaries(st.text() | st.just("X-H2C"), st.text()) | _JSON,
        "body": st.text() | _JSON,
        "body_base64": st.sampled_from(["YQ==", "YQ"]) | st.text() | _JSON,
    },
)


@given(
    st.binary()
    | _JSON.map(lambda value: json.dumps(value).encode())
    | _REQUEST.map(lambda value: json.dumps(value).encode())
)
def test_whatever_a_guest_asks_is_answered(request: bytes) -> None:
    """Never an exception, which would trap the guest, and always the JSON of the contract."""

    async def main() -> bytes:
        http = Http(HttpPolicy(allow_hosts=()), 16 << 20)
        try:
            return await http.answer(request)
        finally:
            await http.aclose()

    reply = json.loads(trio.run(main))
    assert reply["status"] == 0
    assert isinstance(reply["body"], str)
    assert reply["body"]
