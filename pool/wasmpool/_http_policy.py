"""What a plugin may reach over HTTP: host names by list, addresses by whether they are global."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["HttpPolicy", "host_is_listed", "is_global"]

_MIB: Final = 1 << 20

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Everything else in IPv6 is local, reserved, or a way to write an IPv4 address.
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# For documentation since 2024 (RFC 9637), which Python does not know yet.
_DOCUMENTATION: Final = ipaddress.IPv6Network("3fff::/20")
# Prefixes that carry an IPv4 address in their low 32 bits: a gateway or the kernel goes there.
_IPV4_BELOW: Final = (
    ipaddress.IPv6Network("::ffff:0:0/96"),  # mapped (RFC 4291)
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64, the well-known prefix (RFC 6052)
)


def _hosts(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        message = f"HttpPolicy.allow_hosts must be a collection of host names, not {value!r}"
        raise TypeError(message)
    return frozenset(_host(name) for name in value)


def _host(name: object) -> str:
    if not isinstance(name, str):
        message = f"HttpPolicy.allow_hosts must hold host names, not {name!r}"
        raise TypeError(message)
    host = _plain(name.removeprefix("*."))
    if not host or any(sign in host for sign in "/@*") or host.count(":") == 1:
        message = (
            f"HttpPolicy.allow_hosts: {name!r} is no host name; give it without scheme, port "
            "and path, as 'api.example.com' or '*.example.com'"
        )
        raise ValueError(message)
    return f"*.{host}" if name.startswith("*.") else host


def _plain(name: str) -> str:
    """A host name as it is compared: in ASCII, lower case, without brackets and the last dot."""
    host = name.strip().strip("[]").lower().removesuffix(".")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return ""


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

    Plugins are not trusted: unless told otherwise, they reach the public internet and nothing
    that only this machine or its network can reach. An address is judged when it is connected
    to, for each connection and after each redirect, so a name that resolves to a private
    address is refused like the address itself. The proxy variables of the environment are
    ignored: the check would see the proxy.
    """

    allow_hosts: Collection[str] | None = attrs.field(default=None, converter=_hosts)
    """Host names that may be asked, compared exactly and without case; ``"*.example.com"`` stands
    for every name below ``example.com``. None is every name. An allowed name does not make a
    private address allowed."""
    allow_private: bool = attrs.field(default=False, validator=_flag)
    """Whether addresses that are not global may be connected to: loopback, private networks,
    link-local (the cloud's metadata service among them)."""
    max_response: int = attrs.field(default=10 * _MIB, validator=_at_least_one)
    """Bytes of a reply's body, decoded; a longer one is an error, never cut."""
    default_timeout: float = attrs.field(default=60.0, validator=_seconds)
    """Seconds for a whole request, redirects and body included, if the plugin asks for none;
    ``max_timeout`` bounds these too."""
    max_timeout: float = attrs.field(default=300.0, validator=_seconds)
    """Seconds that a plugin may ask for at most."""


def host_is_listed(host: str, allowed: Collection[str] | None) -> bool:
    """Whether a policy's ``allow_hosts`` lets a request ask this host."""
    if allowed is None:
        return True
    name = _plain(host)
    if name in allowed:
        return True
    parents = name.split(".")[1:]
    return any(f"*.{'.'.join(parents[i:])}" in allowed for i in range(len(parents)))


def is_global(address: str) -> bool:
    """Whether an address is one of the public internet, seen through IPv4 written as IPv6."""
    return _is_global(ipaddress.ip_address(address.partition("%")[0]))


def _is_global(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    if any(address in network for network in _IPV4_BELOW):
        return _is_global(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    if address.sixtofour is not None:
        return _is_global(address.sixtofour)
    # Teredo (2001::/32) is no global address for Python either, whatever it carries.
    return address in _GLOBAL_UNICAST and address not in _DOCUMENTATION and address.is_global
