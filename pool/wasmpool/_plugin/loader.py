"""Many plugins by name: loaded, reloaded in place, and unloaded while the others serve.

Each plugin lives in a task of its own, which holds its block open until the plugin is unloaded, or
closed by hand. So a load or an unload of one plugin never waits for the calls of another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Unpack, final

import attrs
import trio

from wasmpool._block import Block
from wasmpool._errors import PoolUnavailable
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool._pool.options import Options
from wasmpool_host import CallTimeout, GuestExit, GuestMemoryError, GuestTrap
from wasmpool_host.lowlevel import check_trio

from .errors import AbiError
from .plugin import (
    Plugin,
    PluginOptions,
    check_name,
    compile_plugin,
    keep_options,
    keep_source,
    load_plugin,
    plugin_host,
)
from .revision import copy_credentials, read_name, start_runtime
from .watch import watch

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Generator, Iterator

    from wasmpool_host import Module
    from wasmpool_host.lowlevel import Source

    from .host import PluginHost, PluginSource

__all__ = ["Loader", "open_loader"]

_START_TIMEOUT: Final = Options().start_timeout


def open_loader(
    **options: Unpack[PluginOptions],
) -> contextlib.AbstractAsyncContextManager[Loader]:
    """Keep plugins by name for the length of the block.

    Args:
        options: for each plugin, as for `open_plugin`; names and credentials are given to
            `Loader.load`.

    Raises:
        TypeError, ValueError: an option is unknown or out of its range; at once.

    Leaving the block ends loads that are under way, and closes all plugins side by side, each
    within its grace; leaving it by an exception or a cancel leaves them no grace.
    """
    return Block("open_loader", "loader", _open(keep_options("open_loader", options)))


@contextlib.asynccontextmanager
async def _open(options: PluginOptions) -> AsyncGenerator[Loader, None]:
    check_trio("open_loader")
    async with open_plain_nursery() as nursery:
        loader = Loader(nursery, options)
        try:
            yield loader
        except BaseException:
            loader._close()  # noqa: SLF001 - its own half
            nursery.cancel_scope.cancel()
            raise
        finally:
            loader._close()  # noqa: SLF001 - its own half


@attrs.define(eq=False)
class _Loaded:
    """A plugin and the task that holds its block open."""

    plugin: Plugin
    unload: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)

    async def until_it_ends(self) -> None:
        """Wait until the plugin is to be unloaded, or was closed by hand."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._unload_when_closed)
            await self.unload.wait()
            nursery.cancel_scope.cancel()

    async def _unload_when_closed(self) -> None:
        await self.plugin.pool._core.closed.wait()  # noqa: SLF001 - by whichever way it is closed
        self.unload.set()


@final
class _InService(Mapping[str, Plugin]):
    """The plugins that take calls, as others see them: one that closes is not among them."""

    def __init__(self, loaded: Mapping[str, _Loaded]) -> None:
        self._loaded = loaded

    def __getitem__(self, name: str) -> Plugin:
        plugin = self._loaded[name].plugin
        if plugin.closed:
            raise KeyError(name)
        return plugin

    def __iter__(self) -> Iterator[str]:
        # Of a list, as a loop over the plugins may wait, and plugins come and go meanwhile.
        return iter([name for name, each in self._loaded.items() if not each.plugin.closed])

    def __len__(self) -> int:
        return sum(not each.plugin.closed for each in self._loaded.values())

    def __repr__(self) -> str:
        return repr(dict(self))


