"""What a guest passes to ``host_http_request``: its JSON is read and checked here.

A request of at most `SMALL` bytes is parsed in one step, a larger one in pieces. Only the body has
a reason to be large; the limits for all other parts are above those of servers.
"""

from __future__ import annotations

import base64
import re
import reprlib
from typing import TYPE_CHECKING, Any, Final

import attrs

from wasmpool._json import decode
from wasmpool._json_pieces import SMALL, read_members

if TYPE_CHECKING:
    from wasmpool._json_pieces import Cooperative, Members

    from .policy import HttpPolicy

__all__ = [
    "BadRequest",
    "GuestRequest",
    "plain_headers",
    "read_large_request",
    "read_method",
    "read_request",
]

_RAW_BODY: Final = "X-Raw-Body"
_H2C: Final = "X-H2C"
_TIMEOUT: Final = "X-Host-Timeout-Seconds"
_CONTROL: Final = frozenset({_RAW_BODY, _H2C, _TIMEOUT})

# The client sets these. A guest that sets Host could evade `allow_hosts`.
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

_MAX_HEADERS: Final = 500
"""Servers accept about 100."""
_MAX_TOKENS: Final = 10_000
"""Of a large request; a valid one has fewer."""
_MAX_SIZES: Final = {"url": 16 << 10}
"""By key, bytes; `SMALL` for the other keys. HTTP clients accept no longer URL."""
_WANTED: Final = ("method", "url", "headers", "body", "body_base64")


class BadRequest(Exception):
    """The guest's request is invalid; the message says why."""


@attrs.frozen
class GuestRequest:
    """A valid request; the client still checks its host against the policy."""

    method: str
    url: str
    headers: list[tuple[str, bytes]]
    """Without the headers that the client sets."""
    body: bytes
    raw_body: bool
    """True if the guest gets the reply's body in base64."""
    h2c: bool
    """True for HTTP/2 without TLS."""
    timeout: float
    """Seconds for the whole request, including redirects and the reply's body."""


def read_request(data: bytes, policy: HttpPolicy) -> GuestRequest:
    """Read a request of at most `SMALL` bytes.

    Raises:
        BadRequest: it does not fulfil the contract, or is not possible in HTTP.
    """
    try:
        given = decode(data)
    except ValueError as broken:
        message = f"bad request: not JSON: {broken}"
        raise BadRequest(message) from None
    if not isinstance(given, dict):
        message = f"bad request: it must be a JSON object, not {type(given).__name__}"
        raise BadRequest(message)
    return _request(given, _body(given), policy)


def read_large_request(data: bytes, policy: HttpPolicy) -> Cooperative[GuestRequest]:
    """Read a request of any size, in pieces.

    Raises:
        BadRequest: as for `read_request`; or a part other than the body is too large.
    """
    try:
        members = yield from read_members(data, _WANTED, _MAX_TOKENS)
    except ValueError as broken:
        message = f"bad request: not JSON, or too large: {broken}"
        raise BadRequest(message) from None
    if members is None:
        message = "bad request: it must be a JSON object"
        raise BadRequest(message)
    body = yield from _large_body(members)
    rest = ("method", "url", "headers")
    return _request({key: _whole(members, key) for key in rest}, body, policy)


def _request(given: dict[str, Any], body: bytes, policy: HttpPolicy) -> GuestRequest:
    headers = _headers(given)
    return GuestRequest(
        method=_method(_text(given, "method") or "GET"),
        url=_text(given, "url"),
        headers=[
            (name, _header_value(name, value))
            for name, value in headers.items()
            if name not in _CONTROL and name.lower() not in _CONNECTION_HEADERS
        ],
        body=body,
        raw_body=bool(headers.get(_RAW_BODY)),
        h2c=bool(headers.get(_H2C)),
        timeout=_seconds(headers.get(_TIMEOUT, ""), policy),
    )


def read_method(method: str) -> str:
    """Check a request's method.

    Raises:
        BadRequest: it is none, or one that a guest cannot use.
    """
    return _method(method)


def plain_headers(given: object) -> list[tuple[str, bytes]]:
    """Read a request's headers, none of which is for the host: those that the client does not set.

    Raises:
        BadRequest: they are no object of strings, too many, or not allowed in HTTP.
    """
    return [
        (name, _header_value(name, value))
        for name, value in _headers({"headers": given}).items()
        if name.lower() not in _CONNECTION_HEADERS
    ]


