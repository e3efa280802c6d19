"""Option values for which click has no type; an error message names the value."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import attrs
import click

from wasmpool import HttpPolicy
from wasmpool._size import read_size

from .shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Directory",
    "as_args",
    "as_cluster",
    "as_credentials",
    "as_directories",
    "as_env",
    "as_hosts",
    "as_size",
]


def as_size(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Read a number of bytes, KiB, MiB or GiB, and return bytes."""
    if value is None:
        return None
    size = read_size(value)
    if size is None:
        _refuse(f"'{shown(value)}' is not a size; give bytes, or KiB, MiB or GiB, such as 64MiB")
    return size


def as_cluster(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Check the address of a cluster of Dask."""
    from wasmpool._batch.dask.address import read_address

    if value is not None:
        try:
            read_address(value)
        except ValueError as error:
            _refuse(str(error))
    return value


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
    """Read the plugin's credentials; None if there are none, so that it is not configured."""
    return _pairs("credential", values) or None


def as_env(
    _context: click.Context, _option: click.Parameter, values: Iterable[str]
) -> Mapping[str, str]:
    """Read the program's environment."""
    return _pairs("variable", values)


@attrs.frozen
class Directory:
    """A directory of the host, as a program is given it."""

    path: str
    writable: bool


def as_directories(
    _context: click.Context, _option: click.Parameter, values: Iterable[str]
) -> Mapping[str, Directory]:
    """Read directories, each ``HOST[:GUEST][:rw]``, and return them by guest path.

    The last colon is the one before GUEST, so HOST may have others.
    """
    directories: dict[str, Directory] = {}
    for value in values:
        paths, writable = value.removesuffix(":ro"), False
        if value.endswith(":rw"):
            paths, writable = value.removesuffix(":rw"), True
        host, colon, guest = paths.rpartition(":")
        host, guest = (host, guest) if colon else (guest, guest)
        if not host or not guest:
            _refuse(f"'{shown(value)}' has an empty path; give HOST, HOST:GUEST or HOST:GUEST:rw")
        if not _is_text(guest):
            _refuse(f"the directory '{shown(guest)}' is not UTF-8; give HOST:GUEST")
        if guest in directories:
            _refuse(f"the directory '{shown(guest)}' is given twice")
        directories[guest] = Directory(host, writable)
    return directories


def as_args(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Check that a program can get these arguments."""
    for value in values:
        if not _is_text(value):
            _refuse(f"'{shown(value)}' is not UTF-8")
    return values


def _pairs(kind: str, values: Iterable[str]) -> dict[str, str]:
    """Read ``KEY=VALUE``, or ``KEY`` for the value of the environment variable of that name.

    Messages never show a value, because it may be secret.
    """
    pairs: dict[str, str] = {}
    for each in values:
        key, value = _pair(kind, each)
        if key in pairs:
            _refuse(f"the {kind} '{shown(key)}' is given twice")
        pairs[key] = value
    return pairs


def _pair(kind: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key:
        _refuse(f"a {kind} has no name before the =; give KEY=VALUE")
    if not equals:
        value = _from_environment(kind, key)
    if not _is_text(key) or not _is_text(value):
        _refuse(f"the {kind} '{shown(key)}' is not UTF-8")
    return key, value


def _from_environment(kind: str, key: str) -> str:
    value = os.environ.get(key)
    if value is None:
        _refuse(
            f"the {kind} '{shown(key)}' has no value: give KEY=VALUE, or set the environment"
            " variable of that name"
        )
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(why: str) -> NoReturn:
    raise click.BadParameter(why)
