"""Which addresses belong to the public internet: a table of the special ranges, with sources.

The standard library's ``is_global`` differs between versions of Python, and does not know the
addresses of clouds. So the table is kept here. `REGISTERED` has each row of IANA's two
special-purpose address registries, with their column "Globally Reachable"; "N/A" counts as no.
Ranges can contain others: the longest prefix that contains an address decides. `CLOUD` has the
addresses at which a virtual machine finds its metadata, its credentials or its host. Most of them
are in private ranges anyway; the one of Azure looks like any address of the internet.

An IPv6 address can contain an IPv4 address to which a gateway or the kernel sends the packets. Then
it is public only if that IPv4 address is.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Final, TypeAlias, final

import attrs

__all__ = ["CLOUD", "OTHER", "REGISTERED", "AddressRange", "is_public"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@final
@attrs.frozen
class AddressRange:
    """A range of addresses with one purpose."""

    network: str
    """In CIDR notation."""
    public: bool
    """True if packets to them go through the public internet."""
    purpose: str
    """The name in the registry, or the service at this address."""
    source: str
    """The document that says so."""
    since: str
    """``YYYY-MM``: when the range was allocated, or when a cloud's address was added here."""


_YES: Final = True
_NO: Final = False
_Range: Final = AddressRange  # a short name, so that most rows fit on one line

# iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry, in their
# order, as of 2025-10-09.
REGISTERED: Final = (
    _Range("0.0.0.0/8", _NO, "This network", "RFC 791, 3.2", "1981-09"),
    _Range("0.0.0.0/32", _NO, "This host on this network", "RFC 1122, 3.2.1.3", "1981-09"),
    _Range("10.0.0.0/8", _NO, "Private-Use", "RFC 1918", "1996-02"),
    _Range("100.64.0.0/10", _NO, "Shared Address Space", "RFC 6598", "2012-04"),
    _Range("127.0.0.0/8", _NO, "Loopback", "RFC 1122, 3.2.1.3", "1981-09"),
    _Range("169.254.0.0/16", _NO, "Link Local", "RFC 3927", "2005-05"),
    _Range("172.16.0.0/12", _NO, "Private-Use", "RFC 1918", "1996-02"),
    _Range("192.0.0.0/24", _NO, "IETF Protocol Assignments", "RFC 6890, 2.1", "2010-01"),
    _Range("192.0.0.0/29", _NO, "IPv4 Service Continuity Prefix", "RFC 7335", "2011-06"),
    _Range("192.0.0.8/32", _NO, "IPv4 dummy address", "RFC 7600", "2015-03"),
    _Range("192.0.0.9/32", _YES, "Port Control Protocol Anycast", "RFC 7723", "2015-10"),
    _Range("192.0.0.10/32", _YES, "TURN Anycast", "RFC 8155", "2017-02"),
    _Range("192.0.0.170/32", _NO, "NAT64/DNS64 Discovery", "RFC 8880, RFC 7050", "2013-02"),
    _Range("192.0.0.171/32", _NO, "NAT64/DNS64 Discovery", "RFC 8880, RFC 7050", "2013-02"),
    _Range("192.0.2.0/24", _NO, "Documentation (TEST-NET-1)", "RFC 5737", "2010-01"),
    _Range("192.31.196.0/24", _YES, "AS112-v4", "RFC 7535", "2014-12"),
    _Range("192.52.193.0/24", _YES, "AMT", "RFC 7450", "2014-12"),
    _Range("192.88.99.0/24", _NO, "Deprecated (6to4 Relay Anycast)", "RFC 7526", "2001-06"),
    _Range("192.88.99.2/32", _NO, "6a44-relay anycast address", "RFC 6751", "2012-10"),
    _Range("192.168.0.0/16", _NO, "Private-Use", "RFC 1918", "1996-02"),
    _Range("192.175.48.0/24", _YES, "Direct Delegation AS112 Service", "RFC 7534", "1996-01"),
    _Range("198.18.0.0/15", _NO, "Benchmarking", "RFC 2544", "1999-03"),
    _Range("198.51.100.0/24", _NO, "Documentation (TEST-NET-2)", "RFC 5737", "2010-01"),
    _Range("203.0.113.0/24", _NO, "Documentation (TEST-NET-3)", "RFC 5737", "2010-01"),
    _Range("240.0.0.0/4", _NO, "Reserved", "RFC 1112, 4", "1989-08"),
    _Range("255.255.255.255/32", _NO, "Limited Broadcast", "RFC 8190, RFC 919, 7", "1984-10"),
    _Range("::1/128", _NO, "Loopback Address", "RFC 4291", "2006-02"),
    _Range("::/128", _NO, "Unspecified Address", "RFC 4291", "2006-02"),
    _Range("::ffff:0:0/96", _NO, "IPv4-mapped Address", "RFC 4291", "2006-02"),
    _Range("64:ff9b::/96", _YES, "IPv4-IPv6 Translat.", "RFC 6052", "2010-10"),
    _Range("64:ff9b:1::/48", _NO, "IPv4-IPv6 Translat.", "RFC 8215", "2017-06"),
    _Range("100::/64", _NO, "Discard-Only Address Block", "RFC 6666", "2012-06"),
    _Range("100:0:0:1::/64", _NO, "Dummy IPv6 Prefix", "RFC 9780", "2025-04"),
    _Range("2001::/23", _NO, "IETF Protocol Assignments", "RFC 2928", "2000-09"),
    _Range("2001::/32", _NO, "TEREDO", "RFC 4380, RFC 8190", "2006-01"),
    _Range("2001:1::1/128", _YES, "Port Control Protocol Anycast", "RFC 7723", "2015-10"),
    _Range("2001:1::2/128", _YES, "TURN Anycast", "RFC 8155", "2017-02"),
    _Range("2001:1::3/128", _YES, "DNS-SD SRP Anycast", "RFC 9665", "2024-04"),
    _Range("2001:2::/48", _NO, "Benchmarking", "RFC 5180", "2008-04"),
    _Range("2001:3::/32", _YES, "AMT", "RFC 7450", "2014-12"),
    _Range("2001:4:112::/48", _YES, "AS112-v6", "RFC 7535", "2014-12"),
    _Range("2001:10::/28", _NO, "Deprecated (previously ORCHID)", "RFC 4843", "2007-03"),
    _Range("2001:20::/28", _YES, "ORCHIDv2", "RFC 7343", "2014-07"),
    _Range("2001:30::/28", _YES, "Drone Remote ID Entity Tags", "RFC 9374", "2022-12"),
    _Range("2001:db8::/32", _NO, "Documentation", "RFC 3849", "2004-07"),
    _Range("2002::/16", _NO, "6to4", "RFC 3056", "2001-02"),
    _Range("2620:4f:8000::/48", _YES, "Direct Delegation AS112 Service", "RFC 7534", "2011-05"),
    _Range("3fff::/20", _NO, "Documentation", "RFC 9637", "2024-07"),
    _Range("5f00::/16", _NO, "Segment Routing (SRv6) SIDs", "RFC 9602", "2024-04"),
    _Range("fc00::/7", _NO, "Unique-Local", "RFC 4193, RFC 8190", "2005-10"),
    _Range("fe80::/10", _NO, "Link-Local Unicast", "RFC 4291", "2006-02"),
)  # fmt: skip

# Ranges of other registries and documents. IANA allocates global unicast addresses only from
# 2000::/3; the rest of IPv6 is reserved.
OTHER: Final = (
    _Range("0.0.0.0/0", _YES, "IPv4", "RFC 791", "1981-09"),
    _Range("224.0.0.0/4", _NO, "Multicast", "RFC 5771", "2010-03"),
    _Range("::/0", _NO, "Reserved by IETF", "RFC 4291, 2.4", "2006-02"),
    _Range("::/96", _NO, "IPv4-compatible, deprecated", "RFC 4291, 2.5.5.1", "2006-02"),
    _Range("::ffff:0:0:0/96", _NO, "IPv4-translated", "RFC 2765, 2.1", "2000-02"),
    _Range("2000::/3", _YES, "Global Unicast", "RFC 4291, 2.4", "2006-02"),
    _Range("fec0::/10", _NO, "Site-Local, deprecated", "RFC 3879", "2004-09"),
    _Range("ff00::/8", _NO, "Multicast", "RFC 4291, 2.7", "2006-02"),
)

