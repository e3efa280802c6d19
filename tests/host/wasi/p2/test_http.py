"""The types of HTTP, and the handler that a library gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.host.wasi.preview2 import STREAMS

from wasmpool_host import GuestMemoryError
from wasmpool_host._wasi_p2 import http_memory
from wasmpool_host._wasi_p2.http_body import MOST_BODY
from wasmpool_host._wasi_p2.http_types import OutgoingRequest
from wasmpool_host._wasi_p2.streams import PERMIT
from wasmpool_host._wit_values import Err, Ok, Variant
from wasmpool_host.lowlevel import (
    WasiHttpFailure,
    WasiHttpReply,
    WasiHttpRequest,
    wasi_http_handler,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tests.host.wasi.preview2 import FakeComponent

HTTP = "wasi:http/types"


class Client:
    """A component that makes requests, and the host that sends them."""

    def __init__(
        self,
        component: FakeComponent,
        nursery: trio.Nursery,
        send: Callable[[WasiHttpRequest], Awaitable[WasiHttpReply]],
    ) -> None:
        self.component = component
        self._handle = wasi_http_handler(nursery.start_soon, send)

    def call(self, name: str, *args: Any) -> Any:
        return self.component.call(HTTP, name, *args)

    def request(self, headers: Any = None, **parts: Any) -> Any:
        """A request to example.com, or what the parts say."""
        request = self.call("[constructor]outgoing-request", headers or self.fields())
        given = {"authority": "example.com", "path_with_query": "/p?q=1", **parts}
        for name, value in given.items():
            done = self.call(
                f"[method]outgoing-request.set-{name.replace('_', '-')}", request, value
            )
            assert done == Ok(), name
        return request

    def fields(self, *entries: tuple[str, bytes]) -> Any:
        return self.call("[static]fields.from-list", list(entries)).value

    def body(self, request: Any) -> tuple[Any, Any]:
        body = self.call("[method]outgoing-request.body", request).value
        return body, self.call("[method]outgoing-body.write", body).value

    def drop_all(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            self.component.drop(handle)

    def handle(self, request: Any, options: Any = None) -> Any:
        answer = self._handle(self.component, request, options)
        if isinstance(answer, Ok):
            self.component._handles.append(answer.value)
        return answer.value

    async def answer(self, future: Any) -> Any:
        pollable = self.call("[method]future-incoming-response.subscribe", future)
        await self.component.acall("wasi:io/poll", "[method]pollable.block", pollable)
        return self.call("[method]future-incoming-response.get", future)


@pytest.fixture
def sent() -> list[WasiHttpRequest]:
    return []


@pytest.fixture
async def client(
    component: FakeComponent, nursery: trio.Nursery, sent: list[WasiHttpRequest]
) -> Client:
    """One whose requests are answered by their own body."""

    async def send(request: WasiHttpRequest) -> WasiHttpReply:
        sent.append(request)
        await trio.lowlevel.checkpoint()
        return WasiHttpReply(status=201, headers=[("X-A", b"1")], body=request.body or b"empty")

    return Client(component, nursery, send)


def read_all(client: Client, response: Any) -> bytes:
    body = client.call("[method]incoming-response.consume", response).value
    stream = client.call("[method]incoming-body.stream", body).value
    found = b""
    while isinstance(data := client.component.read(stream), bytes):
        found += data
    assert data == Variant("closed")
    return found


# --- a request and its reply ---


async def test_a_request_is_sent_and_answered(client: Client, sent: list[WasiHttpRequest]) -> None:
    """What the component said, and what it gets."""
    request = client.request(
        client.fields(("Accept", b"text/plain"), ("Content-Length", b"5")),
        method=Variant("post"),
        scheme=Variant("HTTP"),
        authority="example.com:8080",
    )
    body, stream = client.body(request)
    assert client.component.write(stream, b"he") is None
    future = client.handle(request)
    assert client.call("[method]future-incoming-response.get", future) is None
    assert client.component.write(stream, b"llo") is None
    assert client.call("[static]outgoing-body.finish", body, None) == Ok()
    (response,) = [(await client.answer(future)).value.value]
    assert sent == [
        WasiHttpRequest(
            method="POST",
            url="http://example.com:8080/p?q=1",
            headers=[("Accept", b"text/plain")],
            body=b"hello",
            timeout=None,
        )
    ]
    assert client.call("[method]incoming-response.status", response) == 201
    headers = client.call("[method]incoming-response.headers", response)
    assert client.call("[method]fields.entries", headers) == [("X-A", b"1")]
    assert client.call("[method]fields.append", headers, "b", b"") == Err(Variant("immutable"))
    assert read_all(client, response) == b"hello"
    assert client.call("[method]incoming-response.consume", response) == Err()
    assert client.call("[method]future-incoming-response.get", future) == Err()


async def test_a_request_without_a_body_is_sent_at_once(
    client: Client, sent: list[WasiHttpRequest]
) -> None:
    """With https and the path / where it says nothing."""
    answer = await client.answer(client.handle(client.request(path_with_query=None)))
    assert read_all(client, answer.value.value) == b"empty"
    assert [(each.method, each.url) for each in sent] == [("GET", "https://example.com/")]


async def test_the_component_may_say_how_long_it_waits(
    client: Client, sent: list[WasiHttpRequest]
) -> None:
    """For the connection and the first byte together."""
    options = client.call("[constructor]request-options")
    for name, seconds in (("connect", 1), ("first-byte", 2), ("between-bytes", 9)):
        set_ = f"[method]request-options.set-{name}-timeout"
        assert client.call(set_, options, seconds * 10**9) == Ok()
        got = client.call(f"[method]request-options.{name}-timeout", options)
        assert got == seconds * 10**9
    await client.answer(client.handle(client.request(), options))
    assert sent[0].timeout == 3


async def test_trailers_are_none(client: Client) -> None:
    """Of a reply once, and those of a request are refused."""
    response = (await client.answer(client.handle(client.request()))).value.value
    body = client.call("[method]incoming-response.consume", response).value
    trailers = client.call("[static]incoming-body.finish", body)
    pollable = client.call("[method]future-trailers.subscribe", trailers)
    assert client.component.call("wasi:io/poll", "[method]pollable.ready", pollable)
    assert client.call("[method]future-trailers.get", trailers) == Ok(Ok(None))
    assert client.call("[method]future-trailers.get", trailers) == Err()
    out, _ = client.body(client.request())
    answer = client.call("[static]outgoing-body.finish", out, client.fields(("a", b"b")))
    assert answer.value.case == "HTTP-request-trailer-section-size"


# --- what goes wrong ---


async def test_without_a_library_each_request_is_denied(component: FakeComponent) -> None:
    """The component links, and reaches nobody."""
    headers = component.call(HTTP, "[constructor]fields")
    request = component.call(HTTP, "[constructor]outgoing-request", headers)
    answer = component.call("wasi:http/outgoing-handler", "handle", request, None)
    assert answer == Err(Variant("HTTP-request-denied"))


async def test_a_request_that_leads_nowhere_is_an_error(client: Client) -> None:
    """Without an authority, or by another scheme than HTTP's."""
    for parts, case in (
        ({"authority": None}, "HTTP-request-URI-invalid"),
        ({"scheme": Variant("other", "ftp")}, "HTTP-protocol-error"),
    ):
        assert client.handle(client.request(**parts)) == Variant(case)


