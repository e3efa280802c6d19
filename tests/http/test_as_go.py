"""What guests were built against: the details of Go's HTTP client."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from wasmpool._http.host_function import Http
from wasmpool._http.policy import HttpPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

WHOLE = b"0123456789" * 1000


async def ask(http: Http, url: str, **request: object) -> dict[str, Any]:
    answer = await http.answer(json.dumps({"url": url, **request}).encode())
    reply: dict[str, Any] = json.loads(answer)
    return reply


@pytest.fixture
async def http() -> AsyncGenerator[Http, None]:
    http = Http(HttpPolicy(allow_private=True), 16 << 20)
    yield http
    await http.aclose()


@pytest.fixture
def file(server: Any) -> str:
    """The URL of something that a server has in both encodings, and in parts."""

    async def do_file(request: Any) -> Any:
        echo = await server.do_echo(request)
        headers = {name.lower(): value for name, value in request.headers}
        packed = "gzip" in headers.get("accept-encoding", "")
        body = gzip.compress(WHOLE) if packed else WHOLE
        more = (("content-encoding", "gzip"),) if packed else ()
        if "range" in headers:
            return type(echo)(206, body[5:25], more)
        return type(echo)(200, body, more)

    server.route["/file"] = do_file
    return f"{server.url}/file"


def sent(server: Any, at: int = -1) -> dict[str, str]:
    """The headers of a request that the server got."""
    return {name.lower(): value for name, value in server.requests[at].headers}


# --- gzip ---


async def test_a_range_is_one_of_the_body_itself(http: Http, file: str, server: Any) -> None:
    """With Range no gzip is asked for: the part is of what stands there."""
    reply = await ask(http, file, headers={"Range": "bytes=5-24"})
    assert (reply["status"], reply["body"]) == (206, WHOLE[5:25].decode())
    assert "accept-encoding" not in sent(server)


async def test_head_announces_the_body_itself(http: Http, file: str, server: Any) -> None:
    """With HEAD no gzip is asked for, and the length is the body's."""
    reply = await ask(http, file, method="HEAD")
    assert reply["headers"]["Content-Length"] == "10000"
    assert "accept-encoding" not in sent(server)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_gzip_is_asked_for_and_undone(
    http: Http, file: str, server: Any, method: str
) -> None:
    """And nothing in the reply speaks of it."""
    reply = await ask(http, file, method=method)
    assert reply["body"] == WHOLE.decode()
    assert not {"Content-Encoding", "Content-Length"} & set(reply["headers"])
    assert sent(server)["accept-encoding"] == "gzip"


@pytest.mark.parametrize("name", ["Accept-Encoding", "accept-encoding"])
@pytest.mark.parametrize("value", ["gzip", "gzip, br", "identity"])
async def test_what_the_guest_asks_for_it_gets(
    http: Http, file: str, server: Any, name: str, value: str
) -> None:
    """A guest that sets Accept-Encoding gets the body, and its headers, as they were sent."""
    reply = await ask(http, file, headers={name: value, "X-Raw-Body": "1"})
    body = base64.b64decode(reply["body_base64"])
    assert sent(server)["accept-encoding"] == value
    if "gzip" in value:
        assert gzip.decompress(body) == WHOLE
        assert reply["headers"]["Content-Encoding"] == "gzip"
        assert reply["headers"]["Content-Length"] == str(len(body))
    else:
        assert body == WHOLE


@pytest.mark.parametrize("name", ["Accept-Encoding", "Range"])
async def test_an_empty_header_asks_for_nothing(
    http: Http, file: str, server: Any, name: str
) -> None:
    """It is as if it were absent."""
    reply = await ask(http, file, headers={name: ""})
    assert reply["body"] == WHOLE.decode()
    assert sent(server)["accept-encoding"] == "gzip"


async def test_gzip_that_nobody_asked_for_is_left(http: Http, server: Any) -> None:
    """A server that sends gzip in spite of a Range is taken at its word."""
    headers = {"Range": "bytes=0-", "X-Raw-Body": "1"}
    reply = await ask(http, f"{server.url}/gzip?size=100", headers=headers)
    assert gzip.decompress(base64.b64decode(reply["body_base64"])) == b"x" * 100
    assert reply["headers"]["Content-Encoding"] == "gzip"


async def test_other_encodings_are_left(http: Http, server: Any) -> None:
    """Only gzip is undone."""

    async def brotli(request: Any) -> Any:
        echo = await server.do_echo(request)
        return type(echo)(200, b"as it is", (("content-encoding", "br"),))

    server.route["/br"] = brotli
    reply = await ask(http, f"{server.url}/br")
    assert (reply["body"], reply["headers"]["Content-Encoding"]) == ("as it is", "br")


# --- what is sent ---


async def test_the_headers_of_a_plain_get(http: Http, server: Any) -> None:
    """Nothing is added but what Go's client adds."""
    await ask(http, f"{server.url}/echo")
    assert set(sent(server)) == {"host", "user-agent", "accept-encoding"}


async def test_the_guests_user_agent_counts(http: Http, server: Any) -> None:
    """Also an empty one: then none is sent."""
    await ask(http, f"{server.url}/echo", headers={"User-Agent": "mine"})
    assert sent(server)["user-agent"] == "mine"
    await ask(http, f"{server.url}/echo", headers={"User-Agent": ""})
    assert "user-agent" not in sent(server)


