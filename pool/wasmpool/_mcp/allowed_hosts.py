"""Which ``Host`` and ``Origin`` headers are served.

A web page can send requests to a server on its reader's machine, under a name of its own that leads
there (DNS rebinding). Such a request has a foreign ``Host``, or a foreign ``Origin``, so only known
ones are served.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["AllowedHosts"]

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST: Final = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?"
)
_SCHEMES: Final = ("http://", "https://")


@final
class AllowedHosts:
    """Says which hosts and origins are served: those of this machine, and those that are listed.

    Args:
        hosts: names or addresses, with a port to allow only this one: ``"tools.example"``,
            ``"10.0.0.7:8000"``.
        origins: of web pages: ``"https://app.example"``. The origins of allowed hosts need not be
            listed.

    Raises:
        TypeError, ValueError: one of them is none.
    """

    def __init__(self, hosts: Collection[str] = (), origins: Collection[str] = ()) -> None:
        self._hosts: Final = _LOOPBACK | {_checked_host(host) for host in _listed(hosts, "hosts")}
        self._origins: Final = {_checked_origin(each) for each in _listed(origins, "origins")}

    def has_host(self, host: str) -> bool:
        """Return True for the ``Host`` header of a request that is served."""
        parts = _HOST.fullmatch(host)
        return parts is not None and bool({host.lower(), parts["name"].lower()} & self._hosts)

    def has_origin(self, origin: str) -> bool:
        """Return True for the ``Origin`` header of a request that is served."""
        if origin.lower() in self._origins:
            return True
        scheme, mark, host = origin.partition("://")
        return f"{scheme.lower()}{mark}" in _SCHEMES and self.has_host(host)


def _listed(given: Collection[str], what: str) -> Collection[str]:
    if isinstance(given, str):
        message = f"allowed_{what} must be a list of strings, not {given!r}"
        raise TypeError(message)
    return given


def _checked_host(host: str) -> str:
    if _HOST.fullmatch(host) is None:
        message = f"allowed_hosts must be names or addresses, such as 'a.example:80', not {host!r}"
        raise ValueError(message)
    return host.lower()


def _checked_origin(origin: str) -> str:
    if (
        not origin.lower().startswith(_SCHEMES)
        or _HOST.fullmatch(origin.partition("://")[2]) is None
    ):
        message = f"allowed_origins must be origins, such as 'https://a.example', not {origin!r}"
        raise ValueError(message)
    return origin.lower()
