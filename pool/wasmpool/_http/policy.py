"""The policy for HTTP requests of plugins: allowed names by a list, addresses by a table."""

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
            f"HttpPolicy.allow_hosts: {given!r} is not a host name: {why}. Give a name without "
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

    Plugins are not trusted. Without a policy, a plugin can reach no host. ``HttpPolicy()`` allows
    the public internet, and nothing that only this machine, its network or its cloud can reach. A
    table decides which addresses are public; it is made from IANA's special-purpose registries and
    the metadata and host addresses of clouds, and is the same in every version of Python. The
    address is checked at each connection, also after a redirect, so a name that resolves to a
    private address is refused like the address itself. An IPv6 address that contains an IPv4
    address (mapped, NAT64, 6to4, ISATAP) counts as that IPv4 address; one with a NAT64 prefix of
    the local network is not recognised. The proxy variables of the environment are ignored, because
    the check would see the address of the proxy.

    Raises:
        TypeError, ValueError: a field is of the wrong type, or out of its range; an entry of
            ``allow_hosts`` is not a host name.
    """

    allow_hosts: Collection[str] | None = attrs.field(default=None, converter=_hosts)
    """The allowed hosts, by name or address; None is every host. Names are compared in one form:
    IDNA 2008, in ASCII and lower case, without a final dot. ``"*.example.com"`` allows every name
    below ``example.com``, but not that name itself. An allowed name does not make a private address
    allowed."""
    allow_private: bool = attrs.field(default=False, validator=_flag)
    """True allows all other addresses as well: loopback, private networks, link-local, multicast,
    and with them the cloud's metadata service, which gives credentials to any client. Together with
    ``allow_hosts`` it allows only the listed hosts."""
    max_response: int = attrs.field(default=10 * _MIB, validator=_at_least_one)
    """Bytes of a reply's body, after decompression. A longer body is an error; it is never cut."""
    default_timeout: float = attrs.field(default=60.0, validator=_seconds)
    """Seconds for a whole request, including redirects and the reply's body, unless the plugin asks
    for another time; never more than ``max_timeout``."""
    max_timeout: float = attrs.field(default=300.0, validator=_seconds)
    """The longest time that a plugin can ask for, in seconds."""


def host_is_listed(host: str, allowed: Collection[str] | None) -> bool:
    """Return True if ``allow_hosts`` of a policy allows this host."""
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
    """Return True if an address is part of the public internet."""
    from .special_addresses import is_public  # noqa: PLC0415 - only a connection needs the table

    return is_public(ipaddress.ip_address(address.partition("%")[0]))