@pytest.mark.parametrize(
    ("error", "want"),
    [
        (WasiHttpFailure("HTTP-request-denied"), Variant("HTTP-request-denied")),
        (WasiHttpFailure("internal-error", "x" * 9999), Variant("internal-error", "x" * 2000)),
    ],
)
async def test_why_there_is_no_reply(
    component: FakeComponent, nursery: trio.Nursery, error: WasiHttpFailure, want: Variant
) -> None:
    """The component gets the case, and a text of bounded length."""

    async def send(_: WasiHttpRequest) -> WasiHttpReply:
        raise error

    client = Client(component, nursery, send)
    assert await client.answer(client.handle(client.request())) == Ok(Err(want))


async def test_an_unfinished_body_is_not_sent(client: Client, sent: list[WasiHttpRequest]) -> None:
    """The component dropped it; what it wrote may be half of what it meant."""
    request = client.request()
    body, stream = client.body(request)
    client.component.write(stream, b"half")
    future = client.handle(request)
    client.component.drop(body)
    answer = await client.answer(future)
    assert answer.value.value.case == "internal-error"
    assert not sent


async def test_a_body_of_another_length_than_it_says_is_an_error(client: Client) -> None:
    """So no server waits for the rest."""
    request = client.request(client.fields(("content-length", b"3")))
    body, stream = client.body(request)
    client.component.write(stream, b"four")
    answer = client.call("[static]outgoing-body.finish", body, None)
    assert answer == Err(Variant("HTTP-request-body-size", 4))


