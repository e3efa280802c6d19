"""Where a reply sends a request on to: by the rules of Go's client, which plugins were built for.

301, 302 and 303 make a GET without a body of everything but HEAD; 307 and 308 change nothing.
Credentials go along within the host and to hosts below it. Two things are stricter than in Go: a
redirect to another port, or from https to http, takes no credentials along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .message import Request, read_url

if TYPE_CHECKING:
    import httpx2

    from .message import Head

__all__ = ["is_redirect", "redirected"]

_TO_GET: Final = frozenset({301, 302, 303})
_AS_IT_IS: Final = frozenset({307, 308})
_CREDENTIALS: Final = frozenset(
    {
        b"authorization",
        b"cookie",
        b"cookie2",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"www-authenticate",
    }
)
_OF_THE_BODY: Final = frozenset(
    {b"content-encoding", b"content-language", b"content-location", b"content-type"}
)
_PORTS: Final = {"http": 80, "https": 443}


def is_redirect(head: Head) -> bool:
    """Return True if a reply sends its request on to elsewhere."""
    return head.status in _TO_GET | _AS_IT_IS and bool(head.get(b"location"))


def redirected(request: Request, head: Head) -> Request | None:
    """The request that a reply asks for instead, or None if it is no redirect.

    Raises:
        HttpFailure: its Location is no URL, or too long a one.
    """
    if not is_redirect(head):
        return None
    url = read_url(head.get(b"location").decode(errors="replace"), request.url)
    dropped = {b"referer"}
    method, body = request.method, request.body
    if head.status in _TO_GET:
        method, body = ("HEAD" if method == "HEAD" else "GET"), b""
        dropped |= _OF_THE_BODY
    if not _keeps_credentials(request.url, url):
        dropped |= _CREDENTIALS
    headers = [each for each in request.headers if each[0].lower() not in dropped]
    return Request(method, url, (*headers, *_referer(request, url)), body)


def _keeps_credentials(old: httpx2.URL, new: httpx2.URL) -> bool:
    if old.scheme == "https" and new.scheme != "https":
        return False
    if _port(old) != _port(new) and (_port(old), _port(new)) != (80, 443):
        return False
    return new.host == old.host or new.host.endswith(f".{old.host}")


def _port(url: httpx2.URL) -> int | None:
    return url.port or _PORTS.get(url.scheme)


def _referer(request: Request, url: httpx2.URL) -> list[tuple[bytes, bytes]]:
    given = request.get(b"referer")
    if request.url.scheme == "https" and url.scheme == "http":
        return []
    if not given:
        given = str(request.url.copy_with(userinfo=b"", fragment=None)).encode()
    return [(b"Referer", given)]