CLOUD: Final = (
    _Range("168.63.129.16/32", _NO, "Azure: WireServer, DNS, health probes",
        "learn.microsoft.com, What is IP address 168.63.129.16", "2026-11"),
    _Range("169.254.169.254/32", _NO, "AWS, Azure, Google, Oracle, DigitalOcean and more: metadata",
        "docs.aws.amazon.com, Instance metadata", "2026-11"),
    _Range("169.254.170.2/32", _NO, "AWS: credentials of ECS tasks",
        "docs.aws.amazon.com, Task IAM role", "2026-11"),
    _Range("169.254.170.23/32", _NO, "AWS: credentials of EKS pods",
        "docs.aws.amazon.com, EKS Pod Identity", "2026-11"),
    _Range("169.254.42.42/32", _NO, "Scaleway: metadata",
        "cloud-init, datasource Scaleway", "2026-11"),
    _Range("169.254.0.23/32", _NO, "Tencent: metadata",
        "cloud.tencent.com, Instance metadata", "2026-11"),
    _Range("100.100.100.200/32", _NO, "Alibaba: metadata",
        "alibabacloud.com, ECS instance metadata", "2026-11"),
    _Range("192.0.0.192/32", _NO, "Oracle Cloud Classic: metadata",
        "docs.oracle.com, Compute Classic, Retrieving metadata", "2026-11"),
    _Range("fd00:ec2::254/128", _NO, "AWS: metadata",
        "docs.aws.amazon.com, Instance metadata", "2026-11"),
    _Range("fd00:ec2::23/128", _NO, "AWS: credentials of EKS pods",
        "docs.aws.amazon.com, EKS Pod Identity", "2026-11"),
    _Range("fd20:ce::254/128", _NO, "Google: metadata",
        "cloud.google.com, VM metadata", "2026-11"),
    _Range("fd00:c1::a9fe:a9fe/128", _NO, "Oracle: metadata",
        "docs.oracle.com, OCI instance metadata", "2026-11"),
    _Range("fd00:42::42/128", _NO, "Scaleway: metadata",
        "cloud-init, datasource Scaleway", "2026-11"),
    _Range("fd00:a9fe:a9fe::1/128", _NO, "Akamai (Linode): metadata",
        "techdocs.akamai.com, Metadata service API", "2026-11"),
    _Range("fe80::a9fe:a9fe/128", _NO, "OpenStack, Akamai: metadata",
        "docs.openstack.org, Nova metadata", "2026-11"),
)  # fmt: skip

_LOW_32: Final = 0xFFFF_FFFF
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)
"""The upper half of an interface identifier whose lower half is an IPv4 address (RFC 5214, 6.1)."""


def is_public(address: Address) -> bool:
    """Return True if packets to an address stay in the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return _table_says_public(address)
    if (translated := _translated(address)) is not None:
        return is_public(translated)
    return _table_says_public(address) and _is_no_local_tunnel(address)


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address to which the packets really go, or None."""
    number = int(address)
    if any(address in network for network in _translating()):
        return ipaddress.IPv4Address(number & _LOW_32)
    if number >> 112 == 0x2002:  # 6to4: packets go to the router with this IPv4 address
        return ipaddress.IPv4Address(number >> 80 & _LOW_32)
    return None


def _is_no_local_tunnel(address: ipaddress.IPv6Address) -> bool:
    """Return False for ISATAP, possible with any prefix, to an IPv4 address that is not public."""
    number = int(address)
    if number >> 32 & _LOW_32 not in _ISATAP:
        return True
    return is_public(ipaddress.IPv4Address(number & _LOW_32))


def _table_says_public(address: Address) -> bool:
    """Return True if the range with the longest prefix that contains the address is public."""
    return next(public for network, public in _by_length() if address in network)


@functools.cache
def _translating() -> tuple[ipaddress.IPv6Network, ...]:
    """Prefixes of addresses whose low 32 bits are the IPv4 address that packets go to."""
    return (
        ipaddress.IPv6Network("::ffff:0:0/96"),  # mapped (RFC 4291)
        ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64, the well-known prefix (RFC 6052)
    )


@functools.cache
def _by_length() -> tuple[tuple[Network, bool], ...]:
    """The table, longest prefixes first; made when it is first needed."""
    rows = [(ipaddress.ip_network(row.network), row.public) for row in REGISTERED + OTHER + CLOUD]
    rows.sort(key=lambda row: row[0].prefixlen, reverse=True)
    return tuple(rows)
