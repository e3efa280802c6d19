"""Which addresses are of the public internet: a table of what is special, and why.

The standard library's ``is_global`` changes from one Python to the next, and knows nothing of
clouds. So the table is kept here. `REGISTERED` has every row of IANA's two special-purpose address
registries, and says for each what their column "Globally Reachable" says; "N/A" counts as no. Rows
may lie inside others: the longest prefix that holds an address decides. `CLOUD` has the addresses
at which a cloud's virtual machine finds its metadata, its credentials or its host. Most of them
lie in private ranges anyway; one, Azure's, looks like any address of the internet.

An IPv6 address may carry an IPv4 address that a gateway, or the kernel, sends the packets to. Such
an address is public only if the one that it carries is.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Final, TypeAlias, final

import attrs

__all__ = ["CLOUD", "OTHER", "REGISTERED", "Row", "is_public"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@final
@attrs.frozen
class Row:
    """Some addresses with one purpose."""

    network: str
    """In CIDR notation."""
    public: bool
    """Whether packets to them go through the public internet."""
    purpose: str
    """The name in the registry, or what answers there."""
    source: str
    """The document that says so."""
    since: str
    """``YYYY-MM``: when the range was allocated; of a cloud's address, when it was entered here."""


_YES: Final = True
_NO: Final = False

# iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry, as they were
# updated on 2025-10-09, in their order.
REGISTERED: Final = (
    Row("0.0.0.0/8", _NO, "This network", "RFC 791, 3.2", "1981-09"),
    Row("0.0.0.0/32", _NO, "This host on this network", "RFC 1122, 3.2.1.3", "1981-09"),
    Row("10.0.0.0/8", _NO, "Private-Use", "RFC 1918", "1996-02"),
    Row("100.64.0.0/10", _NO, "Shared Address Space", "RFC 6598", "2012-04"),
    Row("127.0.0.0/8", _NO, "Loopback", "RFC 1122, 3.2.1.3", "1981-09"),
    Row("169.254.0.0/16", _NO, "Link Local", "RFC 3927", "2005-05"),
    Row("172.16.0.0/12", _NO, "Private-Use", "RFC 1918", "1996-02"),
    Row("192.0.0.0/24", _NO, "IETF Protocol Assignments", "RFC 6890, 2.1", "2010-01"),
    Row("192.0.0.0/29", _NO, "IPv4 Service Continuity Prefix", "RFC 7335", "2011-06"),
    Row("192.0.0.8/32", _NO, "IPv4 dummy address", "RFC 7600", "2015-03"),
    Row("192.0.0.9/32", _YES, "Port Control Protocol Anycast", "RFC 7723", "2015-10"),
    Row("192.0.0.10/32", _YES, "TURN Anycast", "RFC 8155", "2017-02"),
    Row("192.0.0.170/32", _NO, "NAT64/DNS64 Discovery", "RFC 8880, RFC 7050", "2013-02"),
    Row("192.0.0.171/32", _NO, "NAT64/DNS64 Discovery", "RFC 8880, RFC 7050", "2013-02"),
    Row("192.0.2.0/24", _NO, "Documentation (TEST-NET-1)", "RFC 5737", "2010-01"),
    Row("192.31.196.0/24", _YES, "AS112-v4", "RFC 7535", "2014-12"),
    Row("192.52.193.0/24", _YES, "AMT", "RFC 7450", "2014-12"),
    Row("192.88.99.0/24", _NO, "Deprecated (6to4 Relay Anycast)", "RFC 7526", "2001-06"),
    Row("192.88.99.2/32", _NO, "6a44-relay anycast address", "RFC 6751", "2012-10"),
    Row("192.168.0.0/16", _NO, "Private-Use", "RFC 1918", "1996-02"),
    Row("192.175.48.0/24", _YES, "Direct Delegation AS112 Service", "RFC 7534", "1996-01"),
    Row("198.18.0.0/15", _NO, "Benchmarking", "RFC 2544", "1999-03"),
    Row("198.51.100.0/24", _NO, "Documentation (TEST-NET-2)", "RFC 5737", "2010-01"),
    Row("203.0.113.0/24", _NO, "Documentation (TEST-NET-3)", "RFC 5737", "2010-01"),
    Row("240.0.0.0/4", _NO, "Reserved", "RFC 1112, 4", "1989-08"),
    Row("255.255.255.255/32", _NO, "Limited Broadcast", "RFC 8190, RFC 919, 7", "1984-10"),
    Row("::1/128", _NO, "Loopback Address", "RFC 4291", "2006-02"),
    Row("::/128", _NO, "Unspecified Address", "RFC 4291", "2006-02"),
    Row("::ffff:0:0/96", _NO, "IPv4-mapped Address", "RFC 4291", "2006-02"),
    Row("64:ff9b::/96", _YES, "IPv4-IPv6 Translat.", "RFC 6052", "2010-10"),
    Row("64:ff9b:1::/48", _NO, "IPv4-IPv6 Translat.", "RFC 8215", "2017-06"),
    Row("100::/64", _NO, "Discard-Only Address Block", "RFC 6666", "2012-06"),
    Row("100:0:0:1::/64", _NO, "Dummy IPv6 Prefix", "RFC 9780", "2025-04"),
    Row("2001::/23", _NO, "IETF Protocol Assignments", "RFC 2928", "2000-09"),
    Row("2001::/32", _NO, "TEREDO", "RFC 4380, RFC 8190", "2006-01"),
    Row("2001:1::1/128", _YES, "Port Control Protocol Anycast", "RFC 7723", "2015-10"),
    Row("2001:1::2/128", _YES, "TURN Anycast", "RFC 8155", "2017-02"),
    Row("2001:1::3/128", _YES, "DNS-SD SRP Anycast", "RFC 9665", "2024-04"),
    Row("2001:2::/48", _NO, "Benchmarking", "RFC 5180", "2008-04"),
    Row("2001:3::/32", _YES, "AMT", "RFC 7450", "2014-12"),
    Row("2001:4:112::/48", _YES, "AS112-v6", "RFC 7535", "2014-12"),
    Row("2001:10::/28", _NO, "Deprecated (previously ORCHID)", "RFC 4843", "2007-03"),
    Row("2001:20::/28", _YES, "ORCHIDv2", "RFC 7343", "2014-07"),
    Row("2001:30::/28", _YES, "Drone Remote ID Entity Tags", "RFC 9374", "2022-12"),
    Row("2001:db8::/32", _NO, "Documentation", "RFC 3849", "2004-07"),
    Row("2002::/16", _NO, "6to4", "RFC 3056", "2001-02"),
    Row("2620:4f:8000::/48", _YES, "Direct Delegation AS112 Service", "RFC 7534", "2011-05"),
    Row("3fff::/20", _NO, "Documentation", "RFC 9637", "2024-07"),
    Row("5f00::/16", _NO, "Segment Routing (SRv6) SIDs", "RFC 9602", "2024-04"),
    Row("fc00::/7", _NO, "Unique-Local", "RFC 4193, RFC 8190", "2005-10"),
    Row("fe80::/10", _NO, "Link-Local Unicast", "RFC 4291", "2006-02"),
)  # fmt: skip

# What other registries and documents say of whole ranges. IANA gives out global unicast addresses
# from 2000::/3 alone: all else in IPv6 is reserved until it does.
OTHER: Final = (
    Row("0.0.0.0/0", _YES, "IPv4", "RFC 791", "1981-09"),
    Row("224.0.0.0/4", _NO, "Multicast", "RFC 5771", "2010-03"),
    Row("::/0", _NO, "Reserved by IETF", "RFC 4291, 2.4", "2006-02"),
    Row("::/96", _NO, "IPv4-compatible, deprecated", "RFC 4291, 2.5.5.1", "2006-02"),
    Row("::ffff:0:0:0/96", _NO, "IPv4-translated", "RFC 2765, 2.1", "2000-02"),
    Row("2000::/3", _YES, "Global Unicast", "RFC 4291, 2.4", "2006-02"),
    Row("fec0::/10", _NO, "Site-Local, deprecated", "RFC 3879", "2004-09"),
    Row("ff00::/8", _NO, "Multicast", "RFC 4291, 2.7", "2006-02"),
)