async def test_a_body_is_bounded(client: Client) -> None:
    """The stream fails, and says how."""
    _, stream = client.body(client.request())
    for _ in range(MOST_BODY // PERMIT):
        assert client.component.write(stream, bytes(PERMIT)) is None
    failed = client.component.write(stream, b"x")
    assert failed.case == "last-operation-failed"
    code = client.call("http-error-code", failed.value)
    assert code == Variant("HTTP-request-body-size", MOST_BODY)
    check = client.component.call(STREAMS, "[method]output-stream.check-write", stream)
    assert check == Err(Variant("closed"))


async def test_all_bodies_together_are_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is for all headers and bodies of a component, and a dropped one makes room."""
    monkeypatch.setattr(http_memory, "MOST_BYTES", 4 * PERMIT)
    bodies = [client.body(client.request()) for _ in range(3)]
    for _, stream in bodies:
        assert client.component.write(stream, bytes(PERMIT)) is None
    _, stream = client.body(client.request())
    failed = client.component.write(stream, bytes(PERMIT))
    assert client.call("http-error-code", failed.value) == Variant("HTTP-request-body-size", PERMIT)
    client.drop_all(bodies.pop())
    client.drop_all(client.component.of_type(OutgoingRequest)[2:])
    del stream
    _, stream = client.body(client.request())
    assert client.component.write(stream, bytes(PERMIT)) is None


async def test_all_headers_together_are_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to have more of them ends in an error that there is."""
    monkeypatch.setattr(http_memory, "MOST_BYTES", 2_000)
    request = client.request(path_with_query="/")
    fields = client.fields(("a", bytes(range(65, 91)) * 50))
    assert client.fields(("a", b"b" * 500)) == Variant("forbidden")
    for method in "set", "append":
        value = [b"b" * 500] if method == "set" else b"b" * 500
        answer = client.call(f"[method]fields.{method}", fields, "b", value)
        assert answer == Err(Variant("forbidden"))
    set_path = "[method]outgoing-request.set-path-with-query"
    assert client.call(set_path, request, "/" + "a" * 700) == Err(None)
    assert client.call(set_path, request, "/" + "a" * 50) == Ok()
    with pytest.raises(GuestMemoryError, match="the headers and bodies have"):
        client.call("[method]fields.clone", fields)
    assert client.call("[method]fields.delete", fields, "a") == Ok()
    assert client.call("[method]fields.entries", client.fields(("a", b"b" * 500))) != []


async def test_a_reply_without_room_is_lost(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The component is told how long it was; the next one finds room."""
    request = client.request()
    body, stream = client.body(request)
    client.component.write(stream, bytes(1_000))
    assert client.call("[static]outgoing-body.finish", body, None) == Ok()
    monkeypatch.setattr(http_memory, "MOST_BYTES", 1_900)
    answer = await client.answer(client.handle(request))
    assert answer == Ok(Err(Variant("HTTP-response-body-size", 1_000)))
    answer = await client.answer(client.handle(client.request()))
    assert read_all(client, answer.value.value) == b"empty"


async def test_some_requests_are_sent_at_once_and_more_wait(
    component: FakeComponent, nursery: trio.Nursery
) -> None:
    """A body that is not finished keeps no place from others; a dropped future gives its place."""
    under_way = most = 0

    async def send(_: WasiHttpRequest) -> WasiHttpReply:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await gate.wait()
        finally:
            under_way -= 1
        return WasiHttpReply(status=200, headers=[], body=b"")

    gate = trio.Event()
    client = Client(component, nursery, send)
    unfinished = [client.request() for _ in range(http_memory.MOST_AT_ONCE)]
    for request in unfinished:
        client.body(request)
        client.handle(request)
    futures = [client.handle(client.request()) for _ in range(2 * http_memory.MOST_AT_ONCE)]
    await trio.testing.wait_all_tasks_blocked()
    assert under_way == http_memory.MOST_AT_ONCE
    component.drop(futures.pop(0))
    await trio.testing.wait_all_tasks_blocked()
    assert under_way == http_memory.MOST_AT_ONCE
    gate.set()
    for future in futures:
        assert isinstance((await client.answer(future)).value, Ok)
    assert most == http_memory.MOST_AT_ONCE


async def test_a_future_that_is_dropped_ends_its_request(
    component: FakeComponent, nursery: trio.Nursery
) -> None:
    """So does the end of the instance, which drops all."""
    ended = trio.Event()

    async def send(_: WasiHttpRequest) -> WasiHttpReply:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    client = Client(component, nursery, send)
    future = client.handle(client.request())
    await trio.testing.wait_all_tasks_blocked()
    component.drop(future)
    await ended.wait()


async def test_several_requests_are_under_way_at_once(
    component: FakeComponent, nursery: trio.Nursery
) -> None:
    """A poll over their futures ends with the first reply; the others go on."""
    gates = {f"/{k}": trio.Event() for k in range(3)}

    async def send(request: WasiHttpRequest) -> WasiHttpReply:
        path = request.url.removeprefix("https://example.com")
        await gates[path].wait()
        return WasiHttpReply(status=200, headers=[], body=path.encode())

    client = Client(component, nursery, send)
    futures = [client.handle(client.request(path_with_query=path)) for path in gates]
    subscribe = "[method]future-incoming-response.subscribe"
    pollables = [client.call(subscribe, each) for each in futures]
    gates["/1"].set()
    assert await component.acall("wasi:io/poll", "poll", pollables) == [1]
    gates["/0"].set()
    gates["/2"].set()
    for future, path in zip(futures, gates, strict=True):
        answer = await client.answer(future)
        assert read_all(client, answer.value.value) == path.encode()


async def test_a_host_that_ends_first_answers_with_an_error(component: FakeComponent) -> None:
    """A component that waits is not left to wait for ever."""

    async def send(_: WasiHttpRequest) -> WasiHttpReply:
        await trio.sleep_forever()
        raise AssertionError

    async with trio.open_nursery() as nursery:
        client = Client(component, nursery, send)
        future = client.handle(client.request())
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await client.answer(future) == Ok(Err(Variant("connection-terminated")))


# --- fields ---


async def test_fields_keep_their_order_and_case(client: Client) -> None:
    """And find names in any case."""
    fields = client.fields(("A", b"1"), ("b", b"2"), ("a", b"3"))
    assert client.call("[method]fields.get", fields, "a") == [b"1", b"3"]
    assert client.call("[method]fields.has", fields, "B") is True
    assert client.call("[method]fields.append", fields, "B", b"4") == Ok()
    assert client.call("[method]fields.set", fields, "a", [b"5", b"6"]) == Ok()
    copy = client.call("[method]fields.clone", fields)
    assert client.call("[method]fields.delete", fields, "b") == Ok()
    assert client.call("[method]fields.entries", fields) == [("a", b"5"), ("a", b"6")]
    assert len(client.call("[method]fields.entries", copy)) == 4
    assert client.call("[method]fields.has", client.call("[constructor]fields"), "a") is False


@pytest.mark.parametrize(
    ("name", "value", "case"),
    [
        ("a b", b"", "invalid-syntax"),
        ("", b"", "invalid-syntax"),
        ("a", b"\r\nb: c", "invalid-syntax"),
        ("a\n", b"", "invalid-syntax"),
        ("Host", b"other.example", "forbidden"),
        ("transfer-encoding", b"chunked", "forbidden"),
        ("Connection", b"close", "forbidden"),
    ],
)
async def test_what_is_not_allowed_in_a_header(
    client: Client, name: str, value: bytes, case: str
) -> None:
    """By whatever function it comes."""
    error = Err(Variant(case))
    fields = client.fields()
    assert client.call("[static]fields.from-list", [(name, value)]) == error
    assert client.call("[method]fields.append", fields, name, value) == error
    assert client.call("[method]fields.set", fields, name, [value]) == error
    assert client.call("[method]fields.entries", fields) == []


async def test_fields_are_bounded(client: Client) -> None:
    """In number and in size; more is refused before it is looked at."""
    forbidden = Err(Variant("forbidden"))
    assert client.call("[static]fields.from-list", [("a", b"")] * 1001) == forbidden
    assert client.call("[static]fields.from-list", [("a", bytes(200_000))]) == forbidden
    fields = client.fields(*[("a", b"")] * 1000)
    assert client.call("[method]fields.append", fields, "a", b"") == forbidden
    assert client.call("[method]fields.set", fields, "b", [b""]) == forbidden
    assert client.call("[method]fields.set", fields, "a", [b""] * 2000) == forbidden
    assert len(client.call("[method]fields.entries", fields)) == 1000


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("method", Variant("other", "A B")),
        ("scheme", Variant("other", "1:")),
        ("authority", "user@host"),
        ("authority", "a b"),
        ("authority", "a/b"),
        ("path-with-query", "/a b"),
        ("path-with-query", "/a#b"),
        ("path-with-query", "/" * 20_000),
    ],
)
async def test_parts_of_a_request_are_checked(client: Client, part: str, value: object) -> None:
    """What is no part of a URL is refused, and changes nothing."""
    request = client.request()
    before = client.call(f"[method]outgoing-request.{part}", request)
    assert client.call(f"[method]outgoing-request.set-{part}", request, value) == Err()
    assert client.call(f"[method]outgoing-request.{part}", request) == before


async def test_a_response_can_be_made_and_not_sent(client: Client) -> None:
    """Components that answer requests link; nothing asks them here."""
    response = client.call("[constructor]outgoing-response", client.fields())
    assert client.call("[method]outgoing-response.status-code", response) == 200
    assert client.call("[method]outgoing-response.set-status-code", response, 404) == Ok()
    assert client.call("[method]outgoing-response.set-status-code", response, 9) == Err()
    assert client.call("[method]outgoing-response.status-code", response) == 404
    assert isinstance(client.call("[method]outgoing-response.body", response), Ok)
    assert client.call("[method]outgoing-response.body", response) == Err()
