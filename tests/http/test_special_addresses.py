"""The table of special addresses, row by row, at its edges, and against the standard library."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as some

from wasmpool._http.policy import is_global
from wasmpool._http.special_addresses import CLOUD, OTHER, REGISTERED, AddressRange, is_public

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Form: TypeAlias = Callable[[Any], ipaddress.IPv6Address]

ROWS = REGISTERED + OTHER + CLOUD
NETWORKS = {row.network: ipaddress.ip_network(row.network) for row in ROWS}

# Prefixes whose addresses are judged by the IPv4 address that they carry, not by their row.
CARRIERS = ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16")

# For an IPv4 address: one that carries it, in each of the ways that a packet can take.
FORMS: dict[str, Form] = {
    "mapped": lambda v4: ipaddress.IPv6Address(0xFFFF << 32 | int(v4)),
    "NAT64": lambda v4: ipaddress.IPv6Address(0x0064_FF9B << 96 | int(v4)),
    "6to4": lambda v4: ipaddress.IPv6Address(0x2002 << 112 | int(v4) << 80 | 1),
    "ISATAP": lambda v4: ipaddress.IPv6Address(0x2A00_1450 << 96 | 0x5EFE << 32 | int(v4)),
    "ISATAP of a public address": lambda v4: ipaddress.IPv6Address(
        0x2A00_1450 << 96 | 0x0200_5EFE << 32 | int(v4)
    ),
}
# Ways that are out of use, or lead into the local network: refused whatever they carry.
REFUSED_FORMS: dict[str, Form] = {
    "compatible": lambda v4: ipaddress.IPv6Address(int(v4)),
    "translated": lambda v4: ipaddress.IPv6Address(0xFFFF << 48 | int(v4)),
    "NAT64 of the network": lambda v4: ipaddress.IPv6Address(0x0064_FF9B_0001 << 80 | int(v4)),
    "Teredo, server": lambda v4: ipaddress.IPv6Address(0x2001 << 112 | int(v4) << 64 | 1),
    "Teredo, client": lambda v4: ipaddress.IPv6Address(
        0x2001 << 112 | 0x0808_0808 << 64 | int(v4) ^ 0xFFFF_FFFF
    ),
}


def same_version(row: Network, address: Address) -> bool:
    return row.version == address.version and address in row


def deciding(address: Address) -> AddressRange:
    """The row of the longest prefix, found without the code under test."""
    rows = [row for row in ROWS if same_version(NETWORKS[row.network], address)]
    return max(rows, key=lambda row: NETWORKS[row.network].prefixlen)


def edges(network: Network) -> list[Address]:
    """First and last address, and both neighbours outside, as far as there are any."""
    first, last = int(network[0]), int(network[-1])
    kind = type(network[0])
    most = (1 << network.max_prefixlen) - 1
    return [kind(each) for each in (first - 1, first, last, last + 1) if 0 <= each <= most]


def carried(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if any(address in ipaddress.IPv6Network(carrier) for carrier in CARRIERS[:2]):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.network)
def test_each_row_at_its_edges(row: AddressRange) -> None:
    """First, last and both neighbours outside are as public as the most specific row says."""
    for address in edges(NETWORKS[row.network]):
        judged = carried(address) or address
        assert is_public(address) is deciding(judged).public, address


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", [r for r in ROWS if ":" not in r.network], ids=lambda r: r.network)
def test_ipv4_in_ipv6_is_as_public_as_itself(row: AddressRange, form: str) -> None:
    """At the edges of each IPv4 row, in each form that a packet finds its way by."""
    for address in edges(NETWORKS[row.network]):
        assert is_global(str(FORMS[form](address))) is is_global(str(address)), address


@pytest.mark.parametrize("form", REFUSED_FORMS)
@pytest.mark.parametrize("address", ["8.8.8.8", "127.0.0.1", "168.63.129.16", "10.0.0.1"])
def test_forms_out_of_use_are_refused(form: str, address: str) -> None:
    """Whatever IPv4 address they carry."""
    assert not is_global(str(REFUSED_FORMS[form](ipaddress.IPv4Address(address))))


@pytest.mark.parametrize("row", CLOUD, ids=lambda row: row.network)
def test_a_clouds_own_addresses_are_refused(row: AddressRange) -> None:
    """Metadata, credentials and hosts of clouds; each row is one address, with a source."""
    network = NETWORKS[row.network]
    assert network.num_addresses == 1
    assert not is_global(str(network[0]))
    if network.version == 4:
        for form in (*FORMS.values(), *REFUSED_FORMS.values()):
            assert not is_global(str(form(network[0])))


def test_the_table_has_each_range_once_with_its_source() -> None:
    """Two rows of the same range could contradict each other."""
    assert len(NETWORKS) == len(ROWS)
    for row in ROWS:
        assert row.purpose
        assert row.source
        assert len(row.since) == len("YYYY-MM")


# What the standard library does not know in some of the Pythons, or sees otherwise.
DIFFERENT = [
    *CLOUD,
    *(row for row in REGISTERED if row.network in {
        "192.0.0.0/24", "192.88.99.0/24", "64:ff9b::/96", "64:ff9b:1::/48", "100:0:0:1::/64",
        "2001::/23", "2002::/16", "3fff::/20", "5f00::/16", "::ffff:0:0/96",
    }),
    *(row for row in OTHER if row.network in {"224.0.0.0/4", "::/0", "ff00::/8"}),
]  # fmt: skip


def differs(address: Address) -> bool:
    """Whether Python's opinion of an address is known to be another one."""
    if address.version == 6 and int(address) >> 32 & 0xFDFF_FFFF == 0x5EFE:
        return True  # ISATAP
    return any(
        same_version(NETWORKS[row.network], address) for row in DIFFERENT if row.network != "::/0"
    ) or (address.version == 6 and address not in ipaddress.IPv6Network("2000::/3"))


@given(some.ip_addresses(v=4) | some.ip_addresses(v=6))
def test_elsewhere_it_says_what_the_standard_library_says(address: Address) -> None:
    """An independent table: the two agree on all that Python has always known."""
    if not differs(address):
        assert is_public(address) is address.is_global


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.network)
def test_at_the_edges_it_says_what_the_standard_library_says(row: AddressRange) -> None:
    """Also at each edge of each row."""
    for address in edges(NETWORKS[row.network]):
        if not differs(address):
            assert is_public(address) is address.is_global, address


@given(some.ip_addresses(v=6))
def test_ipv6_outside_of_global_unicast_is_never_public(address: ipaddress.IPv6Address) -> None:
    """But for NAT64 and mapped addresses of public IPv4 addresses."""
    if is_public(address) and address not in ipaddress.IPv6Network("2000::/3"):
        inner = carried(address)
        assert inner is not None
        assert is_public(inner)
