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

from wasmpool._errors import PoolUnavailable, ReloadFailed
from wasmpool_host import CallTimeout, GuestExit, GuestMemoryError, GuestTrap
from wasmpool_host.lowlevel import Source

from .admission import Candidate
from .changes import Change, ChangeFeed, ChangeKind
from .errors import AbiError, PluginClosed
from .failures import Failures
from .options import START_TIMEOUT, check_options, new_environment
from .plugin import Plugin, compile_plugin, load_plugin
from .revision import read_name, start_runtime
from .source import read_checked, stem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator, Sequence

    from wasmpool_host import Module

    from .admission import Admit
    from .environment import PluginEnvironment
    from .kind import PluginKind
    from .metadata import Metadata, Tool
    from .options import PluginOptions
    from .source import PluginSource

__all__ = ["PluginRegistry"]


@final
@attrs.define(eq=False)
class _Entry:
    """A plugin and its task; also the plugin's `Registration`."""

    registry: PluginRegistry
    key: str
    """The name that it is loaded by."""
    plugin: Plugin
    options: PluginOptions
    """Those that it was loaded with."""
    kind: PluginKind | None
    """None for a plugin of this project's contract."""
    unload: trio.Event = attrs.field(factory=trio.Event)
    """Set when the task must end."""
    ended: trio.Event = attrs.field(factory=trio.Event)
    has_left: bool = False
    """True once its end has been told."""

    async def wait_for_end(self) -> None:
        """Wait until the plugin is to be unloaded, or is closed by `Plugin.aclose`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._unload_when_closed)
            await self.unload.wait()
            nursery.cancel_scope.cancel()

    async def _unload_when_closed(self) -> None:
        core = self.plugin.pool._core  # noqa: SLF001 - the pool itself can be closed, too
        while not self.plugin.closed:
            await core.current.closing.wait()  # or replaced, by a reload
        self.registry.left(self)
        await core.closed.wait()
        self.unload.set()

    def admit(self, tools: tuple[Tool, ...], metadata: Metadata) -> None:
        """Refuse a revision that is about to enter service, by raising."""
        self.registry.admit(
            Candidate(name=self.key, tools=tools, metadata=metadata, replaces=self.plugin)
        )

    def switched(self) -> None:
        """Another revision is in service."""
        self.registry.entered(ChangeKind.RELOADED, self)


@final
@attrs.define(eq=False)
class _Order:
    """What a new plugin is made of: the arguments of `load_plugin`, or of its kind."""

    source: PluginSource | Source
    environment: PluginEnvironment | None
    """Of a plugin of this project's contract; None is a new one."""
    name: str | None
    credentials: Mapping[str, str] | None
    options: PluginOptions
    kind: PluginKind | None = None

    def open(self, key: str) -> contextlib.AbstractAsyncContextManager[Plugin]:
        """Open it; ``key`` is the name that it is loaded by."""
        if self.kind is not None:
            assert isinstance(self.source, Source)  # a kind claims what has been read
            return self.kind.open(self.source, key, self.credentials, self.options)
        environment = self.environment or new_environment(self.options)
        return load_plugin(self.source, environment, self.name, self.credentials, self.options)


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

    A plugin of another kind is not reloaded: a new one takes its place.

    Attributes:
        plugins: a live view of the plugins in service, by name.
        closing: set when the loader's block ends.
        failures: a live view of why plugins are not loaded or not reloaded, by name.
        changes: tells its subscribers what enters and leaves service, and what fails.
        watched: by plugin name, the file of the watch that loads this name. A watch adds and
            removes its own files.
    """

    # Invariant: `_entries` has, for each name, the newest plugin whose task is not about to end.

    def __init__(
        self,
        nursery: trio.Nursery,
        options: PluginOptions,
        admit: Admit | None = None,
        kinds: Sequence[PluginKind] = (),
    ) -> None:
        self._nursery = nursery
        self._options = options
        self._admit = admit
        self._kinds = kinds
        self._failures = Failures()
        self._entries: dict[str, _Entry] = {}
        self._load_locks: dict[str, trio.Lock] = {}  # loads of the same name run one by one
        self._loads: set[trio.CancelScope] = set()
        self.watched: Final[dict[str, object]] = {}
        self.closing: Final = trio.Event()
        self.plugins: Final[Mapping[str, Plugin]] = _OpenPlugins(self._entries)
        self.failures: Final[Mapping[str, Exception]] = self._failures.view
        self.changes: Final = ChangeFeed()

    @property
    def closed(self) -> bool:
        """True once the loader's block has ended."""
        return self.closing.is_set()

    def check_open(self) -> None:
        """Raise RuntimeError if the loader is closed."""
        if self.closed:
            message = "the loader is closed: its block has been left"
            raise RuntimeError(message)

    def check_options(self, call: str, options: PluginOptions) -> PluginOptions | None:
        """Return a plugin's options over the loader's; None if it has none of its own.

        Raises:
            TypeError, ValueError: an option is unknown or out of its range.
        """
        if not options:
            return None
        return check_options(call, {**self._options, **options}, "name", "credentials", "sha256")

    async def load(
        self,
        source: PluginSource | Source,
        name: str | None,
        credentials: Mapping[str, str] | None,
        options: PluginOptions | None = None,
        sha256: str | None = None,
    ) -> Plugin:
        """`Loader.load`, of arguments that have been checked and that nothing else can change.

        Args:
            source: as for `Loader.load`, or a file that has been read.
            name: as for `Loader.load`.
            credentials: as for `Loader.load`.
            options: all options of the plugin; None: those that it has, else the loader's.
            sha256: as for `Loader.load`.
        """
        with self._until_closing():
            try:
                checked = await read_checked(source, sha256, read=bool(self._kinds))
                plugin = await self._load(checked, name, credentials, options)
            except Exception as error:
                if not self.closed and not isinstance(error, PluginClosed):
                    self.failed(name or stem(source), error)
                raise
            if name is None:
                self.forget(stem(source))
            return plugin
        raise AssertionError("unreachable")  # pragma: no cover - for type checkers

    async def unload(self, name: str) -> None:
        """Take a plugin out of service, close it, and wait until its task has ended."""
        await self._close_entry(self._take_out(name))

    def unload_soon(self, name: str) -> None:
        """`unload`, in the background; the plugin leaves `plugins` at once."""
        self._nursery.start_soon(self._close_entry, self._take_out(name))

    def close(self) -> None:
        """End running loads, and let the task of each plugin end."""
        self.closing.set()
        self.changes.end()
        for load in self._loads:
            load.cancel()
        for entry in self._entries.values():
            entry.unload.set()

    # --- what it tells ---

    def admit(self, candidate: Candidate) -> None:
        """Ask the host; what it raises refuses the candidate."""
        if self._admit is not None:
            self._admit(candidate)

    def entered(self, kind: ChangeKind, entry: _Entry) -> None:
        """A plugin, or a revision of it, has entered service."""
        self._failures.remove(entry.key)
        self.changes.publish(Change(kind=kind, name=entry.key, plugin=entry.plugin))

    def left(self, entry: _Entry) -> None:
        """A plugin takes no more calls; it is told once, and not if another one serves."""
        if self._entries.get(entry.key) is entry and not entry.has_left:
            entry.has_left = True
            error = self.failures.get(entry.key)  # a reload can have failed before, or a load since
            change = Change(kind=ChangeKind.UNLOADED, name=entry.key, error=error)
            self.changes.publish(change)

    def failed(self, name: str, error: Exception) -> None:
        """Note why a plugin is not loaded or not reloaded."""
        kept = self._failures.add(name, error)
        serving = self.plugins.get(name)
        change = Change(kind=ChangeKind.FAILED, name=name, plugin=serving, error=kept)
        self.changes.publish(change)

    def forget(self, name: str) -> None:
        """What failed is gone: nothing is wrong with this name any more. It is told, if it was."""
        if self._failures.remove(name):
            plugin = self.plugins.get(name)
            kind = ChangeKind.UNLOADED if plugin is None else ChangeKind.RELOADED
            self.changes.publish(Change(kind=kind, name=name, plugin=plugin))

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

    def _kind_of(self, source: PluginSource | Source) -> PluginKind | None:
        """Return the other kind that a plugin is of; None for this project's contract."""
        if not isinstance(source, Source):
            return None
        return next((kind for kind in self._kinds if kind.claims(source)), None)

    async def _load(
        self,
        source: PluginSource | Source,
        name: str | None,
        credentials: Mapping[str, str] | None,
        options: PluginOptions | None,
    ) -> Plugin:
        environment: PluginEnvironment | None = None
        kind = self._kind_of(source)
        key = name if kind is None else name or stem(source)
        if key is None:
            environment = new_environment(options or self._options)
            module = source = await compile_plugin(environment, source, None)
            environment.name = lambda: module.name
            key = await self._ask_name(module, options or self._options)
        async with self._load_lock(key):
            self.check_open()
            entry = self._entries.get(key)
            if entry is None or entry.plugin.closed:
                options = options or self._options
                order = _Order(source, environment, name, credentials, options, kind)
                return await self._start(key, order)
            options = options or entry.options
            if kind is None and entry.kind is None and options == entry.options:
                await entry.plugin._reload(source, environment, credentials)  # noqa: SLF001 - more than `reload` takes
                self.forget(key)
                return entry.plugin
            order = _Order(source, environment, name, credentials, options, kind)
            return await self._replace(entry, order)

    async def _ask_name(self, module: Module, options: PluginOptions) -> str:
        """Return a plugin's own name, else its module's, within ``start_timeout``."""
        limit = options.get("start_timeout", START_TIMEOUT)
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

    async def _replace(self, entry: _Entry, order: _Order) -> Plugin:
        """Start a plugin with other options beside the one in service, which drains then.

        Raises:
            ReloadFailed: it did not start, or was refused; the one in service continues.
        """
        if order.credentials is None:
            order.credentials = entry.plugin._credentials  # noqa: SLF001 - never shown to users
        try:
            return await self._start(entry.key, order)
        except Exception as failed:
            message = f"plugin {entry.key!r} goes on as before: {failed}"
            raise ReloadFailed(message) from failed

    async def _start(self, key: str, order: _Order) -> Plugin:
        """Start the task of a new plugin, and return when the plugin serves."""
        failed: list[Exception] = []

        async def keep_open(*, task_status: trio.TaskStatus[Plugin | None]) -> None:
            entry: _Entry | None = None
            try:
                async with order.open(key) as plugin:
                    entry = self._add(key, plugin, order)
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

    def _add(self, key: str, plugin: Plugin, order: _Order) -> _Entry:
        """Put a plugin in service, in one step with its admission and with the end of another."""
        old = self._entries.get(key)
        replaced = None if old is None or old.plugin.closed else old
        if self._admit is not None:
            metadata = plugin.metadata
            assert metadata is not None  # it is open
            serving = None if replaced is None else replaced.plugin
            self._admit(
                Candidate(name=key, tools=plugin.tools, metadata=metadata, replaces=serving)
            )
        entry = self._entries[key] = _Entry(self, key, plugin, order.options, order.kind)
        plugin._registration = entry  # noqa: SLF001 - a part of its loading
        if replaced is not None:
            self._nursery.start_soon(self._close_entry, replaced)
        self.entered(ChangeKind.LOADED if replaced is None else ChangeKind.RELOADED, entry)
        if self.closed:  # during the load
            entry.unload.set()
        return entry

    def _take_out(self, name: str) -> _Entry:
        entry = self._entries[name]
        self.left(entry)
        del self._entries[name]
        self.forget(name)
        return entry

    def _remove(self, key: str, entry: _Entry) -> None:
        if self._entries.get(key) is entry:
            self.left(entry)
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
