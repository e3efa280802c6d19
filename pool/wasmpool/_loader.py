"""Many plugins by name: loaded, reloaded in place, and unloaded while the others serve.

Each plugin lives in a task of its own, which holds its block open until it is unloaded. So a
plugin that drains is nobody's business but its own: whoever loads or unloads another never waits
for its calls.
"""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Unpack, final

import attrs
import trio

from wasmpool_host import CallTimeout, GuestExit, GuestMemoryError, GuestTrap, check_trio

from ._errors import PoolUnavailable
from ._plain_nursery import open_plain_nursery
from ._plugin import Plugin, PluginOptions, check_options, load_plugin, plugin_host
from ._plugin_generation import read_name, start_runtime
from ._watch import watch

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Mapping

    from wasmpool_host import Module

    from ._plugin_host import PluginHost, PluginSource

__all__ = ["Loader", "open_loader"]


def open_loader(
    **options: Unpack[PluginOptions],
) -> contextlib.AbstractAsyncContextManager[Loader]:
    """Keep plugins by name for the length of the block.

    Args:
        options: for each plugin, as for `open_plugin`; names and credentials are given to
            `Loader.load`.

    Raises:
        TypeError, ValueError: an option is unknown or out of its range; at once.

    Leaving the block closes all of them side by side, each within its grace; leaving it by an
    exception or a cancel leaves them no grace.
    """
    check_options("open_loader", options)
    return _open(options)


@contextlib.asynccontextmanager
async def _open(options: PluginOptions) -> AsyncGenerator[Loader, None]:
    check_trio("open_loader")
    async with open_plain_nursery() as nursery:
        loader = Loader(nursery, options)
        try:
            yield loader
        except BaseException:
            nursery.cancel_scope.cancel()
            raise
        finally:
            loader._close()  # noqa: SLF001 - the other half of it


@attrs.define(eq=False)
class _Loaded:
    """A plugin and the task that holds its block open."""

    plugin: Plugin
    unload: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)


