"""The plugins of a configuration, in a loader: watched, and replaced by those of the next one."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import attrs
import trio

from wasmpool._errors import as_one_line
from wasmpool._mcp.exposure import Exposure
from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from wasmpool import Loader
    from wasmpool._mcp.catalog import Catalog
    from wasmpool._plugin.options import PluginOptions

    from .config import Config, PluginConfig

__all__ = ["Plugins", "exposures"]

_log = logging.getLogger("wasmpool.serve")

_AGAIN: Final = 1.0
"""Seconds after which a directory that could not be listed is tried again."""

_Key: TypeAlias = "str | Path"
"""Of a plugin its name, of a directory its path."""


def exposures(config: Config) -> Mapping[str, Exposure]:
    """Return which tools of each plugin are served."""
    return {name: Exposure(plugin.tools, plugin.prefix) for name, plugin in config.plugins.items()}


@final
@attrs.define(eq=False)
class _Watch:
    """A task that keeps a plugin, or those of a directory, in service."""

    wanted: Any
    """The plugin's configuration; of a directory the options of its plugins."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)


@final
class Plugins:
    """Keeps the plugins of a configuration in service.

    Args:
        loader: which loads them.
        catalog: which says what is served of them.
        nursery: for the tasks that watch their files.

    Attributes:
        config: the configuration of now.
        problems: the directories that cannot be watched, and why.
    """

    def __init__(
        self, loader: Loader, catalog: Catalog, config: Config, nursery: trio.Nursery
    ) -> None:
        self.config = config
        self.problems: Final[dict[str, str]] = {}
        self._loader = loader
        self._catalog = catalog
        self._nursery = nursery
        self._watches: dict[_Key, _Watch] = {}

    async def apply(self, config: Config) -> None:
        """Load what is new, reload what has changed, and unload what is gone.

        Returns when each file has been tried once. One that fails leaves the others serving, and
        is tried again when it changes.
        """
        self.config = config
        wanted = _wanted(config)
        await self._end_watches(wanted)
        await self._unload_others(config)
        self._catalog.expose(exposures(config))
        # One after the other: of two plugins with the same tool, the later one is refused, which
        # has to be the same one in each worker.
        for key in wanted:
            if key not in self._watches:
                watch = self._watches[key] = _Watch(wanted[key])
                await self._nursery.start(self._keep, key, watch)

    async def _end_watches(self, wanted: Mapping[_Key, Any]) -> None:
        """End the watches of what is gone or has changed; its plugins stay loaded."""
        for key, watch in list(self._watches.items()):
            if wanted.get(key) == watch.wanted:
                continue
            del self._watches[key]
            watch.scope.cancel()
            await watch.ended.wait()
            if isinstance(key, str) and key in self._loader.plugins and watch.wanted.credentials:
                now = wanted.get(key)
                if now is not None and now.credentials is None:  # a reload would keep the old ones
                    await self._loader.unload(key)

    async def _unload_others(self, config: Config) -> None:
        """Take out of service what nothing in the configuration stands for."""
        names = await trio.to_thread.run_sync(_stems, config.directories)
        for name in self._loader.plugins.keys() - names - config.plugins.keys():
            _log.info("plugin %r is unloaded: the configuration does not name it", name)
            self._nursery.start_soon(self._unload, name)

    async def _unload(self, name: str) -> None:
        if name in self._loader.plugins:
            await self._loader.unload(name)

    async def _keep(self, key: _Key, watch: _Watch, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with watch.scope:
                if isinstance(key, str):
                    await self._keep_plugin(key, watch.wanted, task_status)
                else:
                    await self._keep_directory(key, watch.wanted, task_status)
        finally:
            self.problems.pop(str(key), None)
            watch.ended.set()

    async def _keep_plugin(
        self, name: str, plugin: PluginConfig, task_status: trio.TaskStatus[None]
    ) -> None:
        await self._loader.watch_file(
            plugin.source,
            name,
            plugin.credentials,
            sha256=plugin.sha256,
            task_status=task_status,
            **_options(plugin.options),
        )

    async def _keep_directory(
        self, path: Path, defaults: PluginOptions, task_status: trio.TaskStatus[None]
    ) -> None:
        """Watch a directory, also one that comes later."""
        status = _Once(task_status)
        while True:
            try:
                await self._loader.watch(path, task_status=status, **_options(defaults))
            except OSError as error:
                problem = escaped(as_one_line(error))
                if self.problems.get(str(path)) != problem:
                    _log.warning("directory %r cannot be watched: %s", str(path), problem)
                self.problems[str(path)] = problem
            else:
                return  # the loader closes
            status.started()
            await trio.sleep(_AGAIN)


@final
class _Once(trio.TaskStatus[None]):
    """A task status that may be told again."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status: trio.TaskStatus[None] | None = task_status

    def started(self, value: None = None) -> None:  # noqa: ARG002 - of the protocol
        status, self._task_status = self._task_status, None
        if status is not None:
            status.started()


def _options(given: PluginOptions) -> PluginOptions:
    """With no option at all, a load would keep those that the plugin has."""
    options: PluginOptions = {"http": None}
    options.update(given)
    return options


def _wanted(config: Config) -> dict[_Key, Any]:
    wanted: dict[_Key, Any] = dict(config.plugins.items())
    wanted.update(dict.fromkeys(config.directories, config.defaults))
    return wanted


def _stems(directories: Iterable[Path]) -> set[str]:
    """The names of the plugins of some directories."""
    found: set[str] = set()
    for directory in directories:
        with contextlib.suppress(OSError):
            found |= {path.stem for path in directory.iterdir() if path.suffix == ".wasm"}
    return found
