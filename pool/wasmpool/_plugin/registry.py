"""The plugins of a loader, by name, and the tasks that keep them open.

Each plugin has a task of its own, which keeps the plugin's block open until the plugin is unloaded
or closed. So a load or an unload of one plugin never waits for the calls of another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from wasmpool._errors import PoolUnavailable
from wasmpool_host import CallTimeout, GuestExit, GuestMemoryError, GuestTrap

from .errors import AbiError
from .options import START_TIMEOUT, new_environment
from .plugin import Plugin, compile_plugin, load_plugin
from .revision import read_name, start_runtime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from wasmpool_host import Module
    from wasmpool_host.lowlevel import Source

    from .environment import PluginEnvironment
    from .options import PluginOptions
    from .source import PluginSource

__all__ = ["PluginRegistry"]


@attrs.define(eq=False)
class _Entry:
    """A plugin and its task."""

    plugin: Plugin
    unload: trio.Event = attrs.field(factory=trio.Event)
    """Set when the task must end."""
    ended: trio.Event = attrs.field(factory=trio.Event)

    async def wait_for_end(self) -> None:
        """Wait until the plugin is to be unloaded, or is closed by `Plugin.aclose`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._unload_when_closed)
            await self.unload.wait()
            nursery.cancel_scope.cancel()

    async def _unload_when_closed(self) -> None:
        await self.plugin.pool._core.closed.wait()  # noqa: SLF001 - the pool itself can be closed, too
        self.unload.set()


