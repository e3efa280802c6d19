"""The normal form of a host: in this form it is listed, compared and looked up.

The form of a name is IDNA 2008, in ASCII and lower case, without a final dot; of an IPv4 address,
four decimal numbers; of an IPv6 address, its short form without brackets. It is also what httpx2
sends as the host of a URL that it accepts. The codec ``idna`` of the standard library is not used:
it follows IDNA 2003, by which some names are other domains.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = ["host_name", "is_address"]

_MAX_NAME: Final = 253  # characters of a name without the final dot, by RFC 1035
_MAX_GIVEN: Final = 2 * _MAX_NAME  # before IDNA's mapping, which may shorten it
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
"""RFC 1123, and the underscore, which occurs in names of services and containers."""
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_MAX_NUMBER: Final = 16


def host_name(given: str) -> str:
    """Return the normal form of a host.

    Args:
        given: a name in any script, or an address; an IPv6 address may have brackets.

    Raises:
        ValueError: no host can have this name; the message says why, without the name.
    """
    if not given or len(given) > _MAX_GIVEN:
        raise ValueError(
            "it is empty" if not given else f"it is longer than {_MAX_NAME} characters"
        )
    if ":" in given or given.startswith("["):
        return _ipv6(given)
    name = _in_ascii(given).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels)
    if len(name) > _MAX_NAME:
        message = f"it is longer than {_MAX_NAME} characters"
        raise ValueError(message)
    for label in labels:
        _check_label(label)
    return name


def is_address(host: str) -> bool:
    """Return True if a host in normal form is an address."""
    return ":" in host or host.rpartition(".")[2].isdecimal()


def _ipv6(given: str) -> str:
    inside = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    if "%" in inside:
        message = "an address with a zone is valid on one machine only"
        raise ValueError(message)
    try:
        return ipaddress.IPv6Address(inside).compressed
    except ValueError:
        message = "it is not an IPv6 address, and a name has no colon or bracket"
        raise ValueError(message) from None


def _ipv4(labels: list[str]) -> str:
    """Read one to four numbers as C's ``inet_aton`` does: the last one fills the rest."""
    if len(labels) > 4:
        message = "it ends in a number and is not an IPv4 address"
        raise ValueError(message)
    *first, last = [_number(label) for label in labels]
    if any(number > 0xFF for number in first) or last >= 1 << 8 * (4 - len(first)):
        message = "a number of the IPv4 address is too large"
        raise ValueError(message)
    address = last + sum(number << 8 * (3 - at) for at, number in enumerate(first))
    return str(ipaddress.IPv4Address(address))


def _number(label: str) -> int:
    """Read a number that is hexadecimal, octal or decimal, as in C."""
    if not _NUMBER.fullmatch(label) or len(label) > _MAX_NUMBER:
        message = "it ends in a number and is not an IPv4 address"
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
    import idna  # noqa: PLC0415 - ASCII names do not need it; a dependency of trio and httpx2

    try:
        # `lower` first, as in httpx2: it maps some letters in another way than UTS 46 does.
        return idna.encode(given.lower(), uts46=True).decode()
    except UnicodeError as refused:
        message = f"it is not a name of IDNA 2008 ({refused})"
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
    import idna  # noqa: PLC0415 - most names do not need it

    try:
        idna.ulabel(label)
    except UnicodeError as refused:
        message = f"{label!r} is not a label of IDNA 2008 ({refused})"
        raise ValueError(message) from None