@pytest.mark.parametrize(
    ("method", "length"),
    [("GET", None), ("DELETE", None), ("HEAD", None), ("POST", "0"), ("PUT", "0"), ("PATCH", "0")],
)
async def test_the_length_of_no_body(
    http: Http, server: Any, method: str, length: str | None
) -> None:
    """It is said where a body is usual, and only there."""
    await ask(http, f"{server.url}/echo", method=method)
    assert sent(server).get("content-length") == length


async def test_the_users_name_in_a_url(http: Http, server: Any) -> None:
    """It is sent as Basic authorization, unless the guest sets its own."""
    url = f"http://me:pass%20word@127.0.0.1:{server.port}/echo"
    await ask(http, url)
    basic = base64.b64encode(b"me:pass word").decode()
    assert sent(server)["authorization"] == f"Basic {basic}"
    assert sent(server)["host"] == f"127.0.0.1:{server.port}"
    await ask(http, url, headers={"Authorization": "Bearer mine"})
    assert sent(server)["authorization"] == "Bearer mine"


# --- redirects ---


@pytest.mark.parametrize(
    ("code", "method", "then"),
    [(code, method, "GET") for code in (301, 302, 303) for method in ("POST", "PUT", "DELETE")]
    + [(code, "HEAD", "HEAD") for code in (301, 302, 303, 307, 308)]
    + [(code, method, method) for code in (307, 308) for method in ("POST", "PUT", "DELETE")],
)
async def test_the_method_after_a_redirect(
    http: Http, server: Any, code: int, method: str, then: str
) -> None:
    """301, 302 and 303 make a GET without a body of all but HEAD; 307 and 308 change nothing."""
    headers = {"Content-Type": "text/plain", "X-Mine": "1"}
    url = f"{server.url}/redirect?code={code}&to=/echo"
    await ask(http, url, method=method, body="" if method == "HEAD" else "abc", headers=headers)
    request = server.requests[-1]
    assert request.path == "/echo"
    assert request.method == then
    assert request.body == (b"abc" if then == method != "HEAD" else b"")
    assert sent(server)["x-mine"] == "1"
    assert ("content-type" in sent(server)) == (code in (307, 308))


@pytest.mark.parametrize("code", [300, 305, 306, 399])
async def test_other_codes_are_no_redirects(http: Http, server: Any, code: int) -> None:
    """They are replies, whatever Location says."""
    reply = await ask(http, f"{server.url}/redirect?code={code}&to=/echo")
    assert reply["status"] == code
    assert reply["headers"]["Location"] == "/echo"


async def test_a_redirect_to_nowhere_is_a_reply(http: Http, server: Any) -> None:
    """Without Location there is nothing to follow."""
    reply = await ask(http, f"{server.url}/status?code=302")
    assert (reply["status"], reply["body"]) == (302, "said so")


async def test_the_referer_of_a_redirect(http: Http, server: Any) -> None:
    """It is the URL before, without the user's name; one of the guest's own stays."""
    start = f"http://me:secret@127.0.0.1:{server.port}/redirect?code=302&to=/echo"
    await ask(http, start)
    assert sent(server)["referer"] == f"{server.url}/redirect?code=302&to=/echo"
    await ask(http, start, headers={"Referer": "http://mine.example/"})
    assert sent(server)["referer"] == "http://mine.example/"


SECRETS = {"Authorization": "Bearer secret", "Cookie": "a=b", "Cookie2": "c", "X-Mine": "1"}


async def test_credentials_stay_on_their_host(http: Http, server: Any) -> None:
    """A redirect within the origin takes them along."""
    await ask(http, f"{server.url}/redirect?code=302&to=/echo", headers=SECRETS)
    assert {"authorization", "cookie", "x-mine"} <= set(sent(server))


@pytest.mark.parametrize(
    ("way", "kept"),
    [
        (("a.example", "a.example"), True),
        (("a.example", "sub.a.example"), True),
        (("sub.a.example", "a.example"), False),
        (("a.example", "ba.example"), False),
        (("a.example", "b.example"), False),
    ],
)
async def test_credentials_go_to_hosts_below(
    http: Http, server: Any, resolver: Any, way: tuple[str, str], kept: bool
) -> None:
    """To the host and those below it, and to no other; other headers go along anyway."""
    start, to = way
    assert resolver.asked == []
    url = f"http://{start}:{server.port}/redirect?code=307&to=http://{to}:{server.port}/echo"
    await ask(http, url, method="POST", body="x", headers=SECRETS)
    assert sent(server)["host"] == f"{to}:{server.port}"
    assert ("authorization" in sent(server)) == kept
    assert ("cookie" in sent(server)) == kept
    assert ("cookie2" in sent(server)) == kept
    assert sent(server)["x-mine"] == "1"


async def test_credentials_that_were_dropped_do_not_come_back(
    http: Http, server: Any, resolver: Any
) -> None:
    """A way back to the first host over another one takes nothing along."""
    assert resolver.asked == []
    back = f"http://a.example:{server.port}/echo"
    over = f"http://b.example:{server.port}/redirect%3Fcode%3D302%26to%3D{back}"
    await ask(http, f"http://a.example:{server.port}/redirect?code=302&to={over}", headers=SECRETS)
    assert [request.path for request in server.requests] == ["/redirect", "/redirect", "/echo"]
    assert not {"authorization", "cookie"} & set(sent(server))
