"""A server that answers wrongly in many ways, and rightly often enough to be asked again.

What it does with a request follows from the seed and the request's token alone, or from the path:
``/any/TOKEN`` or ``/surplus/TOKEN``. Every right answer ends with the token, so that an answer to
another request is noticed; what must never be taken for an answer says `FORGED`.

It runs in a thread with a loop of its own: what it takes is not counted as the client's. By hand:
``python tests/http/misbehaving_server.py [PORT] [SEED]``.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import random
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import attrs
import hpack
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = ["FORGED", "HTTP1", "HTTP2", "RIGHT", "Server", "answers_another", "serving"]

FORGED: Final = "forged"
_FORGED: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
_FLOOD: Final = 4 << 20  # bytes after which a flood ends, if the client still listens
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def answers_another(reply: dict[str, Any], token: str) -> bool:
    """Return True if a guest's reply is none to the request with this token."""
    if reply["status"] in (0, 204, 304) and FORGED not in reply["body"]:
        return False
    return not reply["body"].endswith(token)


# --- HTTP/1.1 ---


@attrs.frozen
class Talk:
    """One request, and how to answer it."""

    server: Server
    stream: trio.SocketStream
    token: bytes
    head: bytes
    random: random.Random

    async def send(self, *parts: bytes) -> None:
        await self.stream.send_all(b"".join(parts))

    async def reply(self, body: bytes = b"", *headers: bytes, status: bytes = b"200 OK") -> None:
        length = b"Content-Length: %d" % len(body)
        await self.send(_head(status, length, *headers), body)

    async def flood(self, part: bytes) -> None:
        part *= max(1, 65536 // len(part))
        for _ in range(_FLOOD // len(part)):
            await self.send(part)


_Behaviour: TypeAlias = "Callable[[Talk], Awaitable[bool | None]]"
"""Returns True to go on with the connection."""

HTTP1: Final[dict[str, _Behaviour]] = {}
_BY_NAME: Final[dict[str, _Behaviour]] = {}
"""Not chosen at random: what comes when the next request is on its way can be its answer."""
RIGHT: Final[set[str]] = set()
"""The behaviours of HTTP/1.1 that a client must understand."""


def _behaviour(behave: _Behaviour) -> _Behaviour:
    HTTP1[behave.__name__] = behave
    return behave


def _right(behave: _Behaviour) -> _Behaviour:
    RIGHT.add(behave.__name__)
    return _behaviour(behave)


def _by_name(behave: _Behaviour) -> _Behaviour:
    _BY_NAME[behave.__name__] = behave
    return behave


def _head(status: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"", b""])


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@_right
async def right(talk: Talk) -> bool:
    await talk.reply(talk.token)
    return True


@_right
async def chunked(talk: Talk) -> bool:
    parts = [talk.token[:3], talk.token[3:]]
    trailers = b"0\r\nX-Trailer: 1\r\n\r\n"
    head = _head(b"200 OK", b"Transfer-Encoding: chunked")
    await talk.send(head, *(_chunk(part) for part in parts if part), trailers)
    return True


@_right
async def one_byte_chunks(talk: Talk) -> bool:
    body = b"x" * 5000 + talk.token
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    await talk.send(_head(b"200 OK", b"Transfer-Encoding: chunked"), chunks, b"0\r\n\r\n")
    return True


@_right
async def gzipped(talk: Talk) -> bool:
    body = gzip.compress(b"x" * 100_000 + talk.token)
    if b"accept-encoding: gzip" not in talk.head.lower():
        return await right(talk) or False
    await talk.reply(body, b"Content-Encoding: gzip")
    return True


@_right
async def without_length(talk: Talk) -> None:
    await talk.send(_head(b"200 OK"), talk.token)


@_right
async def dripped(talk: Talk) -> bool:
    data = _head(b"200 OK", b"Content-Length: %d" % len(talk.token)) + talk.token
    for at in range(len(data)):
        await talk.send(data[at : at + 1])
    return True


@_right
async def informed(talk: Talk) -> bool:
    await talk.send(_head(b"100 Continue"), _head(b"103 Early Hints", b"Link: </a>"))
    return await right(talk) or False


@_right
async def closing(talk: Talk) -> None:
    await talk.reply(talk.token, b"Connection: close")


@_right
async def closing_unsaid(talk: Talk) -> None:
    await talk.reply(talk.token)


@_right
async def old(talk: Talk) -> bool:
    head = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n"
    await talk.send(head % len(talk.token), talk.token)
    return True


@_right
async def surplus(talk: Talk) -> bool:
    await talk.send(_head(b"200 OK", b"Content-Length: %d" % len(talk.token)), talk.token, _FORGED)
    return True


@_right
async def surplus_after_chunks(talk: Talk) -> bool:
    head = _head(b"200 OK", b"Transfer-Encoding: chunked")
    await talk.send(head, _chunk(talk.token), b"0\r\n\r\n", _FORGED)
    return True


@_by_name
async def surplus_later(talk: Talk) -> bool:
    await talk.reply(talk.token)
    await talk.send(_FORGED)
    talk.server.sent_late += 1
    return True


@_by_name
async def closes_at_the_next(talk: Talk) -> None:
    await talk.reply(talk.token)
    await talk.stream.receive_some()


@_right
async def surplus_blank_line(talk: Talk) -> bool:
    await talk.send(_head(b"200 OK", b"Content-Length: %d" % len(talk.token)), talk.token, b"\r\n")
    return True


@_right
async def surplus_after_204(talk: Talk) -> bool:
    await talk.send(_head(b"204 No Content"), _FORGED)
    return True


@_right
async def surplus_after_304(talk: Talk) -> bool:
    await talk.send(_head(b"304 Not Modified", b"Content-Length: 6"), _FORGED)
    return True


@_right
async def two_lengths_of_a_kind(talk: Talk) -> bool:
    head = _head(b"200 OK", b"Transfer-Encoding: chunked", b"Content-Length: 3")
    await talk.send(head, _chunk(talk.token), b"0\r\n\r\n")
    return True


@_right
async def many_trailers_within_reason(talk: Talk) -> bool:
    trailers = b"".join(b"X-%d: 1\r\n" % number for number in range(50))
    head = _head(b"200 OK", b"Transfer-Encoding: chunked")
    await talk.send(head, _chunk(talk.token), b"0\r\n", trailers, b"\r\n")
    return True


@_right
async def redirect(talk: Talk) -> bool:
    where = b"Location: /right/" + talk.token
    await talk.reply(b"", where, status=b"302 Found")
    return True


@_right
async def redirect_with_surplus(talk: Talk) -> bool:
    where = b"Location: /right/" + talk.token
    await talk.send(_head(b"302 Found", b"Content-Length: 0", where), _FORGED)
    return True


@_behaviour
async def redirect_to_private(talk: Talk) -> bool:
    await talk.reply(b"", b"Location: http://169.254.169.254/latest", status=b"302 Found")
    return True


@_behaviour
async def redirect_loop(talk: Talk) -> bool:
    where = b"Location: /redirect_loop/" + talk.token
    await talk.reply(b"x", where, status=b"307 Temporary Redirect")
    return True


@_behaviour
async def redirect_to_garbage(talk: Talk) -> bool:
    await talk.reply(b"", b"Location: http://[::1", status=b"301 Moved")
    return True


@_behaviour
async def cut(talk: Talk) -> None:
    await talk.send(_head(b"200 OK", b"Content-Length: 1000"), talk.token)


@_behaviour
async def cut_chunk(talk: Talk) -> None:
    await talk.send(_head(b"200 OK", b"Transfer-Encoding: chunked"), b"ff\r\n", talk.token)


@_behaviour
async def cut_head(talk: Talk) -> None:
    await talk.send(b"HTTP/1.1 200 OK\r\nContent-Le")


@_behaviour
async def closed(talk: Talk) -> None:
    await trio.lowlevel.checkpoint()


@_behaviour
async def reset(talk: Talk) -> None:
    talk.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await talk.send(_head(b"200 OK", b"Content-Length: 1000")[: talk.random.randrange(1, 30)])


@_behaviour
async def hang(talk: Talk) -> None:
    while await talk.stream.receive_some():
        pass


@_behaviour
async def hang_in_the_body(talk: Talk) -> None:
    await talk.send(_head(b"200 OK", b"Content-Length: 1000"), talk.token)
    await hang(talk)


@_behaviour
async def no_http(talk: Talk) -> None:
    await talk.send(talk.random.randbytes(500))


@_behaviour
async def two_lengths(talk: Talk) -> bool:
    await talk.send(_head(b"200 OK", b"Content-Length: 3", b"Content-Length: 4"), b"abcd")
    return True


@_behaviour
async def bad_chunk(talk: Talk) -> None:
    head = _head(b"200 OK", b"Transfer-Encoding: chunked")
    await talk.send(head, _chunk(talk.token), b"-5\r\nhello\r\n")


@_behaviour
async def switching(talk: Talk) -> bool:
    await talk.send(_head(b"101 Switching Protocols", b"Upgrade: forged"), _FORGED)
    return True


@_behaviour
async def informational_flood(talk: Talk) -> None:
    await talk.flood(_head(b"100 Continue"))


@_behaviour
async def header_flood(talk: Talk) -> None:
    await talk.send(b"HTTP/1.1 200 OK\r\n")
    await talk.flood(b"a: b\r\n")


@_behaviour
async def long_header(talk: Talk) -> None:
    await talk.send(b"HTTP/1.1 200 OK\r\nA: ")
    await talk.flood(b"a")


@_behaviour
async def many_headers(talk: Talk) -> None:
    await talk.send(b"HTTP/1.1 200 OK\r\n", b"a:b\r\n" * 19_000, b"Content-Length: 0\r\n\r\n")


@_behaviour
async def one_byte_chunk_flood(talk: Talk) -> None:
    await talk.send(_head(b"200 OK", b"Transfer-Encoding: chunked"))
    await talk.flood(b"1\r\nx\r\n")


@_behaviour
async def chunk_extension_flood(talk: Talk) -> None:
    await talk.send(_head(b"200 OK", b"Transfer-Encoding: chunked"), b"1;")
    await talk.flood(b"x")


@_behaviour
async def trailer_flood(talk: Talk) -> None:
    await talk.send(_head(b"200 OK", b"Transfer-Encoding: chunked"), b"0\r\n")
    await talk.flood(b"a:\r\n")


@_behaviour
async def many_trailers(talk: Talk) -> None:
    head = _head(b"200 OK", b"Transfer-Encoding: chunked")
    await talk.send(head, _chunk(talk.token), b"0\r\n", b"a:\r\n" * 3000, b"\r\n")


@_behaviour
async def endless_length(talk: Talk) -> None:
    await talk.send(_head(b"200 OK", b"Content-Length: " + b"9" * 50_000), b"x")


@_behaviour
async def endless_body(talk: Talk) -> None:
    await talk.send(_head(b"200 OK"))
    for _ in range(4):
        await talk.flood(b"x")


@_behaviour
async def gzip_garbage(talk: Talk) -> bool:
    await talk.reply(b"\x1f\x8b\x08\x00" + talk.random.randbytes(500), b"Content-Encoding: gzip")
    return True


@_behaviour
async def gzip_cut(talk: Talk) -> bool:
    body = gzip.compress(talk.random.randbytes(10_000))
    await talk.reply(body[:5000], b"Content-Encoding: gzip")
    return True


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(bytes(64 << 20), 9)


@_behaviour
async def gzip_bomb(talk: Talk) -> bool:
    await talk.reply(_bomb(), b"Content-Encoding: gzip")
    return True


@_behaviour
async def gzip_of_nothing(talk: Talk) -> None:
    await talk.send(_head(b"200 OK", b"Content-Encoding: gzip"))
    await talk.flood(gzip.compress(b""))
    await talk.send(b"no gzip")


@_behaviour
async def early(talk: Talk) -> None:
    await talk.reply(b"too large " + talk.token, b"Connection: close", status=b"413 No")


# --- HTTP/2 ---


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, END_HEADERS, ACK = 1, 4, 1


@attrs.frozen
class Talk2:
    """One request of HTTP/2, and how to answer it."""

    stream: trio.SocketStream
    token: bytes
    id: int
    random: random.Random

    async def send(self, *parts: bytes) -> None:
        await self.stream.send_all(b"".join(parts))

    def headers(self, *fields: tuple[bytes, bytes], stream: int = 0, flags: int = 4) -> bytes:
        # Without the dynamic table every block stands for itself.
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        block = encoder.encode([(b":status", b"200"), *fields])
        return frame(HEADERS, flags, stream or self.id, block)

    def reply(self) -> bytes:
        return self.headers() + frame(DATA, END_STREAM, self.id, self.token)

    async def flood(self, part: bytes) -> None:
        part *= max(1, 65536 // len(part))
        for _ in range(_FLOOD // len(part)):
            await self.send(part)


_Behaviour2: TypeAlias = "Callable[[Talk2], Awaitable[bool | None]]"
HTTP2: Final[dict[str, _Behaviour2]] = {}


def _behaviour2(behave: _Behaviour2) -> _Behaviour2:
    HTTP2[behave.__name__.removesuffix("_2")] = behave
    return behave


@_behaviour2
async def right_2(talk: Talk2) -> bool:
    await talk.send(talk.reply())
    return True


@_behaviour2
async def one_byte_data(talk: Talk2) -> bool:
    data = b"".join(frame(DATA, 0, talk.id, b"x") for _ in range(2000))
    await talk.send(talk.headers(), data, frame(DATA, END_STREAM, talk.id, talk.token))
    return True


@_behaviour2
async def noisy(talk: Talk2) -> bool:
    noise = frame(PING, 0, 0, bytes(8)) + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") + frame(99, 0, 0)
    await talk.send(noise, talk.headers(), noise)
    await talk.send(frame(DATA, END_STREAM, talk.id, talk.token), noise)
    return True


@_behaviour2
async def surplus_2(talk: Talk2) -> bool:
    forged = talk.headers(stream=talk.id + 2) + frame(DATA, END_STREAM, talk.id + 2, b"forged")
    await talk.send(talk.reply(), forged)
    return True


@_behaviour2
async def surplus_half(talk: Talk2) -> bool:
    forged = talk.headers(stream=talk.id + 2) + frame(DATA, END_STREAM, talk.id + 2, b"forged")
    await talk.send(talk.reply(), forged[:8])
    await trio.sleep(talk.random.random() / 100)
    await talk.send(forged[8:])
    return True


@_behaviour2
async def data_after_the_end(talk: Talk2) -> bool:
    await talk.send(talk.reply(), frame(DATA, 0, talk.id, b"forged"))
    return True


@_behaviour2
async def going_away(talk: Talk2) -> None:
    await talk.send(frame(GOAWAY, 0, 0, talk.id.to_bytes(4) + bytes(4)), talk.reply())


@_behaviour2
async def gone_away(talk: Talk2) -> None:
    await talk.send(frame(GOAWAY, 0, 0, (talk.id - 2 if talk.id > 1 else 0).to_bytes(4) + bytes(4)))


@_behaviour2
async def reset_2(talk: Talk2) -> bool:
    await talk.send(talk.headers(), frame(RST_STREAM, 0, talk.id, b"\0\0\0\2"))
    return True


@_behaviour2
async def refused(talk: Talk2) -> bool:
    await talk.send(frame(RST_STREAM, 0, talk.id, b"\0\0\0\7"))
    return True


@_behaviour2
async def early_2_2(talk: Talk2) -> bool:
    await talk.send(talk.reply(), frame(RST_STREAM, 0, talk.id, bytes(4)))
    return True


@_behaviour2
async def pushing(talk: Talk2) -> bool:
    promise = (2).to_bytes(4) + talk.headers(stream=2)[9:]
    await talk.send(frame(PUSH_PROMISE, END_HEADERS, talk.id, promise), talk.reply())
    return True


@_behaviour2
async def cut_2(talk: Talk2) -> None:
    await talk.send(talk.reply()[:-3])


@_behaviour2
async def wrong_length(talk: Talk2) -> bool:
    head = talk.headers((b"content-length", b"1000"))
    await talk.send(head, frame(DATA, END_STREAM, talk.id, talk.token))
    return True


@_behaviour2
async def hang_2(talk: Talk2) -> None:
    while await talk.stream.receive_some():
        pass


@_behaviour2
async def no_http2(talk: Talk2) -> None:
    await talk.send(talk.random.randbytes(500))


@_behaviour2
async def data_without_headers(talk: Talk2) -> bool:
    await talk.send(frame(DATA, END_STREAM, talk.id, b"forged"))
    return True


@_behaviour2
async def ping_flood(talk: Talk2) -> None:
    await talk.flood(frame(PING, 0, 0, bytes(8)))


@_behaviour2
async def settings_flood(talk: Talk2) -> None:
    await talk.flood(frame(SETTINGS, 0, 0))


@_behaviour2
async def many_settings(talk: Talk2) -> None:
    await talk.send(frame(SETTINGS, 0, 0, b"\0\1\0\0\0\1" * 2700))


@_behaviour2
async def window_update_flood(talk: Talk2) -> None:
    await talk.flood(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))


@_behaviour2
async def unknown_flood(talk: Talk2) -> None:
    await talk.flood(frame(77, 0, 0))


@_behaviour2
async def empty_data_flood(talk: Talk2) -> None:
    await talk.send(talk.headers())
    await talk.flood(frame(DATA, 0, talk.id))


@_behaviour2
async def one_byte_data_flood(talk: Talk2) -> None:
    await talk.send(talk.headers())
    await talk.flood(frame(DATA, 0, talk.id, b"x"))


@_behaviour2
async def continuation_flood(talk: Talk2) -> None:
    await talk.send(talk.headers(flags=0))
    await talk.flood(frame(CONTINUATION, 0, talk.id))


@_behaviour2
async def long_continuation(talk: Talk2) -> None:
    await talk.send(talk.headers(flags=0))
    await talk.flood(frame(CONTINUATION, 0, talk.id, bytes(16384)))


@_behaviour2
async def informational_flood_2(talk: Talk2) -> None:
    await talk.flood(
        frame(HEADERS, END_HEADERS, talk.id, hpack.Encoder().encode([(b":status", b"103")]))
    )


@_behaviour2
async def many_headers_2(talk: Talk2) -> None:
    block = b"\x88" + b"\x90" * 1900  # an entry of the static table, again and again
    await talk.send(frame(HEADERS, END_HEADERS | END_STREAM, talk.id, block))


@_behaviour2
async def huffman(talk: Talk2) -> None:
    block = hpack.Encoder().encode([(b":status", b"200"), (b"x", b"0" * 25_000)])
    head = frame(HEADERS, END_HEADERS, talk.id, block)
    await talk.send(head, frame(DATA, END_STREAM, talk.id, talk.token))


@_behaviour2
async def too_long_frame(talk: Talk2) -> None:
    await talk.send(talk.headers())
    await talk.flood(frame(DATA, 0, talk.id, bytes(1 << 20)))


# --- the server ---


@final
class Server:
    """Serves on loopback until its thread is told to stop."""

    def __init__(self, seed: int, port: int = 0) -> None:
        self.seed = seed
        self.port = port
        self.connections = 0
        self.sent_late = 0
        """Answers that came when they were not asked for."""
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self.thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._stop()
        self.thread.join()

    async def _serve(self) -> None:
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._stop = lambda: token.run_sync_soon(nursery.cancel_scope.cancel)
            listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1", backlog=500)
            self.port = listeners[0].socket.getsockname()[1]
            self._ready.set()
            await trio.serve_listeners(self._connection, listeners)

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            data = bytearray(await stream.receive_some())
            serve = self._http2 if data.startswith(_PREFACE[:3]) else self._http1
            await serve(stream, data)
        await trio.aclose_forcefully(stream)

    def _chosen(self, target: bytes, names: dict[str, Any]) -> tuple[Any, bytes, random.Random]:
        _, name, token = target.decode().split("/", 2)
        choice = random.Random(f"{self.seed}/{token}")
        # One in two is right, or no connection would ever be used again.
        if name == "any":
            name = choice.choice([*names, *["right"] * len(names)])
        behave = names.get(name) or _BY_NAME[name]
        return behave, token.encode(), choice

    async def _http1(self, stream: trio.SocketStream, data: bytearray) -> None:
        while True:
            while (end := data.find(b"\r\n\r\n")) < 0:
                if not (more := await stream.receive_some()):
                    return
                data += more
            head = bytes(data[: end + 4])
            del data[: end + 4]
            behave, token, choice = self._chosen(head.split(b" ")[1], HTTP1)
            if behave is not early:
                await self._skip_body(stream, head, data)
            if not await behave(Talk(self, stream, token, head, choice)):
                return

    async def _skip_body(self, stream: trio.SocketStream, head: bytes, data: bytearray) -> None:
        _, found, rest = head.lower().partition(b"content-length: ")
        missing = int(rest.split(b"\r\n")[0]) if found else 0
        while len(data) < missing:
            if not (more := await stream.receive_some()):
                return
            data += more
        del data[:missing]

    async def _http2(self, stream: trio.SocketStream, data: bytearray) -> None:
        decoder = hpack.Decoder()
        await stream.send_all(frame(SETTINGS, 0, 0))
        targets: dict[int, bytes] = {}
        del data[: len(_PREFACE)]
        while True:
            while len(data) < 9 or len(data) < 9 + int.from_bytes(data[:3]):
                if not (more := await stream.receive_some()):
                    return
                data += more
            size, kind, flags = int.from_bytes(data[:3]), data[3], data[4]
            number, payload = int.from_bytes(data[5:9]), bytes(data[9 : 9 + size])
            del data[: 9 + size]
            if kind == HEADERS:
                fields = dict(decoder.decode(payload, raw=True))
                targets[number] = fields[b":path"]
            if kind == SETTINGS and not flags & ACK:
                await stream.send_all(frame(SETTINGS, ACK, 0))
            is_early = kind == HEADERS and b"/early_2/" in targets[number]
            if is_early or (kind in (HEADERS, DATA) and flags & END_STREAM):
                if number not in targets:
                    continue
                behave, token, choice = self._chosen(targets.pop(number), HTTP2)
                if not await behave(Talk2(stream, token, number, choice)):
                    return


@contextlib.asynccontextmanager
async def serving(seed: int) -> AsyncGenerator[Server, None]:
    """A server in a thread, while the block runs."""
    server = Server(seed)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def main(port: str = "0", seed: str = "0") -> None:
    """Serve until Ctrl-C."""
    server = Server(int(seed), int(port))
    server.start()
    sys.stdout.write(f"{server.url}/any/TOKEN, seed {server.seed}\n")
    sys.stdout.flush()
    server.thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
