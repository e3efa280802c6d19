"""What a plugin may reach over HTTP: host names by a list, addresses by a table."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Any, Final

import attrs

from .host_name import host_name, is_address

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["HttpPolicy", "host_is_listed", "is_global"]

_MIB: Final = 1 << 20


def _hosts(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        message = f"HttpPolicy.allow_hosts must be a collection of host names, not {value!r}"
        raise TypeError(message)
    return frozenset(_entry(name) for name in value)


def _entry(given: object) -> str:
    if not isinstance(given, str):
        message = f"HttpPolicy.allow_hosts must hold host names, not {given!r}"
        raise TypeError(message)
    below = given.startswith("*.")
    try:
        host = host_name(given.removeprefix("*."))
    except ValueError as why:
        message = (
            f"HttpPolicy.allow_hosts: {given!r} is no host name: {why}. Give a name without "
            "scheme, port and path, as 'api.example.com', or '*.example.com' for all names below"
        )
        raise ValueError(message) from None
    if is_address(host) and below:
        message = f"HttpPolicy.allow_hosts: {given!r}: no name is below an address"
        raise ValueError(message)
    if is_address(host) and ":" not in host and host != given:
        message = f"HttpPolicy.allow_hosts: write {host!r} instead of {given!r}"
        raise ValueError(message)
    return f"*.{host}" if below else host


def _at_least_one(policy: HttpPolicy, attribute: attrs.Attribute[int], value: Any) -> None:
    del policy
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"HttpPolicy.{attribute.name} must be a number of bytes, not {value!r}"
        raise TypeError(message)
    if value < 1:
        message = f"HttpPolicy.{attribute.name} must be at least 1 byte, not {value}"
        raise ValueError(message)


def _seconds(policy: HttpPolicy, attribute: attrs.Attribute[float], value: Any) -> None:
    del policy
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        message = f"HttpPolicy.{attribute.name} must be seconds, not {value!r}"
        raise TypeError(message)
    if not (value > 0 and math.isfinite(value)):
        message = f"HttpPolicy.{attribute.name} must be above 0 and finite, not {value}"
        raise ValueError(message)


def _flag(policy: HttpPolicy, attribute: attrs.Attribute[bool], value: object) -> None:
    del policy
    if not isinstance(value, bool):
        message = f"HttpPolicy.{attribute.name} must be True or False, not {value!r}"
        raise TypeError(message)


@attrs.frozen(kw_only=True)
class HttpPolicy:
    """What a plugin may do with ``host_http_request``.

    Plugins are not trusted. Without a policy a plugin reaches no host. ``HttpPolicy()`` opens the
    public internet, and nothing that only this machine, its network or its cloud can reach: an
    address is judged by a table made from IANA's special-purpose registries and the metadata and
    host addresses of clouds, the same in every Python. It is judged when it is connected to, for
    each connection and after each redirect, so a name that resolves to a private address is refused
    like the address itself. An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4,
    ISATAP) is as public as the IPv4 address; one behind a NAT64 prefix of the network's own is not
    recognised. The proxy variables of the environment are ignored: the check would see the proxy.

    Raises:
        TypeError, ValueError: a field is of the wrong type, or out of its range; an entry of
            ``allow_hosts`` is no host name.
    """

    allow_hosts: Collection[str] | None = attrs.field(default=None, converter=_hosts)
    """Hosts that may be asked, by name or address; None is every host. Names are compared in one
    form: that of IDNA 2008, in ASCII and lower case, without a last dot. ``"*.example.com"`` stands
    for every name below ``example.com``, and not for that name itself. An allowed name does not
    make a private address allowed."""
    allow_private: bool = attrs.field(default=False, validator=_flag)
    """Whether every other address may be connected to, too: loopback, private networks, link-local,
    multicast, and with them the cloud's metadata service, which gives credentials to anyone that
    asks. Together with ``allow_hosts`` it opens only the listed hosts."""
    max_response: int = attrs.field(default=10 * _MIB, validator=_at_least_one)
    """Bytes of a reply's body, after gzip is undone; a longer body is an error, never cut."""
    default_timeout: float = attrs.field(default=60.0, validator=_seconds)
    """Seconds for a whole request, with its redirects and its body, if the plugin asks for no other
    time; ``max_timeout`` bounds it, too."""
    max_timeout: float = attrs.field(default=300.0, validator=_seconds)
    """Seconds that a plugin may ask for at most."""


def host_is_listed(host: str, allowed: Collection[str] | None) -> bool:
    """Return True if a policy's ``allow_hosts`` lets a request ask this host."""
    if allowed is None:
        return True
    try:
        name = host_name(host)
    except ValueError:
        return False
    if name in allowed:
        return True
    parents = name.split(".")[1:]
    return any(f"*.{'.'.join(parents[i:])}" in allowed for i in range(len(parents)))


def is_global(address: str) -> bool:
    """Return True if an address is one of the public internet, also where IPv6 carries IPv4."""
    from .special_addresses import is_public  # noqa: PLC0415 - only connections need the table

    return is_public(ipaddress.ip_address(address.partition("%")[0]))
