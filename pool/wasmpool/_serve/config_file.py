"""From the arguments of the command and the content of its file to a configuration."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from wasmpool._free_threading import has_gil, why_one_thread
from wasmpool._mcp.allowed_hosts import AllowedHosts
from wasmpool.example import PATH as EXAMPLE
from wasmpool_host.lowlevel import escaped

from .address import Address
from .config import Config, Mode, PluginConfig, ServerConfig
from .plugin_table import read_defaults, read_plugin
from .table import ConfigError, Table, Wrong
from .values import as_choice, as_flag, as_number, as_size, as_text, as_texts, as_token, as_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmpool._scripts.limits import ScriptLimits

__all__ = ["Arguments", "build_config", "read_file"]

_MOST: Final = 1 << 20
"""Bytes of a file."""
_MOST_WORKERS: Final = 256
_TABLES: Final = ("server", "defaults", "plugins", "scripts")


@final
@attrs.frozen(kw_only=True)
class Arguments:
    """The arguments of the command. One that is not None comes before the file's value."""

    paths: tuple[str, ...] = ()
    """Files of plugins, and directories of them; absolute."""
    file: str | None = None
    """The configuration file; absolute."""
    http: Address | None = None
    workers: int | None = None
    threads: int | None = None
    tools: Mode | None = None
    scripts: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what `of_json` reads."""
        http = None if self.http is None else str(self.http)
        return {**attrs.asdict(self, recurse=False), "http": http}

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Arguments:
        """Return the arguments of which `as_json` has returned this."""
        http = None if values["http"] is None else Address.of(values["http"])
        return cls(**{**values, "http": http, "paths": tuple(values["paths"])})


def read_file(path: str) -> bytes:
    """Return the content of a configuration file.

    Raises:
        ConfigError: it cannot be read, is too large, or is not a file.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{escaped(path)}: it is not a regular file")
            content = file.read(_MOST + 1)
    except OSError as error:
        raise ConfigError(f"{escaped(path)}: it cannot be read: {error.strerror}") from error
    if len(content) > _MOST:
        raise ConfigError(f"{escaped(path)}: it is larger than {_MOST:,} bytes")
    return content


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe without a writer


def build_config(arguments: Arguments, content: bytes | None) -> Config:
    """Return the configuration.

    Args:
        arguments: of the command.
        content: of the file, if there is one.

    Raises:
        ConfigError: the file or the arguments cannot be used.
    """
    config = Config(server=ServerConfig())
    if content is not None:
        assert arguments.file is not None
        config = _read(content, arguments.file)
    config = _with_paths(config, arguments)
    changes = {
        key: value
        for key in ("http", "workers", "threads", "tools", "scripts")
        if (value := getattr(arguments, key)) is not None
    }
    server = attrs.evolve(config.server, **changes)
    _check_server(server)
    return attrs.evolve(config, server=server)


def _read(content: bytes, path: str) -> Config:
    base, name = Path(path).parent, Path(path).name
    table = Table(name, _parse(content, name))
    table.check_keys(_TABLES)
    defaults = read_defaults(table.inner("defaults"), base)
    server, plugins = table.inner("server"), table.inner("plugins")
    return Config(
        server=_read_server(server, table.inner("scripts")),
        defaults=defaults,
        plugins={key: read_plugin(key, plugins.inner(key), base, defaults) for key in plugins},
        directories=_read_directories(server, base),
    )