def _text(given: dict[str, Any], key: str) -> str:
    value = given.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        message = f"bad request: {key} must be a string, not {type(value).__name__}"
        raise BadRequest(message)
    return value


def _headers(given: dict[str, Any]) -> dict[str, str]:
    headers = given.get("headers")
    if headers is None:
        return {}
    if isinstance(headers, dict) and len(headers) > _MAX_HEADERS:
        message = f"bad request: {len(headers):,} headers, above {_MAX_HEADERS}"
        raise BadRequest(message)
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        message = "bad request: headers must be an object of strings"
        raise BadRequest(message)
    return headers


def _method(method: str) -> str:
    if not _TOKEN.fullmatch(method) or method.upper() == "CONNECT":
        message = f"bad request: a plugin cannot use the method {reprlib.repr(method)}"
        raise BadRequest(message)
    return method


def _header_value(name: str, value: str) -> bytes:
    value = value.strip(" \t")
    if not _TOKEN.fullmatch(name) or _NOT_IN_VALUE.search(value):
        message = (
            f"bad request: the header {reprlib.repr(name)} is not allowed in HTTP: "
            f"{reprlib.repr(value)}"
        )
        raise BadRequest(message)
    return value.encode(errors="replace")


def _seconds(asked: str, policy: HttpPolicy) -> float:
    seconds = int(asked) if _INTEGER.fullmatch(asked) else 0
    return min(seconds if seconds > 0 else policy.default_timeout, policy.max_timeout)


def _body(given: dict[str, Any]) -> bytes:
    encoded = _text(given, "body_base64")
    if not encoded:
        return _text(given, "body").encode(errors="replace")
    try:
        return _from_base64(_without_breaks(encoded))
    except ValueError as bad:
        raise _no_base64(bad) from None


def _without_breaks(encoded: str) -> str:
    return encoded.replace("\r", "").replace("\n", "")


def _from_base64(encoded: str) -> bytes:
    if len(encoded) % 4 or encoded.endswith(
        "==="
    ):  # some versions of Python accept too much padding
        raise ValueError("Incorrect padding")
    return base64.b64decode(encoded, validate=True)


def _no_base64(why: ValueError) -> BadRequest:
    return BadRequest(f"bad request: body_base64 is not base64: {why}")


# --- in pieces ---


def _whole(members: Members, key: str) -> Any:
    """Return a member that has no reason to be large, parsed in one step."""
    value = members.get(key, b"null")
    size = len(value) if isinstance(value, bytes) else sum(map(len, value))
    limit = _MAX_SIZES.get(key, SMALL)
    if size > limit:
        message = f"bad request: {key} is too long: {size:,} bytes, above {limit:,}"
        raise BadRequest(message)
    return decode(value) if isinstance(value, bytes) else "".join(value)


def _pieces(members: Members, key: str) -> list[str]:
    """Return the pieces of a string; an empty list if the member is absent."""
    value = members.get(key, b"null")
    if isinstance(value, list):
        return value
    if len(value) > SMALL:  # a string of this size is a list of pieces
        message = f"bad request: {key} must be a string"
        raise BadRequest(message)
    text = _text({key: decode(value)}, key)
    return [text] if text else []


def _large_body(members: Members) -> Cooperative[bytes]:
    encoded = _pieces(members, "body_base64")
    if encoded:
        try:
            return (yield from _from_base64_in_pieces(encoded))
        except ValueError as bad:
            raise _no_base64(bad) from None
    body: list[bytes] = []
    for piece in _pieces(members, "body"):
        body.append(piece.encode(errors="replace"))
        yield
    return b"".join(body)


def _from_base64_in_pieces(pieces: list[str]) -> Cooperative[bytes]:
    """Decode groups of four characters; an incomplete group is decoded with the next piece."""
    decoded: list[bytes] = []
    rest = ""
    ended = False
    for piece in pieces:
        group = rest + _without_breaks(piece)
        whole = len(group) - len(group) % 4
        group, rest = group[:whole], group[whole:]
        if ended and group:
            raise ValueError("Excess data after padding")
        ended = ended or "=" in group
        decoded.append(_from_base64(group))
        yield
    decoded.append(_from_base64(rest))
    if ended and rest:
        raise ValueError("Excess data after padding")
    return b"".join(decoded)
