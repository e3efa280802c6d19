"""The one form of a host's name: in this form it is listed, compared and looked up.

A name of IDNA 2008 in ASCII and lower case, without a last dot; an IPv4 address in four decimal
numbers; an IPv6 address in its short form, without brackets. The form is what httpx2 sends for the
host of a URL, wherever httpx2 accepts the URL. The codec ``idna`` of the standard library is of
another standard, IDNA 2003, which has other domains for some names: it is not used.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = ["host_name", "is_address"]

_LONGEST: Final = 253  # characters of a name, by RFC 1035 without the last dot
_LONGEST_GIVEN: Final = 2 * _LONGEST  # before it is mapped, which may make it shorter
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
"""RFC 1123, with the underscore, which names of services and containers have."""
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_LONGEST_NUMBER: Final = 16


def host_name(given: str) -> str:
    """Bring a host to its one form.

    Args:
        given: a name in any script, or an address; an IPv6 address may stand in brackets.

    Raises:
        ValueError: there is no host of that name; the message says why, without the name.
    """
    if not given or len(given) > _LONGEST_GIVEN:
        raise ValueError("it is empty" if not given else f"it is longer than {_LONGEST} characters")
    if ":" in given or given.startswith("["):
        return _ipv6(given)
    name = _in_ascii(given).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels)
    if len(name) > _LONGEST:
        message = f"it is longer than {_LONGEST} characters"
        raise ValueError(message)
    for label in labels:
        _check_label(label)
    return name


def is_address(host: str) -> bool:
    """Whether a host in its one form is an address, and no name."""
    return ":" in host or host.rpartition(".")[2].isdecimal()


def _ipv6(given: str) -> str:
    inside = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    if "%" in inside:
        message = "an address with a zone has a meaning on one machine only"
        raise ValueError(message)
    try:
        return ipaddress.IPv6Address(inside).compressed
    except ValueError:
        message = "it is no IPv6 address, and a name has no colon or bracket"
        raise ValueError(message) from None


def _ipv4(labels: list[str]) -> str:
    """Read a number, or up to four, as C's ``inet_aton`` does: the last one has what is left."""
    if len(labels) > 4:
        message = "it ends in a number and is no IPv4 address"
        raise ValueError(message)
    *first, last = [_number(label) for label in labels]
    if any(number > 0xFF for number in first) or last >= 1 << 8 * (4 - len(first)):
        message = "a number of the IPv4 address is too large"
        raise ValueError(message)
    address = last + sum(number << 8 * (3 - at) for at, number in enumerate(first))
    return str(ipaddress.IPv4Address(address))


def _number(label: str) -> int:
    """Hexadecimal, octal or decimal, as C writes them."""
    if not _NUMBER.fullmatch(label) or len(label) > _LONGEST_NUMBER:
        message = "it ends in a number and is no IPv4 address"
        raise ValueError(message)
    if label[:2] in ("0x", "0X"):
        return int(label[2:] or "0", 16)
    base = 8 if label.startswith("0") else 10
    try:
        return int(label, base)
    except ValueError:
        message = "a number that starts with 0 is octal, and has no 8 or 9"
        raise ValueError(message) from None


def _in_ascii(given: str) -> str:
    if given.isascii():
        return given.lower()
    import idna  # noqa: PLC0415 - names in ASCII need none; trio and httpx2 depend on it

    try:
        # In lower case first, as httpx2 does: for some letters UTS 46 would take another.
        return idna.encode(given.lower(), uts46=True).decode()
    except UnicodeError as refused:
        message = f"it is no name of IDNA 2008 ({refused})"
        raise ValueError(message) from None


def _check_label(label: str) -> None:
    if not label:
        message = "it has an empty label: a dot too many"
        raise ValueError(message)
    if not _LABEL.fullmatch(label):
        message = (
            "each label has up to 63 letters, digits, hyphens and underscores, and a hyphen "
            "neither first nor last"
        )
        raise ValueError(message)
    if label.startswith("xn--"):
        _check_a_label(label)


def _check_a_label(label: str) -> None:
    import idna  # noqa: PLC0415 - as above

    try:
        idna.ulabel(label)
    except UnicodeError as refused:
        message = f"{label!r} is no label of IDNA 2008 ({refused})"
        raise ValueError(message) from None
