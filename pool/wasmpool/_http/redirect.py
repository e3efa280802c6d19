"""Redirects, by the rules of Go's client, which existing plugins expect.

After 301, 302 and 303 the next request is a GET without a body (or a HEAD after a HEAD); 307 and
308 keep method and body. Credentials are kept for the same host and for hosts below it. Two rules
are stricter than in Go: they are dropped for another port, and from https to http.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .message import Request, read_url

if TYPE_CHECKING:
    import httpx2

    from .message import Head

__all__ = ["is_redirect", "redirected"]

_TO_GET: Final = frozenset({301, 302, 303})
_UNCHANGED: Final = frozenset({307, 308})
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
_BODY_HEADERS: Final = frozenset(
    {b"content-encoding", b"content-language", b"content-location", b"content-type"}
)
_PORTS: Final = {"http": 80, "https": 443}


def is_redirect(head: Head) -> bool:
    """Return True if a reply is a redirect."""
    return head.status in _TO_GET | _UNCHANGED and bool(head.get(b"location"))


def redirected(request: Request, head: Head) -> Request | None:
    """Return the request that follows a redirect, or None if the reply is not a redirect.

    Raises:
        HttpFailure: its Location is not a URL, or is too long.
    """
    if not is_redirect(head):
        return None
    url = read_url(head.get(b"location").decode(errors="replace"), request.url)
    dropped = {b"referer"}
    method, body = request.method, request.body
    if head.status in _TO_GET:
        method, body = ("HEAD" if method == "HEAD" else "GET"), b""
        dropped |= _BODY_HEADERS
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
