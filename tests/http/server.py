"""A real HTTP server on loopback, of h11 and h2, that plugins and the client are tested against."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final
from urllib.parse import parse_qs, urlsplit

import attrs
import h2.config
import h2.connection
import h2.events
import h11
import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    _Stream: TypeAlias = trio.SocketStream | trio.SSLStream[Any]

__all__ = ["Request", "Resolver", "Response", "Server", "certificate", "resolver", "server"]


@attrs.frozen
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    http: str

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def query(self, key: str) -> str:
        return parse_qs(urlsplit(self.target).query)[key][0]


@attrs.frozen
class Response:
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length: bool = True
    """Whether Content-Length announces the body; else it is chunked."""


class Server:
    """What the tests ask, and what they can see of how they were served."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[Request] = []
        self.connections = 0
        self.waiting = 0
        self.gone = 0
        """Requests whose connection closed while they waited."""
        self.release = trio.Event()
        self.route: dict[str, Any] = {}

    async def serve(self, stream: _Stream) -> None:
        """Serve one connection, in the version of HTTP that it begins with."""
        self.connections += 1
        try:
            first = bytes(await stream.receive_some())
            serve = _serve_h2 if first.startswith(b"PRI * HTTP/2.0") else _serve_h11
            await serve(self, stream, first)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass

    async def respond(self, request: Request) -> Response:
        self.requests.append(request)
        serve = self.route.get(request.path) or getattr(self, f"do_{request.path.strip('/')}")
        answer: Response = await serve(request)
        return answer

    async def do_echo(self, request: Request) -> Response:
        seen = {
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body": base64.b64encode(request.body).decode(),
            "http": request.http,
        }
        return Response(body=json.dumps(seen).encode(), headers=(("content-type", "text/json"),))

    async def do_status(self, request: Request) -> Response:
        return Response(
            int(request.query("code")), b"said so", (("x-twice", "1"), ("x-twice", "2"))
        )

    async def do_wait(self, request: Request) -> Response:
        await trio.sleep(int(request.query("ms")) / 1000)
        return Response(body=b"waited")

    async def do_hang(self, request: Request) -> Response:
        self.waiting += 1
        await self.release.wait()
        return Response(body=b"released")

    async def do_bytes(self, request: Request) -> Response:
        return Response(body=bytes(range(256)))

    async def do_big(self, request: Request) -> Response:
        return Response(
            body=b"x" * int(request.query("size")), length="chunked" not in request.target
        )

    async def do_gzip(self, request: Request) -> Response:
        body = gzip.compress(b"x" * int(request.query("size")))
        cut = len(body) // 2 if "cut" in request.target else len(body)
        return Response(body=body[:cut], headers=(("content-encoding", "gzip"),))

    async def do_redirect(self, request: Request) -> Response:
        return Response(
            int(request.query("code")), b"elsewhere", (("location", request.query("to")),)
        )

    async def do_cookie(self, request: Request) -> Response:
        return Response(headers=(("set-cookie", "session=secret; Path=/"),))


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncGenerator[Server, None]:
    """Serves until the test ends."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Server(listeners[0].socket.getsockname()[1])

    nursery.start_soon(trio.serve_listeners, server.serve, listeners)
    yield server
    nursery.cancel_scope.cancel()


async def _serve_h11(server: Server, stream: _Stream, data: bytes) -> None:
    http = h11.Connection(h11.SERVER)
    http.receive_data(data)
    while True:
        request = await _read_h11(http, stream)
        if request is None:
            return
        response = await _respond_unless_gone(server, request, stream, bytearray())
        if response is None:
            return
        headers = list(response.headers)
        if response.length:
            headers.append(("content-length", str(len(response.body))))
        await stream.send_all(
            http.send(h11.Response(status_code=response.status, headers=headers)) or b""
        )
        if request.method != "HEAD":
            for start in range(0, len(response.body), 65536):
                part = h11.Data(data=response.body[start : start + 65536])
                await stream.send_all(http.send(part) or b"")
        await stream.send_all(http.send(h11.EndOfMessage()) or b"")
        if http.our_state is not h11.DONE:
            return
        http.start_next_cycle()


async def _respond_unless_gone(
    server: Server, request: Request, stream: _Stream, more: bytearray
) -> Response | None:
    """Answer, and give up when the client hangs up meanwhile; what it says goes to ``more``."""
    result: list[Response] = []
    async with trio.open_nursery() as nursery:

        async def respond() -> None:
            result.append(await server.respond(request))
            nursery.cancel_scope.cancel()

        async def watch() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                while said := await stream.receive_some():
                    more.extend(said)
            server.gone += 1
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        nursery.start_soon(respond)
    return result[0] if result else None


async def _read_h11(http: h11.Connection, stream: _Stream) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some()))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers = [(name.decode(), value.decode()) for name, value in head.headers.raw_items()]
            return Request(head.method.decode(), head.target.decode(), headers, body, "1.1")
        else:
            return None


async def _serve_h2(server: Server, stream: _Stream, data: bytes) -> None:
    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    http.initiate_connection()
    heads: dict[int, list[tuple[str, str]]] = {}
    bodies: dict[int, bytes] = {}
    more = bytearray()
    while data:
        for event in http.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                heads[event.stream_id] = [(k.decode(), v.decode()) for k, v in event.headers or ()]
                bodies[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] += event.data or b""
                http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                head = dict(heads[event.stream_id])
                request = Request(
                    head[":method"],
                    head[":path"],
                    heads[event.stream_id],
                    bodies[event.stream_id],
                    "2",
                )
                await stream.send_all(http.data_to_send())
                response = await _respond_unless_gone(server, request, stream, more)
                if response is None:
                    return
                http.send_headers(
                    event.stream_id, [(":status", str(response.status)), *response.headers]
                )
                http.send_data(event.stream_id, response.body[:16384], end_stream=True)
        await stream.send_all(http.data_to_send())
        data = bytes(more) or bytes(await stream.receive_some())
        more.clear()


@final
class Resolver(trio.abc.HostnameResolver):
    """Knows every name, and notes which were asked for."""

    def __init__(self) -> None:
        self.addresses = ["127.0.0.1"]
        self.asked: list[str] = []

    async def getaddrinfo(  # noqa: PLR0917 - trio's signature
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's signature
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        del family, proto, flags
        self.asked.append((host or b"").decode())
        return [(socket.AF_INET, type, 6, "", (address, port)) for address in self.addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
async def resolver() -> AsyncGenerator[Resolver, None]:
    """Answers for the name servers while the test runs."""
    resolver = Resolver()
    previous = trio.socket.set_custom_hostname_resolver(resolver)
    yield resolver
    trio.socket.set_custom_hostname_resolver(previous)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a key and a self-signed certificate for localhost."""
    pem = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {pem} -out {pem}.crt"
    )
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with the openssl command")
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    pem.write_text(pem.read_text() + Path(f"{pem}.crt").read_text())
    return str(pem)
