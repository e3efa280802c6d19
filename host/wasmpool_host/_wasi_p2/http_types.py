"""``wasi:http``: requests and replies. Without a host function for ``handle`` each is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn, final

import trio

from wasmpool_host._wit_values import Err, Ok, Variant

from .failure import IoError, Unsuccessful, check_class
from .http_body import FutureTrailers, IncomingBody, OutgoingBody
from .http_fields import Entries, Fields, memory_size
from .http_memory import HttpMemory, MemoryIsFull, Share
from .pollable import Pollable
from .resource import Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool_host._wasi.process import Process

__all__ = [
    "FutureIncomingResponse",
    "OutgoingRequest",
    "RequestOptions",
    "fields_from_list",
    "finish_incoming",
    "finish_outgoing",
    "http_error_code",
    "new_fields",
    "new_options",
    "new_request",
    "new_response",
    "refuse",
]

_MOST_TEXT: Final = 16 * 1024
"""Characters of a path, an authority or a method. HTTP clients accept no longer URL."""

_PATH: Final = re.compile(r"[!-\"$-~]*")
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")


def _check(pattern: re.Pattern[str], text: str) -> None:
    if len(text) > _MOST_TEXT or not pattern.fullmatch(text):
        raise Unsuccessful


@final
class OutgoingRequest(Resource):
    """``outgoing-request``."""

    __slots__ = ("_authority", "_body", "_fields", "_method", "_path", "_scheme", "_share")

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._share = Share(fields.memory)
        self._method = Variant("get")
        self._path: str | None = None
        self._scheme: Variant | None = None
        self._authority: str | None = None
        self._body: OutgoingBody | None = None

    def body(self) -> OutgoingBody:
        """The body, once."""
        if self._body is not None:
            raise Unsuccessful
        lengths = self._fields.get("content-length")
        given = lengths[0] if lengths else b""
        expected = int(given) if _DIGITS.fullmatch(given) else None
        self._body = OutgoingBody(expected, self.memory)
        return self._body

    def method(self) -> Variant:
        return self._method

    def set_method(self, method: Variant) -> None:
        if method.case == "other":
            _check(_TOKEN, method.value)
        self._make_room(method, self._path, self._scheme, self._authority)
        self._method = method

    def path_with_query(self) -> str | None:
        return self._path

    def set_path_with_query(self, path: str | None) -> None:
        if path is not None:
            _check(_PATH, path)
        self._make_room(self._method, path, self._scheme, self._authority)
        self._path = path

    def scheme(self) -> Variant | None:
        return self._scheme

    def set_scheme(self, scheme: Variant | None) -> None:
        if scheme is not None and scheme.case == "other":
            _check(_SCHEME, scheme.value)
        self._make_room(self._method, self._path, scheme, self._authority)
        self._scheme = scheme

    def authority(self) -> str | None:
        return self._authority

    def set_authority(self, authority: str | None) -> None:
        if authority is not None:
            _check(_AUTHORITY, authority)
        self._make_room(self._method, self._path, self._scheme, authority)
        self._authority = authority

    def headers(self) -> Fields:
        return self._fields.as_immutable()

    def _make_room(self, *texts: str | Variant | None) -> None:
        """Take the bytes of these texts."""
        known = [each.value if isinstance(each, Variant) else each for each in texts]
        try:
            self._share.resize(sum(len(text) for text in known if text is not None))
        except MemoryIsFull:
            raise Unsuccessful from None

    # --- for the host ---

    @property
    def memory(self) -> HttpMemory:
        """What it takes its bytes of."""
        return self._share.memory

    @property
    def verb(self) -> str:
        """The method as it is sent."""
        method = self._method
        return str(method.value) if method.case == "other" else method.case.upper()

    @property
    def url(self) -> str:
        """Where it goes.

        Raises:
            Unsuccessful: it has no authority, or its scheme is neither http nor https.
        """
        scheme = "https" if self._scheme is None else self._scheme.case.lower()
        if scheme == "other":
            raise Unsuccessful(Variant("HTTP-protocol-error"))
        if not self._authority:
            raise Unsuccessful(Variant("HTTP-request-URI-invalid"))
        path = self._path or "/"
        return f"{scheme}://{self._authority}{'' if path.startswith('/') else '/'}{path}"

    async def read_body(self) -> bytes:
        """Wait until the guest has written its body.

        Raises:
            Unsuccessful: it has dropped the body before that.
        """
        body = self._body
        if body is None:
            await trio.lowlevel.checkpoint()
            return b""
        await body.ended.wait()
        if not body.is_whole:
            raise Unsuccessful(Variant("internal-error", "the guest dropped an unfinished body"))
        return bytes(body.content)


@final
class RequestOptions(Resource):
    """``request-options``: times in nanoseconds."""

    __slots__ = ("_between", "_connect", "_first")

    def __init__(self) -> None:
        self._connect: int | None = None
        self._first: int | None = None
        self._between: int | None = None

    def connect_timeout(self) -> int | None:
        return self._connect

    def set_connect_timeout(self, duration: int | None) -> None:
        self._connect = duration

    def first_byte_timeout(self) -> int | None:
        return self._first

    def set_first_byte_timeout(self, duration: int | None) -> None:
        self._first = duration

    def between_bytes_timeout(self) -> int | None:
        return self._between

    def set_between_bytes_timeout(self, duration: int | None) -> None:
        self._between = duration


@final
class IncomingResponse(Resource):
    """``incoming-response``: a whole reply."""

    __slots__ = ("_body", "_fields", "_status")

    def __init__(self, status: int, headers: Entries, body: bytes, memory: HttpMemory) -> None:
        """Take it, if there is room; else raise `MemoryIsFull`."""
        head, content = Share(memory), Share(memory)
        head.resize(memory_size(headers))
        content.resize(len(body))
        self._status = status
        self._fields = Fields(headers, head, is_mutable=False)
        self._body: IncomingBody | None = IncomingBody(body, content)

    def status(self) -> int:
        return self._status

    def headers(self) -> Fields:
        return self._fields.as_immutable()

    def consume(self) -> IncomingBody:
        """The body, once."""
        body, self._body = self._body, None
        if body is None:
            raise Unsuccessful
        return body


@final
class _Arrived:
    """The reply is there, or it is known that there is none."""

    def __init__(self) -> None:
        self._happened = trio.Event()

    def set(self) -> None:
        self._happened.set()

    def is_ready(self) -> bool:
        return self._happened.is_set()

    async def wait(self) -> None:
        await self._happened.wait()


@final
class FutureIncomingResponse(Resource):
    """``future-incoming-response``: a reply that a task of the host waits for.

    Attributes:
        scope: of that task. It is cancelled when the guest drops the future.
    """

    __slots__ = ("_arrived", "_is_taken", "_memory", "_result", "scope")

    def __init__(self, memory: HttpMemory) -> None:
        self._memory = memory
        self.scope: trio.CancelScope = trio.CancelScope()
        self._arrived = _Arrived()
        self._result: Ok | Err = Err(Variant("internal-error"))
        self._is_taken = False

    def subscribe(self) -> Pollable:
        return Pollable(self._arrived)

    def get(self) -> Ok | Err | None:
        """None before it is there; then the result, once."""
        if not self._arrived.is_ready():
            return None
        if self._is_taken:
            return Err()
        self._is_taken = True
        return Ok(self._result)

    def close(self) -> None:
        self.scope.cancel()

    # --- for the host ---

    @property
    def is_done(self) -> bool:
        """True if it is known what becomes of it."""
        return self._arrived.is_ready()

    def answer(self, status: int, headers: Entries, body: bytes) -> None:
        """The reply has arrived. It is lost if there is no room for it."""
        try:
            self._result = Ok(IncomingResponse(status, headers, body, self._memory))
        except MemoryIsFull:
            self._result = Err(Variant("HTTP-response-body-size", len(body)))
        self._arrived.set()

    def fail(self, code: Variant) -> None:
        """There is no reply, with ``error-code`` of ``wasi:http/types``."""
        self._result = Err(code)
        self._arrived.set()


@final
class OutgoingResponse(Resource):
    """``outgoing-response``: a component can make one, and has nobody to give it to."""

    __slots__ = ("_body", "_fields", "_status")

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._status = 200
        self._body: OutgoingBody | None = None

    def status_code(self) -> int:
        return self._status

    def set_status_code(self, status: int) -> None:
        if not 100 <= status <= 999:
            raise Unsuccessful
        self._status = status

    def headers(self) -> Fields:
        return self._fields.as_immutable()

    def body(self) -> OutgoingBody:
        """The body, once."""
        if self._body is not None:
            raise Unsuccessful
        self._body = OutgoingBody(None, self._fields.memory)
        return self._body


def http_error_code(_process: Process, error: IoError) -> Variant | None:
    """Why a stream of a body has failed."""
    check_class(error, IoError)
    return error.http


def new_fields(process: Process) -> Fields:
    """Empty fields."""
    return Fields.new(HttpMemory.of(process))


def fields_from_list(process: Process, entries: Sequence[tuple[str, bytes]]) -> Fields:
    """Fields with these entries."""
    return Fields.from_list(entries, HttpMemory.of(process))


def new_request(_process: Process, headers: Fields) -> OutgoingRequest:
    """A request to nowhere yet."""
    check_class(headers, Fields)
    return OutgoingRequest(headers)


def new_options(_process: Process) -> RequestOptions:
    """Options of a request, none of which is set."""
    return RequestOptions()


def new_response(_process: Process, headers: Fields) -> OutgoingResponse:
    """A response with status 200."""
    check_class(headers, Fields)
    return OutgoingResponse(headers)


def finish_outgoing(_process: Process, body: OutgoingBody, trailers: Fields | None) -> None:
    """The body is whole."""
    check_class(body, OutgoingBody)
    if trailers is not None:
        check_class(trailers, Fields)
    body.finish(trailers)


def finish_incoming(_process: Process, body: IncomingBody) -> FutureTrailers:
    """Ask for what follows a body: nothing."""
    check_class(body, IncomingBody)
    return FutureTrailers()


def refuse(
    _process: Process, _request: OutgoingRequest, _options: RequestOptions | None
) -> NoReturn:
    """Refuse a request: the component may reach no host."""
    raise Unsuccessful(Variant("HTTP-request-denied"))