def _parse(content: bytes, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as wrong:
        line = content[: wrong.start].count(b"\n") + 1
        raise ConfigError(f"{escaped(name)}: line {line} is not UTF-8") from None
    except RecursionError:
        raise ConfigError(f"{escaped(name)}: it is too deep") from None
    except ValueError as wrong:
        raise ConfigError(f"{escaped(name)}: it is not TOML: {escaped(str(wrong)[:200])}") from None


def _read_directories(server: Table, base: Path) -> tuple[Path, ...]:
    if "directories" not in server:
        return ()
    return tuple(base / each for each in server.read("directories", as_texts))


def _as_address(value: Any) -> Address:
    try:
        return Address.of(as_text(value))
    except ValueError as wrong:
        raise Wrong(str(wrong)) from None


def _as_hosts(value: Any) -> tuple[str, ...]:
    hosts = as_texts(value)
    try:
        AllowedHosts(hosts)
    except ValueError as wrong:
        raise Wrong(escaped(str(wrong).removeprefix("allowed_hosts "))) from None
    return hosts


def _as_origins(value: Any) -> tuple[str, ...]:
    origins = as_texts(value)
    try:
        AllowedHosts(origins=origins)
    except ValueError as wrong:
        raise Wrong(escaped(str(wrong).removeprefix("allowed_origins "))) from None
    return origins


def _as_workers(value: Any) -> int:
    workers = as_whole(value)
    if not 1 <= workers <= _MOST_WORKERS:
        raise Wrong(f"must be from 1 to {_MOST_WORKERS}, not {workers}")
    return workers


_SERVER: Final[Mapping[str, Callable[[Any], Any]]] = {
    "http": _as_address,
    "token": as_token,
    "hosts": _as_hosts,
    "origins": _as_origins,
    "workers": _as_workers,
    "threads": _as_workers,
    "grace": as_number,
    "tools": as_choice("plain", "search"),
    "scripts": as_flag,
}


_SCRIPT_LIMITS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "seconds": as_number,
    "calls": as_whole,
    "at_once": as_whole,
    "source_bytes": as_size,
    "output_bytes": as_size,
    "request_bytes": as_size,
    "answer_bytes": as_size,
    "memory": as_size,
    "files": as_size,
}


def _read_script_limits(table: Table) -> ScriptLimits | None:
    table.check_keys(tuple(_SCRIPT_LIMITS))
    given: dict[str, Any] = {
        key: table.read(key, reader) for key, reader in _SCRIPT_LIMITS.items() if key in table
    }
    if not given:
        return None
    from wasmpool._scripts.limits import ScriptLimits  # noqa: PLC0415 - few servers run scripts

    try:
        return ScriptLimits(**given)
    except (TypeError, ValueError) as wrong:  # out of its range, in words
        raise table.error(None, str(wrong)) from None


def _read_server(table: Table, scripts: Table) -> ServerConfig:
    table.check_keys((*_SERVER, "directories"))
    given: dict[str, Any] = {
        key: table.read(key, reader) for key, reader in _SERVER.items() if key in table
    }
    return ServerConfig(**given, script_limits=_read_script_limits(scripts))


def _with_paths(config: Config, arguments: Arguments) -> Config:
    """Add the plugins and directories of the arguments; the example if there is nothing at all."""
    plugins, directories = dict(config.plugins), list(config.directories)
    for path in map(Path, arguments.paths):
        if path.is_dir():
            directories.append(path)
        elif path.stem in plugins:
            raise ConfigError(
                f"{escaped(str(path))}: there are two plugins {escaped(path.stem)!r}: name them "
                "in a configuration file"
            )
        else:
            plugins[path.stem] = PluginConfig(source=path, options=config.defaults)
    if not plugins and not directories:
        if arguments.file is not None:
            name = escaped(Path(arguments.file).name)
            raise ConfigError(f"{name}: it names no plugin and no directory")
        plugins = {EXAMPLE.stem: PluginConfig(source=EXAMPLE)}
    return attrs.evolve(config, plugins=plugins, directories=tuple(dict.fromkeys(directories)))


def _check_server(server: ServerConfig) -> None:
    _check_workers(server)
    if server.http is None:
        return
    if server.token is None and not server.http.is_loopback:
        raise ConfigError(
            f"{server.http} can be reached by other machines, so a token is required: set token in"
            ' the table [server], such as token = "env:WASMPOOL_TOKEN"'
        )


def _check_workers(server: ServerConfig) -> None:
    if server.workers > 1 and server.threads > 1:
        raise ConfigError("there are both workers and threads: give one of them")
    for what in ("workers", "threads"):
        count = getattr(server, what)
        if count > 1 and server.http is None:
            raise ConfigError(f"{count} {what} need an address: they share the socket of http")
    if server.threads > 1 and has_gil():
        count = server.threads
        raise ConfigError(why_one_thread(f"threads = {count}", f"workers = {count}"))
