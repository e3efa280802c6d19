"""Option values for which click has no type; an error message names the value."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NoReturn

import click

from wasmpool import HttpPolicy

from .shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["as_credentials", "as_hosts", "as_size"]

UNITS: Final = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
SIZE: Final = re.compile(r"([0-9]{1,20})(|kib|mib|gib)", re.IGNORECASE | re.ASCII)


def as_size(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Read a number of bytes, KiB, MiB or GiB, and return bytes."""
    if value is None:
        return None
    match = SIZE.fullmatch(value)
    if match is None:
        _refuse(f"'{shown(value)}' is not a size; give bytes, or KiB, MiB or GiB, such as 64MiB")
    return int(match[1]) * UNITS[match[2].lower()]


def as_hosts(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Check that `HttpPolicy` accepts these host names."""
    for value in values:
        try:
            HttpPolicy(allow_hosts=[value])
        except ValueError:
            _refuse(
                f"'{shown(value)}' is not a host name; give it without scheme, port and path,"
                " such as api.example.com or *.example.com"
            )
    return values


def as_credentials(
    _context: click.Context, _option: click.Parameter, values: Iterable[str]
) -> Mapping[str, str] | None:
    """Read the plugin's credentials; None if there are none, so that it is not configured.

    Each is ``KEY=VALUE``, or ``KEY`` for the value of the environment variable of that name.
    Messages never show a value, because it is secret.
    """
    credentials: dict[str, str] = {}
    for value in values:
        key, secret = _credential(value)
        if key in credentials:
            _refuse(f"the credential '{shown(key)}' is given twice")
        credentials[key] = secret
    return credentials or None


def _credential(value: str) -> tuple[str, str]:
    key, equals, secret = value.partition("=")
    if not key:
        _refuse("a credential has no name before the =; give KEY=VALUE")
    if not equals:
        secret = _from_environment(key)
    if not _is_text(key) or not _is_text(secret):
        _refuse(f"the credential '{shown(key)}' is not UTF-8")
    return key, secret


def _from_environment(key: str) -> str:
    secret = os.environ.get(key)
    if secret is None:
        _refuse(
            f"the credential '{shown(key)}' has no value: give KEY=VALUE, or set the environment"
            " variable of that name"
        )
    return secret


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(why: str) -> NoReturn:
    raise click.BadParameter(why)