CLOUD: Final = (
    Row("168.63.129.16/32", _NO, "Azure: WireServer, DNS, health probes",
        "learn.microsoft.com, What is IP address 168.63.129.16", "2026-11"),
    Row("169.254.169.254/32", _NO, "AWS, Azure, Google, Oracle, DigitalOcean and more: metadata",
        "docs.aws.amazon.com, Instance metadata", "2026-11"),
    Row("169.254.170.2/32", _NO, "AWS: credentials of ECS tasks",
        "docs.aws.amazon.com, Task IAM role", "2026-11"),
    Row("169.254.170.23/32", _NO, "AWS: credentials of EKS pods",
        "docs.aws.amazon.com, EKS Pod Identity", "2026-11"),
    Row("169.254.42.42/32", _NO, "Scaleway: metadata",
        "cloud-init, datasource Scaleway", "2026-11"),
    Row("169.254.0.23/32", _NO, "Tencent: metadata",
        "cloud.tencent.com, Instance metadata", "2026-11"),
    Row("100.100.100.200/32", _NO, "Alibaba: metadata",
        "alibabacloud.com, ECS instance metadata", "2026-11"),
    Row("192.0.0.192/32", _NO, "Oracle Cloud Classic: metadata",
        "docs.oracle.com, Compute Classic, Retrieving metadata", "2026-11"),
    Row("fd00:ec2::254/128", _NO, "AWS: metadata",
        "docs.aws.amazon.com, Instance metadata", "2026-11"),
    Row("fd00:ec2::23/128", _NO, "AWS: credentials of EKS pods",
        "docs.aws.amazon.com, EKS Pod Identity", "2026-11"),
    Row("fd20:ce::254/128", _NO, "Google: metadata",
        "cloud.google.com, VM metadata", "2026-11"),
    Row("fd00:c1::a9fe:a9fe/128", _NO, "Oracle: metadata",
        "docs.oracle.com, OCI instance metadata", "2026-11"),
    Row("fd00:42::42/128", _NO, "Scaleway: metadata",
        "cloud-init, datasource Scaleway", "2026-11"),
    Row("fd00:a9fe:a9fe::1/128", _NO, "Akamai (Linode): metadata",
        "techdocs.akamai.com, Metadata service API", "2026-11"),
    Row("fe80::a9fe:a9fe/128", _NO, "OpenStack, Akamai: metadata",
        "docs.openstack.org, Nova metadata", "2026-11"),
)  # fmt: skip

_LOW_32: Final = 0xFFFF_FFFF
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)
"""The upper half of an interface identifier with an IPv4 address below it (RFC 5214, 6.1)."""


def is_public(address: Address) -> bool:
    """Whether packets to an address, and to one that it carries, stay in the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return _says_the_table(address)
    if (translated := _translated(address)) is not None:
        return is_public(translated)
    return _says_the_table(address) and _is_no_local_tunnel(address)


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is connected to in place of this one, if there is one."""
    number = int(address)
    if any(address in network for network in _translating()):
        return ipaddress.IPv4Address(number & _LOW_32)
    if number >> 112 == 0x2002:  # 6to4: the router with this IPv4 address is next
        return ipaddress.IPv4Address(number >> 80 & _LOW_32)
    return None


def _is_no_local_tunnel(address: ipaddress.IPv6Address) -> bool:
    """False for ISATAP to an IPv4 address that is not public: any prefix may have it."""
    number = int(address)
    if number >> 32 & _LOW_32 not in _ISATAP:
        return True
    return is_public(ipaddress.IPv4Address(number & _LOW_32))


def _says_the_table(address: Address) -> bool:
    """What the longest prefix that holds the address says."""
    return next(public for network, public in _by_length() if address in network)


@functools.cache
def _translating() -> tuple[ipaddress.IPv6Network, ...]:
    """Prefixes with an IPv4 address in their low 32 bits that the kernel or a gateway takes out."""
    return (
        ipaddress.IPv6Network("::ffff:0:0/96"),  # mapped (RFC 4291)
        ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64, the well-known prefix (RFC 6052)
    )


@functools.cache
def _by_length() -> tuple[tuple[Network, bool], ...]:
    """The table, longest prefixes first; read when the first address is judged."""
    rows = [(ipaddress.ip_network(row.network), row.public) for row in REGISTERED + OTHER + CLOUD]
    rows.sort(key=lambda row: row[0].prefixlen, reverse=True)
    return tuple(rows)