@final
class _OpenPlugins(Mapping[str, Plugin]):
    """A live view of the plugins that take calls. It does not show a plugin that closes."""

    def __init__(self, entries: Mapping[str, _Entry]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Plugin:
        plugin = self._entries[name].plugin
        if plugin.closed:
            raise KeyError(name)
        return plugin

    def __iter__(self) -> Iterator[str]:
        # Over a copy: plugins may come and go while a loop over them waits.
        return iter([name for name, entry in self._entries.items() if not entry.plugin.closed])

    def __len__(self) -> int:
        return sum(not entry.plugin.closed for entry in self._entries.values())

    def __repr__(self) -> str:
        return repr(dict(self))


@final
class PluginRegistry:
    """Loads and unloads plugins by name; shared by a `Loader` and its watches.

    Attributes:
        plugins: a live view of the plugins in service, by name.
        closing: set when the loader's block ends.
        watched: by plugin name, the file of the watch that loads this name. A watch adds and
            removes its own files.
    """

    # Invariant: `_entries` has, for each name, the newest plugin whose task is not about to end.

    def __init__(self, nursery: trio.Nursery, options: PluginOptions) -> None:
        self._nursery = nursery
        self._options = options
        self._entries: dict[str, _Entry] = {}
        self._load_locks: dict[str, trio.Lock] = {}  # loads of the same name run one by one
        self._loads: set[trio.CancelScope] = set()
        self.watched: Final[dict[str, object]] = {}
        self.closing: Final = trio.Event()
        self.plugins: Final[Mapping[str, Plugin]] = _OpenPlugins(self._entries)

    @property
    def closed(self) -> bool:
        """True once the loader's block has ended."""
        return self.closing.is_set()

    def check_open(self) -> None:
        """Raise RuntimeError if the loader is closed."""
        if self.closed:
            message = "the loader is closed: its block has been left"
            raise RuntimeError(message)

    async def load(
        self, source: PluginSource | Source, name: str | None, credentials: Mapping[str, str] | None
    ) -> Plugin:
        """`Loader.load`, of arguments that have been checked and that nothing else can change.

        Args:
            source: as for `Loader.load`, or a file that has been read.
            name: as for `Loader.load`.
            credentials: as for `Loader.load`.
        """
        with self._until_closing():
            return await self._load(source, name, credentials)
        raise AssertionError("unreachable")  # pragma: no cover - for type checkers

    async def unload(self, name: str) -> None:
        """Take a plugin out of service, close it, and wait until its task has ended."""
        await self._close_entry(self._entries.pop(name))

    def unload_soon(self, name: str) -> None:
        """`unload`, in the background; the plugin leaves `plugins` at once."""
        self._nursery.start_soon(self._close_entry, self._entries.pop(name))

    def close(self) -> None:
        """End running loads, and let the task of each plugin end."""
        self.closing.set()
        for load in self._loads:
            load.cancel()
        for entry in self._entries.values():
            entry.unload.set()

    # --- loading ---

    @contextlib.contextmanager
    def _until_closing(self) -> Generator[None, None, None]:
        """A block that is cancelled when the loader closes; it then raises RuntimeError.

        Cancelling the loader's nursery would not do: a task that ``nursery.start`` has started
        belongs to the caller's nursery until it calls ``started``.
        """
        with trio.CancelScope() as scope:
            self._loads.add(scope)
            try:
                yield
            finally:
                self._loads.discard(scope)
        if scope.cancelled_caught:
            self.check_open()

    async def _load(
        self, source: PluginSource | Source, name: str | None, credentials: Mapping[str, str] | None
    ) -> Plugin:
        environment: PluginEnvironment | None = None
        key = name
        if key is None:
            environment = new_environment(self._options)
            module = source = await compile_plugin(environment, source, None)
            environment.name = lambda: module.name
            key = await self._ask_name(module)
        async with self._load_lock(key):
            self.check_open()
            plugin = self.plugins.get(key)
            if plugin is None:
                environment = environment or new_environment(self._options)
                return await self._start(key, source, environment, name, credentials)
            await plugin._reload(source, environment, credentials)  # noqa: SLF001 - more than `reload` takes
            return plugin

    async def _ask_name(self, module: Module) -> str:
        """Return a plugin's own name, else its module's, within ``start_timeout``."""
        limit = self._options.get("start_timeout", START_TIMEOUT)
        with trio.move_on_after(limit):
            return await _ask_name(module) or module.name
        message = f"{module} does not tell its name within start_timeout={limit} s"
        raise PoolUnavailable(message)

    @contextlib.asynccontextmanager
    async def _load_lock(self, key: str) -> AsyncGenerator[None]:
        """A block in which no other task loads the same name."""
        lock = self._load_locks.setdefault(key, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not (lock.locked() or lock.statistics().tasks_waiting):
                self._load_locks.pop(key, None)

    async def _start(
        self,
        key: str,
        source: PluginSource | Source,
        environment: PluginEnvironment,
        name: str | None,
        credentials: Mapping[str, str] | None,
    ) -> Plugin:
        """Start the task of a new plugin, and return when the plugin serves."""
        failed: list[Exception] = []

        async def keep_open(*, task_status: trio.TaskStatus[Plugin | None]) -> None:
            entry: _Entry | None = None
            loading = load_plugin(source, environment, name, credentials, self._options)
            try:
                async with loading as plugin:
                    entry = self._add(key, plugin)
                    task_status.started(plugin)
                    await entry.wait_for_end()
            except Exception as failure:
                if entry is not None:
                    raise
                failed.append(failure)  # raised by the caller: a nursery would drop its cause
                task_status.started(None)
            finally:
                if entry is not None:
                    self._remove(key, entry)

        plugin: Plugin | None = await self._nursery.start(keep_open)
        if plugin is None:
            raise failed[0]
        return plugin

    def _add(self, key: str, plugin: Plugin) -> _Entry:
        self._entries.pop(key, None)  # it has been closed, and its task is about to end
        entry = self._entries[key] = _Entry(plugin)
        if self.closed:  # during the load
            entry.unload.set()
        return entry

    def _remove(self, key: str, entry: _Entry) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]
        entry.ended.set()

    async def _close_entry(self, entry: _Entry) -> None:
        try:
            await entry.plugin.aclose()
        finally:
            entry.unload.set()
        await entry.ended.wait()


async def _ask_name(module: Module) -> str:
    """Return a plugin's own name, from an instance that is used for nothing else."""
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
