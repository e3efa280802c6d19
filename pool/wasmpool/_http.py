"""``host_http_request``: a guest's request in JSON, its reply in JSON, and never a trap.

The contract (ABI version 1): ``{method, url, headers?, body?, body_base64?}`` goes in,
``{status, headers?, body, body_base64?}`` comes out. Whatever goes wrong on the host's side is
``{"status": 0, "body": "<why>"}``. Three headers, in exactly this case, are for the host and are
not sent: ``X-Raw-Body`` (answer in ``body_base64``), ``X-H2C`` (HTTP/2 in clear text) and
``X-Host-Timeout-Seconds``. As guests were compiled against a host in Go, details follow Go's
client: a JSON null is an absent value, no method is GET, reply headers are named ``Like-This``,
of a header that stands twice the first counts, and the headers that belong to the connection are
the host's own, ``Host`` among them.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import re
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio

from ._json import decode, encode

if TYPE_CHECKING:
    from ._http_client import Client, Reply
    from ._http_policy import HttpPolicy

__all__ = ["Http"]

_RAW_BODY: Final = "X-Raw-Body"
_H2C: Final = "X-H2C"
_TIMEOUT: Final = "X-Host-Timeout-Seconds"
_CONTROL: Final = frozenset({_RAW_BODY, _H2C, _TIMEOUT})

# Framing and routing are the client's; a guest's Host would get round `allow_hosts`.
_CONNECTION_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    }
)

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_NOT_IN_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # section 5.5
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")


class _BadRequest(Exception):
    """The guest's request cannot be made; the text says why."""


@attrs.frozen
class _Request:
    method: str
    url: str
    headers: list[tuple[str, bytes]]
    body: bytes
    raw_body: bool
    h2c: bool
    timeout: float


@final
class Http:
    """One plugin's HTTP: its policy, and a client that is opened when the plugin first asks."""

    def __init__(self, policy: HttpPolicy, payload: int) -> None:
        self._policy = policy
        self._payload = payload
        self._client: Client | None = None

    async def import_client(self) -> None:
        """Have no request wait for the client's import: once in a process, 60 ms in a thread."""
        with contextlib.suppress(ModuleNotFoundError):  # said when a guest asks
            await trio.to_thread.run_sync(_client_module)

    async def answer(self, request: bytes) -> bytes:
        """Make one request of a guest's; always an answer, unless the task is cancelled."""
        try:
            reply = await self._answer(_parse(request, self._policy))
        except _BadRequest as bad:
            await trio.lowlevel.checkpoint()
            return _failure(str(bad))
        if len(reply) > self._payload:
            return _failure(
                f"the reply is too large: {len(reply):,} bytes of JSON, above limits.payload "
                f"({self._payload:,} bytes)"
            )
        return reply

    async def aclose(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _answer(self, request: _Request) -> bytes:
        with trio.move_on_after(request.timeout):
            try:
                client = await self._open()
            except ModuleNotFoundError as missing:
                return _failure(
                    f"host_http_request needs {missing.name}, which is not installed here: "
                    'pip install "wasmpool[plugin]"'
                )
            failure = _client_module().HttpFailure
            try:
                reply = await client.request(
                    request.method, request.url, request.headers, request.body, h2c=request.h2c
                )
            except failure as why:
                return _failure(str(why))
            return _success(reply, raw_body=request.raw_body)
        return _failure(f"timed out: no whole reply within {request.timeout:g} s")

    async def _open(self) -> Client:
        if self._client is not None:
            return self._client
        module = await trio.to_thread.run_sync(_client_module)
        client: Client = self._client or module.Client(self._policy)
        self._client = client
        return client


def _client_module() -> Any:
    return importlib.import_module("._http_client", __package__)


# --- what comes in ---


def _parse(data: bytes, policy: HttpPolicy) -> _Request:
    try:
        given = decode(data)
    except ValueError as broken:
        message = f"bad request: no JSON: {broken}"
        raise _BadRequest(message) from None
    if not isinstance(given, dict):
        message = f"bad request: a JSON object is wanted, not {type(given).__name__}"
        raise _BadRequest(message)
    headers = _headers(given)
    return _Request(
        method=_method(_text(given, "method") or "GET"),
        url=_text(given, "url"),
        headers=[
            (name, _header_value(name, value))
            for name, value in headers.items()
            if name not in _CONTROL and name.lower() not in _CONNECTION_HEADERS
        ],
        body=_body(given),
        raw_body=bool(headers.get(_RAW_BODY)),
        h2c=bool(headers.get(_H2C)),
        timeout=_seconds(headers.get(_TIMEOUT, ""), policy),
    )


def _text(given: dict[str, Any], key: str) -> str:
    value = given.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        message = f"bad request: {key} must be a string, not {type(value).__name__}"
        raise _BadRequest(message)
    return value


def _headers(given: dict[str, Any]) -> dict[str, str]:
    headers = given.get("headers")
    if headers is None:
        return {}
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        message = "bad request: headers must be an object of strings"
        raise _BadRequest(message)
    return headers


def _method(method: str) -> str:
    if not _TOKEN.fullmatch(method) or method.upper() == "CONNECT":
        message = f"bad request: no method for a plugin: {method!r}"
        raise _BadRequest(message)
    return method


def _header_value(name: str, value: str) -> bytes:
    value = value.strip(" \t")
    if not _TOKEN.fullmatch(name) or _NOT_IN_VALUE.search(value):
        message = f"bad request: the header {name!r} is not allowed in HTTP: {value!r}"
        raise _BadRequest(message)
    return value.encode(errors="replace")


def _body(given: dict[str, Any]) -> bytes:
    encoded = _text(given, "body_base64")
    if not encoded:
        return _text(given, "body").encode(errors="replace")
    try:
        return base64.b64decode(encoded.replace("\r", "").replace("\n", ""), validate=True)
    except ValueError as bad:
        message = f"bad request: body_base64 is no base64: {bad}"
        raise _BadRequest(message) from None


def _seconds(asked: str, policy: HttpPolicy) -> float:
    seconds = int(asked) if _INTEGER.fullmatch(asked) else 0
    return min(seconds if seconds > 0 else policy.default_timeout, policy.max_timeout)


# --- what goes out ---


def _failure(why: str) -> bytes:
    return encode({"status": 0, "body": why.encode(errors="replace").decode()})


def _success(reply: Reply, *, raw_body: bool) -> bytes:
    headers: dict[str, str] = {}
    for name, value in reply.headers:
        headers.setdefault(_canonical(name), value.decode(errors="replace"))
    answer: dict[str, object] = {"status": reply.status, "headers": headers}
    if raw_body:
        answer |= {"body": "", "body_base64": base64.b64encode(reply.body).decode()}
    else:
        answer |= {"body": reply.body.decode(errors="replace")}
    return encode(answer)


def _canonical(name: bytes) -> str:
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))