@final
class Loader:
    """Plugins by name; `open_loader` makes it.

    Attributes:
        plugins: the plugins in service, by name: a live view, which cannot be changed through it.
            A plugin leaves it as soon as it begins to close, by `unload` or `Plugin.aclose`.
    """

    # Invariants:
    # - `_loaded` has the plugins whose task is not about to end; the last one of each name
    # - `_watched` has the file's watch for each name that a watch has loaded, or is loading

    def __init__(self, nursery: trio.Nursery, options: PluginOptions) -> None:
        """Load into a nursery; `open_loader` does."""
        self._nursery = nursery
        self._options = options
        self._loaded: dict[str, _Loaded] = {}
        self._turns: dict[str, trio.Lock] = {}  # loads of one name take turns
        self._loads: set[trio.CancelScope] = set()
        self._watched: dict[str, object] = {}
        self._closing = trio.Event()
        self.plugins: Final[Mapping[str, Plugin]] = _InService(self._loaded)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Loader {state}: {len(self.plugins)} plugins>"

    @property
    def closed(self) -> bool:
        """Whether its block has been left: nothing is loaded any more."""
        return self._closing.is_set()

    def find_tool(self, tool_name: str) -> Plugin | None:
        """The plugin that has a tool of this name; of several, the one loaded first."""
        for plugin in self.plugins.values():
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
            name: to load it by; without control characters. None is the plugin's own, which it
                is asked first, in an instance that does nothing else, within ``start_timeout``; a
                plugin without one goes by its file's.
            credentials: as for `open_plugin`; None for a plugin that is loaded already are those
                that it has.

        Raises:
            CompileError, LinkError, AbiError, GuestMemoryError, ConfigureError, PoolUnavailable,
                OSError: a first load failed, as for `open_plugin`.
            ReloadFailed: the plugin that is loaded goes on serving; the cause is attached. (A
                source that cannot even say its name fails as a first load does.)
            PluginClosed: the plugin was closed or unloaded while it was to be reloaded.
            TypeError, ValueError: the name is blank, or credentials are no strings.
            RuntimeError: the loader is closed, or closes before the plugin is loaded; outside of
                a trio run, or in a forked child.

        A cancel leaves things as they were.
        """
        self._check_open()
        check_name(name)
        given = copy_credentials(credentials)
        return await self._load(keep_source(source), name, given)

    async def unload(self, name: str) -> None:
        """Take a plugin out of service: new calls are refused at once, those under way drain.

        Returns when everything of it is freed. Other plugins do not feel it, and the name can be
        loaded anew meanwhile.

        Raises:
            KeyError: no plugin of this name is in service.
            RuntimeError: the task holds a lease of the plugin's pool.

        A cancel cuts the plugin's grace to nothing.
        """
        if name not in self.plugins:
            loaded = ", ".join(map(repr, self.plugins)) or "none"
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
        unloads one that goes; changes are looked at once they have settled. Works with
        ``nursery.start``, which returns when every file has been tried once.

        - A file that is half written or broken keeps the old one serving, and the log
          (``wasmpool.loader``) says why. It is tried again when it has changed, and after a pause
          (0.5 s, doubled up to 30 s) where it may have become loadable without a change.
        - Symbolic links to files, and to the directory, are followed, and noticed when they lead
          elsewhere. What is no regular file, or has more than 256 MiB, is not loaded.
        - Hidden files are left alone, and so are names that begin with ``~`` or ``#``.
        - A directory that cannot be looked at is logged and tried again each second; its plugins
          go on as they are. One that is gone for a second has no files: they are unloaded. One
          that is back, or replaced, is followed.
        - Of two watched directories with a file of the same name, the first one serves; the other
          file waits until that is gone.
        - Without notices of the operating system (on network file systems; when its limit of
          inotify watches is reached, which is logged) changes are seen within two seconds.

        Args:
            directory: its path; a relative one is fixed now.
            task_status: for ``nursery.start``.

        Raises:
            ModuleNotFoundError: watchfiles is not installed (extra ``plugin``).
            OSError: the directory cannot be looked at for the first time.
            RuntimeError: the loader is closed already.
            TypeError: this is no path.

        The end of the loader ends it without an error. A cancel ends loads and reloads that are
        under way, which leave things as they were; plugins that are loaded stay so.
        """
        self._check_open()
        await watch(self, directory, self._closing, task_status)

    def unload_behind(self, name: str) -> None:
        """`unload`, without waiting: new calls are refused from this moment on."""
        self._nursery.start_soon(self._retire, self._take(name))

    # --- inside ---

    async def _load(
        self, source: PluginSource | Source, name: str | None, credentials: Mapping[str, str] | None
    ) -> Plugin:
        """`load`, of what nothing else can change; the source may be what was read of a file."""
        with self._until_it_closes():
            return await self._load_by_name(source, name, credentials)
        raise AssertionError("it closed and said so")  # pragma: no cover - for type checkers

    @contextlib.contextmanager
    def _until_it_closes(self) -> Generator[None, None, None]:
        """A block that ends when the loader closes, and says so.

        The loader's nursery cannot end it: a task that it starts is of its starter until it runs.
        """
        with trio.CancelScope() as scope:
            self._loads.add(scope)
            try:
                yield
            finally:
                self._loads.discard(scope)
        if scope.cancelled_caught:
            self._check_open()

    async def _load_by_name(
        self, source: PluginSource | Source, name: str | None, credentials: Mapping[str, str] | None
    ) -> Plugin:
        host: PluginHost | None = None
        key = name
        if key is None:
            host = plugin_host(self._options)
            module = source = await compile_plugin(host, source, None)
            host.name = lambda: module.name
            key = await self._ask_name(module)
        async with self._turn(key):
            self._check_open()
            plugin = self.plugins.get(key)
            if plugin is None:
                host = host or plugin_host(self._options)
                return await self._open(key, source, host, name, credentials)
            await plugin._reload(source, host, credentials)  # noqa: SLF001 - of one family
            return plugin

    async def _ask_name(self, module: Module) -> str:
        """Return a plugin's own name, from an instance that does nothing else."""
        limit = self._options.get("start_timeout", _START_TIMEOUT)
        with trio.move_on_after(limit):
            return await _ask_name(module) or module.name
        message = f"{module} does not tell its name within start_timeout={limit} s"
        raise PoolUnavailable(message)

    @contextlib.asynccontextmanager
    async def _turn(self, key: str) -> AsyncGenerator[None]:
        """A block in which no other task loads the same name."""
        turn = self._turns.setdefault(key, trio.Lock())
        try:
            async with turn:
                yield
        finally:
            if not (turn.locked() or turn.statistics().tasks_waiting):
                self._turns.pop(key, None)

    async def _open(
        self,
        key: str,
        source: PluginSource | Source,
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
                    await loaded.until_it_ends()
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
        self._loaded.pop(key, None)  # closed by hand, and its task is about to end
        loaded = self._loaded[key] = _Loaded(plugin)
        if self.closed:  # meanwhile
            loaded.unload.set()
        return loaded

    def _leave(self, key: str, loaded: _Loaded) -> None:
        if self._loaded.get(key) is loaded:
            self._take(key)
        loaded.gone.set()

    def _take(self, name: str) -> _Loaded:
        """Out of service, from this moment on."""
        return self._loaded.pop(name)

    async def _retire(self, loaded: _Loaded) -> None:
        try:
            await loaded.plugin.aclose()
        finally:
            loaded.unload.set()
        await loaded.gone.wait()

    def _close(self) -> None:
        self._closing.set()
        for load in self._loads:
            load.cancel()
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
    except AbiError as broken:
        message = f"{broken} ({module})"
        raise AbiError(message) from broken
    except (GuestTrap, GuestExit, GuestMemoryError, CallTimeout, MemoryError) as failed:
        message = f"{module} cannot be asked for its name: {failed}"
        raise PoolUnavailable(message) from failed
