"""The tables of plugins in a configuration file: ``[defaults]`` and ``[plugins.NAME]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from wasmpool import HttpPolicy, Limits
from wasmpool._plugin.options import PluginOptions, check_name, check_options

from .config import PluginConfig
from .values import (
    as_digest,
    as_flag,
    as_number,
    as_prefix,
    as_secret,
    as_size,
    as_text,
    as_texts,
    as_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .table import Table

__all__ = ["read_defaults", "read_plugin"]

_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "size": as_whole,
    "min_size": as_whole,
    "pristine": as_flag,
    "max_waiting": as_whole,
    "max_wait": as_number,
    "max_uses": as_whole,
    "max_age": as_number,
    "max_idle": as_number,
    "max_memory": as_size,
    "start_timeout": as_number,
    "grace": as_number,
}
"""The options that a plugin has under the same names."""
_LIMITS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "memory": as_size,
    "stack": as_size,
    "table_elements": as_whole,
    "call_seconds": as_number,
    "payload": as_size,
}
_HTTP: Final[Mapping[str, Callable[[Any], Any]]] = {
    "allow_hosts": as_texts,
    "allow_private": as_flag,
}
_DEFAULTS: Final = (*_OPTIONS, "cache", *_HTTP, "limits")
_PLUGIN: Final = ("source", "sha256", "tools", "prefix", "credentials", *_DEFAULTS)


def read_defaults(table: Table, base: Path) -> PluginOptions:
    """Read ``[defaults]``.

    Args:
        table: the table.
        base: the directory that relative paths begin at.

    Raises:
        ConfigError: a key is unknown, or a value is refused.
    """
    table.check_keys(_DEFAULTS)
    return _read_options(table, base, {})


def read_plugin(name: str, table: Table, base: Path, defaults: PluginOptions) -> PluginConfig:
    """Read ``[plugins.NAME]``; its options come over the defaults.

    Raises:
        ConfigError: the name cannot be a plugin's, a key is unknown, or a value is refused.
    """
    try:
        check_name(name)
    except ValueError as wrong:
        raise table.error(None, str(wrong)) from None
    table.check_keys(_PLUGIN)
    if "source" not in table:
        raise table.error("source", "is missing: the path of the plugin's file")
    return PluginConfig(
        source=base / table.read("source", as_text),
        sha256=table.get("sha256", as_digest, None),
        tools=table.get("tools", as_texts, ("*",)),
        prefix=table.get("prefix", as_prefix, ""),
        credentials=_read_credentials(table),
        options=_read_options(table, base, defaults),
    )


def _read_credentials(table: Table) -> Mapping[str, str] | None:
    if "credentials" not in table:
        return None
    credentials = table.inner("credentials")
    return {key: credentials.read(key, as_secret) for key in credentials}


def _read_options(table: Table, base: Path, defaults: PluginOptions) -> PluginOptions:
    options: dict[str, Any] = dict(defaults)
    for key, reader in _OPTIONS.items():
        if key in table:
            options[key] = table.read(key, reader)
    if "cache" in table:
        options["cache"] = base / table.read("cache", as_text)
    try:
        if any(key in table for key in _HTTP):
            options["http"] = _read_http(table, options.get("http"))
        if "limits" in table:
            options["limits"] = _read_limits(table.inner("limits"), options.get("limits", Limits()))
        return check_options("the plugin", cast("PluginOptions", options))
    except (OverflowError, TypeError, ValueError) as wrong:  # out of its range, in words
        raise table.error(None, str(wrong)) from None


def _read_http(table: Table, default: HttpPolicy | None) -> HttpPolicy | None:
    """The hosts that a plugin may reach: none, unless ``allow_hosts`` lists some."""
    given = {key: table.read(key, reader) for key, reader in _HTTP.items() if key in table}
    if not given.get("allow_hosts", () if default is None else default.allow_hosts):
        return None
    return attrs.evolve(default or HttpPolicy(), **given)


def _read_limits(table: Table, default: Limits) -> Limits:
    table.check_keys(tuple(_LIMITS))
    given = {key: table.read(key, reader) for key, reader in _LIMITS.items() if key in table}
    return attrs.evolve(default, **given)
