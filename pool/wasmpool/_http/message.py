"""Requests and replies, independent of the version of HTTP."""

from __future__ import annotations

from typing import Final

import attrs
import httpx2

__all__ = [
    "MAX_HEAD",
    "MAX_HEADERS",
    "MAX_INFORMATIONAL",
    "Forbidden",
    "Head",
    "HttpFailure",
    "NotAnswered",
    "Reply",
    "Request",
    "read_url",
    "too_many_pieces",
]

MAX_HEAD: Final = 100 << 10
"""Bytes of a reply's head: the default of h11."""

MAX_HEADERS: Final = 1000
"""Lines of a reply's head: 2 ms of parsing, in one step."""

MAX_INFORMATIONAL: Final = 5
"""Informational (1xx) replies before the reply: as many as Go's client accepts."""

_URL: Final = 16 << 10  # bytes; servers refuse half of it, and reading it takes 4 ms
_PIECES: Final = 100_000
_BYTES_PER_PIECE: Final = 32

_NO_CONTENT: Final = frozenset({204, 304})
# RFC 9110, section 9.2.2, without PUT and DELETE: Go's client does not repeat these either.
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_KEYS: Final = frozenset({b"idempotency-key", b"x-idempotency-key"})


class HttpFailure(Exception):
    """There is no reply; the message says why, for the plugin's author."""


class Forbidden(HttpFailure):
    """The policy does not allow the request."""


class NotAnswered(HttpFailure):
    """The connection ended before the first byte of a reply.

    Attributes:
        untouched: the server says that it has not processed the request.
    """

    def __init__(self, message: str, *, untouched: bool = False) -> None:
        super().__init__(message)
        self.untouched = untouched


@attrs.frozen
class Request:
    """A request as it is sent, without the headers in `framing`."""

    method: str
    url: httpx2.URL
    headers: tuple[tuple[bytes, bytes], ...]
    """In the order and the case in which they are sent; without Host and Content-Length."""
    body: bytes

    def get(self, name: bytes) -> bytes:
        """Return the first value of a header, or ``b""``; ``name`` is in lower case."""
        return next((value for each, value in self.headers if each.lower() == name), b"")

    @property
    def is_repeatable(self) -> bool:
        """True if it is safe to send it again to a server that may have processed it."""
        names = {name.lower() for name, _ in self.headers}
        return self.method in _REPEATABLE or not _KEYS.isdisjoint(names)

    @property
    def framing(self) -> list[tuple[bytes, bytes]]:
        """Host, and Content-Length if the method can have a body or there is one."""
        headers = [(b"Host", self.url.netloc)]
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            headers.append((b"Content-Length", b"%d" % len(self.body)))
        return headers


@attrs.frozen
class Head:
    """A reply's status and headers."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def get(self, name: bytes) -> bytes:
        """Return the first value of a header, or ``b""``; ``name`` is in lower case."""
        return next((value for each, value in self.headers if each.lower() == name), b"")

    def has_content(self, method: str) -> bool:
        """Return True if a body can follow this head in a reply to ``method``."""
        return method != "HEAD" and self.status not in _NO_CONTENT


@attrs.frozen
class Reply:
    """A whole reply."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def read_url(url: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """Read a URL that a guest or a server gave; with ``base``, it may be relative.

    Raises:
        HttpFailure: it is not a URL, or is too long.
    """
    size = len(url.encode(errors="replace")) if len(url) <= _URL else len(url)
    if size > _URL:
        message = f"InvalidURL: {url[:80]!r}... is too long: {size:,} bytes, above {_URL:,}"
        raise HttpFailure(message)
    try:
        return httpx2.URL(url) if base is None else base.join(url)
    except (httpx2.InvalidURL, ValueError) as bad:
        message = f"InvalidURL: {url[:80]!r} is not a URL: {bad}"
        raise HttpFailure(message) from bad


def too_many_pieces(pieces: int, size: int) -> bool:
    """Return True if a body of ``size`` bytes came in an unreasonable number of pieces.

    Each piece takes about 10 us, however small it is.
    """
    return pieces > _PIECES + size // _BYTES_PER_PIECE
