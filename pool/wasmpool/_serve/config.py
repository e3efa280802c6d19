"""What ``wasmpool serve`` was told: the server, and the plugins with what each may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, final

import attrs

from wasmpool._plugin.options import PluginOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wasmpool._scripts.limits import ScriptLimits

    from .address import Address

__all__ = ["Config", "Mode", "PluginConfig", "ServerConfig"]

Mode: TypeAlias = Literal["plain", "search"]


@final
@attrs.frozen(kw_only=True)
class ServerConfig:
    """How the plugins are served."""

    http: Address | None = None
    """None for the standard streams."""
    token: str | None = attrs.field(default=None, repr=False)
    """What each request over HTTP must have as its bearer token."""
    hosts: tuple[str, ...] = ()
    """The hosts by whose names clients may ask, besides the loopback ones."""
    origins: tuple[str, ...] = ()
    """The origins of pages that may ask, besides the loopback ones."""
    workers: int = 1
    """Processes that accept on one socket."""
    threads: int = 1
    """Threads of one process that do so, where Python has no GIL."""
    grace: float = 30.0
    """Seconds that calls may go on after the first signal."""
    tools: Mode = "plain"
    """How the tools are listed."""
    scripts: bool = False
    """True if clients may send scripts that call tools."""
    script_limits: ScriptLimits | None = None
    """What each of them may take; None is the default."""


@final
@attrs.frozen(kw_only=True)
class PluginConfig:
    """One plugin: its file, and what it may do."""

    source: Path
    sha256: str | None = None
    """Of the file's content; None for any content."""
    tools: tuple[str, ...] = ("*",)
    """Patterns of the names of the tools that are served."""
    prefix: str = ""
    """What the served names begin with."""
    credentials: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    options: PluginOptions = attrs.field(factory=PluginOptions, repr=False)


@final
@attrs.frozen(kw_only=True)
class Config:
    """All of it."""

    server: ServerConfig
    defaults: PluginOptions = attrs.field(factory=PluginOptions, repr=False)
    """The options of plugins from directories."""
    plugins: Mapping[str, PluginConfig] = attrs.field(factory=dict)
    """By name."""
    directories: tuple[Path, ...] = ()
    """Each of their files is a plugin."""