@final
class Loader:
    """Plugins by name; `open_loader` makes it.

    Attributes:
        plugins: the plugins in service, by name: a live view, which cannot be changed through it.
    """

    def __init__(self, nursery: trio.Nursery, options: PluginOptions) -> None:
        """Load into a nursery; `open_loader` does."""
        self._nursery = nursery
        self._options = options
        self._loaded: dict[str, _Loaded] = {}
        self._plugins: dict[str, Plugin] = {}  # the same, as others see it
        self._turns: dict[str, trio.Lock] = {}  # who loads a name that another loads waits
        self._closing = trio.Event()
        self.plugins: Final[Mapping[str, Plugin]] = MappingProxyType(self._plugins)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Loader {state}: {len(self._plugins)} plugins>"

    @property
    def closed(self) -> bool:
        """Whether its block has been left: nothing is loaded any more."""
        return self._closing.is_set()

    def find_tool(self, tool_name: str) -> Plugin | None:
        """The plugin that has a tool of this name; of several, the one loaded first."""
        for plugin in self._plugins.values():
            if any(tool.name == tool_name for tool in plugin.tools):
                return plugin
        return None

    async def load(
        self,
        source: PluginSource,
        name: str | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> Plugin:
        """Load a plugin, or put a new module in the place of one that is loaded.

        A name that is there already is reloaded in place: the `Plugin` stays the same object, at
        no moment is it missing, and no call fails. Returns once new calls go to the new module.

        Args:
            source: as for `open_plugin`.
            name: to load it by. None is the plugin's own, which it is asked first, in an instance
                that does nothing else.
            credentials: None for a plugin that is loaded already are those that it has.

        Raises:
            CompileError, LinkError, AbiError, ConfigureError, PoolUnavailable, OSError: a first
                load failed, as for `open_plugin`.
            ReloadFailed: the plugin that is loaded goes on serving; the cause is attached. (A
                source that cannot even say its name fails as a first load does.)
            PluginClosed: it was unloaded meanwhile.
            RuntimeError: the loader is closed.

        A cancel leaves things as they were.
        """
        self._check_open()
        host: PluginHost | None = None
        key = name
        if key is None:
            host = plugin_host(self._options)
            module = source = await host.compile(source)
            host.name = lambda: module.name
            key = await _ask_name(module)
        async with self._turns.setdefault(key, trio.Lock()):
            self._check_open()
            plugin = self._plugins.get(key)
            if plugin is None or plugin.closed:
                host = host or plugin_host(self._options)
                return await self._open(key, source, host, name, credentials)
            await plugin._reload(source, host, credentials)  # noqa: SLF001 - of one family
            return plugin

    async def unload(self, name: str) -> None:
        """Take a plugin out of service: new calls are refused at once, those under way drain.

        Returns when everything of it is freed. Other plugins do not feel it, and the name can be
        loaded anew meanwhile.

        Raises:
            KeyError: no plugin of this name is loaded.
            RuntimeError: the task holds a lease of the plugin's pool.

        A cancel cuts the plugin's grace to nothing.
        """
        if name not in self._loaded:
            loaded = ", ".join(map(repr, self._plugins)) or "none"
            message = f"no plugin {name!r} is loaded; there are: {loaded}"
            raise KeyError(message)
        await self._retire(self._take(name))

    async def watch(
        self,
        directory: str | os.PathLike[str],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep the plugins of a directory in service until cancelled, or the loader closes.

        Loads each ``.wasm`` file under the name of its stem, reloads one that changes, and
        unloads one that goes; changes are looked at once they have settled. A file that is half
        written or broken keeps the old one serving, and the log (``wasmpool.loader``) says why.
        Works with ``nursery.start``, which returns when every file has been tried once.

        Raises:
            ModuleNotFoundError: watchfiles is not installed (extra ``plugin``).
            OSError: the directory cannot be read.
            RuntimeError: the loader is closed.
        """
        self._check_open()
        await watch(self, directory, self._closing, task_status)

    def unload_behind(self, name: str) -> None:
        """`unload`, without waiting: new calls are refused from this moment on."""
        self._nursery.start_soon(self._retire, self._take(name))

    # --- inside ---

    async def _open(
        self,
        key: str,
        source: PluginSource,
        host: PluginHost,
        name: str | None,
        credentials: Mapping[str, str] | None,
    ) -> Plugin:
        """Start the task that a plugin lives in; back when it serves."""
        failed: list[Exception] = []

        async def live(*, task_status: trio.TaskStatus[Plugin | None]) -> None:
            loaded: _Loaded | None = None
            try:
                async with load_plugin(source, host, name, credentials, self._options) as plugin:
                    loaded = self._enter(key, plugin)
                    task_status.started(plugin)
                    await loaded.unload.wait()
            except Exception as failure:
                if loaded is not None:
                    raise
                failed.append(failure)  # to the caller, with its cause; a nursery drops it
                task_status.started(None)
            finally:
                if loaded is not None:
                    self._leave(key, loaded)

        plugin: Plugin | None = await self._nursery.start(live)
        if plugin is None:
            raise failed[0]
        return plugin

    def _enter(self, key: str, plugin: Plugin) -> _Loaded:
        before = self._loaded.get(key)
        if before is not None:  # closed by hand, its task still waits to be told
            before.unload.set()
        loaded = self._loaded[key] = _Loaded(plugin)
        self._plugins[key] = plugin
        if self.closed:  # meanwhile
            loaded.unload.set()
        return loaded

    def _leave(self, key: str, loaded: _Loaded) -> None:
        if self._loaded.get(key) is loaded:
            self._take(key)
        loaded.gone.set()

    def _take(self, name: str) -> _Loaded:
        """Out of service, from this moment on."""
        del self._plugins[name]
        return self._loaded.pop(name)

    async def _retire(self, loaded: _Loaded) -> None:
        try:
            await loaded.plugin.aclose()
        finally:
            loaded.unload.set()
        await loaded.gone.wait()

    def _close(self) -> None:
        self._closing.set()
        for loaded in self._loaded.values():
            loaded.unload.set()

    def _check_open(self) -> None:
        if self.closed:
            message = "the loader is closed: its block has been left"
            raise RuntimeError(message)


async def _ask_name(module: Module) -> str:
    """A plugin's own name, from an instance that does nothing else."""
    try:
        instance = await module.instantiate()
        try:
            await start_runtime(module, instance)
            return await read_name(instance)
        finally:
            await instance.aclose()
    except (GuestTrap, GuestExit, GuestMemoryError, CallTimeout) as failed:
        message = f"{module} cannot be asked for its name: {failed}"
        raise PoolUnavailable(message) from failed
