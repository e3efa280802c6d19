"""An Extism plugin: a pool of instances, each with a kernel of its own.

Extism's SDKs serve one call at a time in each plugin. Here a plugin is a pool, so as many calls run
at once as it has instances, and a host function may wait for I/O meanwhile.

`ExtismPlugin.reload` returns at the switch. The calls that still run in the old instances are
awaited by a background task in the nursery of `open_extism`; closing the pool ends that task.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Unpack, final

import trio

from wasmpool._block import Block
from wasmpool._errors import PoolClosed, PoolUnavailable, ReloadFailed, as_one_line
from wasmpool._http.policy import HttpPolicy
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool._plugin.errors import PluginClosed
from wasmpool._plugin.options import (
    START_TIMEOUT,
    PluginOptions,
    check_name,
    check_options,
    pool_options,
)
from wasmpool._plugin.switch import Switch
from wasmpool._pool.options import Options
from wasmpool._pool.pool import run_pool
from wasmpool._pool.pool_state import PoolState
from wasmpool_host import (
    CompileError,
    GuestMemoryError,
    HostFunction,
    LinkError,
    ModuleError,
    SnapshotError,
)
from wasmpool_host.lowlevel import DrivenModule, check_process, check_trio, shown

from .clients import Clients
from .manifest import is_unicode
from .revision import Given, load_revision
from .source import freeze_source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from wasmpool._pool.pool import Pool
    from wasmpool._pool.statistics import PoolStatistics

    from .revision import Revision
    from .source import ExtismSource, FrozenSource

__all__ = ["ExtismPlugin", "open_extism"]

_BROKEN_SOURCE: Final = (ModuleError, GuestMemoryError, ValueError, OSError)


def open_extism(
    source: ExtismSource,
    *,
    name: str | None = None,
    config: Mapping[str, str | None] | None = None,
    functions: Sequence[HostFunction] = (),
    **options: Unpack[PluginOptions],
) -> contextlib.AbstractAsyncContextManager[ExtismPlugin]:
    """Run an Extism plugin in a pool of its own for the length of the block.

    Args:
        source: a module or a manifest: the path of a file, its content as bytes, or a manifest as a
            mapping. A file that ends with ``.json`` or ``.toml`` is a manifest. A str is a path,
            but for the text of a module and a manifest in JSON.
        name: used in messages and in the log; None is the module's.
        config: added to the manifest's configuration; a value of None removes one.
        functions: host functions that the plugin may import, plain or async, made by
            ``@host_function("extism:host/user", "name", params=("i64",), results=("i64",))``.
            ``caller.read(offset)`` copies a block out, ``await caller.reply(data)`` makes one.
        http: an `HttpPolicy`, by default ``HttpPolicy()``. A plugin reaches the hosts that both the
            manifest's ``allowed_hosts`` and the policy allow. None is no host.
        limits: the `Limits` of each instance. The blocks that guest and host share take a fifth of
            ``limits.memory``, and 64 MiB at most. ``memory.max_pages`` and ``timeout_ms`` of the
            manifest can only lower them.
        wasi: what the plugin can use through WASI; None, the default, is nothing of this machine,
            and then a manifest with ``allowed_paths`` is refused.
        options: as for `open_plugin`: ``cache``, ``pristine``, and those of `open_pool`.

    Raises:
        TypeError, ValueError: at the call: an option is unknown or out of its range; the manifest
            is not valid, or asks for what is not served. For a file this is at the start of the
            block, as all that follow.
        CompileError, LinkError, GuestMemoryError, OSError: as for `Module.compile`.
        DigestError: the module has another digest than its manifest says.
        SnapshotError: ``pristine`` is set, and no snapshot can be made of the plugin.
        PoolUnavailable: no instance could be started; the cause is attached.
        RuntimeError: outside of a trio run, or in a forked child.

    The end of the block closes the plugin: running calls get up to ``grace`` seconds to finish, or
    none if the block ends by an exception or a cancel. A cancel during the load returns at once and
    leaves nothing behind.
    """
    if "setup" in options:
        message = "open_extism takes no setup: instances are ready once their runtime has started"
        raise TypeError(message)
    if "http" not in options:
        options["http"] = HttpPolicy()
    check_name(name)
    given = Given(
        name=name,
        config=_copy_config(config),
        functions=_copy_functions(functions),
        options=check_options("open_extism", options, "name", "config", "functions"),
    )
    return Block("open_extism", "plugin", _opened(freeze_source(source), given))


def _copy_config(config: object) -> dict[str, str | None]:
    """Copy a configuration, which the caller may change later; no message shows a value."""
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        message = f"config must be a mapping of strings, not {type(config).__name__}"
        raise TypeError(message)
    for key, value in config.items():
        if not isinstance(key, str) or not isinstance(value, str | None):
            message = f"config must have strings, or None: the value of {shown(key)} is none"
            raise TypeError(message)
        if not (is_unicode(key) and is_unicode(value or "")):
            message = f"config: {shown(key)} or its value has no form in UTF-8"
            raise ValueError(message)
    return dict(config)


def _copy_functions(functions: object) -> tuple[HostFunction, ...]:
    given: tuple[object, ...] = (
        tuple(functions) if isinstance(functions, Iterable) else (functions,)
    )
    copied = tuple(each for each in given if isinstance(each, HostFunction))
    if len(copied) < len(given):
        other = next(each for each in given if not isinstance(each, HostFunction))
        message = f"functions are made by @host_function(module, name, ...); {other!r} is none"
        raise TypeError(message)
    return copied


@contextlib.asynccontextmanager
async def _opened(source: FrozenSource, given: Given) -> AsyncGenerator[ExtismPlugin, None]:
    check_trio("open_extism")
    async with contextlib.AsyncExitStack() as stack:
        clients = await stack.enter_async_context(Clients())
        drains = await stack.enter_async_context(open_plain_nursery())
        revision = clients.add(await load_revision(source, given))
        if given.options.get("pristine"):
            await _freeze(revision, given)
        pool = await stack.enter_async_context(
            run_pool(
                DrivenModule(revision.instances_of),
                Options(
                    name=revision.name,
                    setup=revision.pool_setup,
                    of_plugin=True,
                    **pool_options(given.options),
                ),
            )
        )
        yield ExtismPlugin(pool, drains, clients, revision, given)


async def _freeze(revision: Revision, given: Given) -> None:
    """`Revision.freeze`, with the errors of a load."""
    try:
        await revision.freeze(given.options.get("start_timeout", START_TIMEOUT))
    except (SnapshotError, LinkError, CompileError):
        raise
    except Exception as failed:
        message = f"plugin {revision.name!r}: no snapshot was made of it: {as_one_line(failed)}"
        raise PoolUnavailable(message) from failed


@final
class ExtismPlugin:
    """An Extism plugin in service; `open_extism` makes it.

    Each instance has its own variables: what a call sets with ``var_set``, the next call sees only
    if it runs in the same instance.

    Attributes:
        pool: the pool that its calls run in. Reload with `reload`, never with ``pool.reload``.
    """

    # Invariants:
    # - `_revision` belongs to the pool's current generation; both change in one synchronous step
    # - a task that reloads the pool holds `_switching`

    __slots__ = ("_clients", "_drains", "_given", "_revision", "_switching", "pool")

    def __init__(
        self,
        pool: Pool,
        drains: trio.Nursery,
        clients: Clients,
        revision: Revision,
        given: Given,
    ) -> None:
        """Not for users: `open_extism` calls it."""
        self.pool: Pool = pool
        self._drains = drains
        self._clients = clients
        self._given = given
        self._switching = trio.Lock()
        self._take_over(revision)

    # --- what it is ---

    @property
    def closed(self) -> bool:
        """True once it takes no more calls."""
        return self.pool.state is not PoolState.OPEN

    @property
    def name(self) -> str:
        """The name that it was given, else that of its module."""
        return self._revision.name

    @property
    def exports(self) -> tuple[str, ...]:
        """What can be called, in the module's order; none after close."""
        return () if self.closed else self._revision.exports

    def statistics(self) -> PoolStatistics:
        """What its pool does, as a snapshot."""
        return self.pool.statistics()

    def __repr__(self) -> str:
        state, exports = self.pool.state.name.lower(), len(self.exports)
        generation = self.pool.generation
        return f"<ExtismPlugin {self.name!r} {state} gen={generation}: {exports} exports>"

    # --- what it does ---

    async def call(self, name: str, data: bytes | str = b"") -> bytes:
        """Call an export with an input, in whichever instance is free.

        Args:
            name: one of `exports`.
            data: the input; a str is written in UTF-8.

        Returns:
            the output; empty if the guest sets none.

        Raises:
            ExtismError: the guest set an error, or returned another number than 0; or it asked a
                host function for what the manifest or the policy refuses.
            GuestTrap, GuestExit, GuestMemoryError, CallTimeout: the guest failed. A trap has the
                error that the guest had set in a note. An exit with status 0 is no failure.
            ValueError: no such export, or an input above ``limits.payload``.
            TypeError: the export takes arguments, or returns no i32; or the input is neither bytes
                nor a str.
            PoolClosed, LeaseRevoked: the plugin was closed, or the grace of a reload has ended.
            PoolSaturated, PoolTimeout, PoolUnavailable, LeaseDeadlock: no instance was available.
            RuntimeError: outside of the plugin's trio run, or in a forked child.
            Exception: raised by a host function of your own.

        A cancel ends exactly this call; its instance is replaced.
        """
        payload = data.encode() if isinstance(data, str) else data
        return await self.pool.exchange(name, payload, tool=name)

    async def reload(self, source: ExtismSource) -> int:
        """Put another module or manifest in service, with the options of `open_extism`.

        Returns once new calls go to the new module. Running calls finish in the old one, within the
        plugin's grace. A reload of what is in service changes nothing.

        Args:
            source: as for `open_extism`.

        Returns:
            the number of the generation in service.

        Raises:
            ReloadFailed: the source cannot be read, compiled, linked or started, or its manifest is
                not valid. The old one continues to serve; the cause is attached.
            TypeError: it is no source.
            PluginClosed: the plugin is closed, or was closed during the call.
            RuntimeError: outside of a trio run, or in a forked child.

        A cancel leaves the old module in service.
        """
        check_process()
        async with self._switching:
            self._check_open()
            revision = await self._load(source)
            if revision.is_like(self._revision):
                return self.pool.generation
            self._clients.add(revision)
            try:
                return await self._switch(revision)
            finally:
                if self._revision is not revision:
                    await self._clients.drop(revision)

    async def aclose(self, *, grace: float | None = None) -> None:
        """Close the plugin: refuse new calls, and give running calls up to ``grace`` seconds.

        Args:
            grace: None is the ``grace`` that the plugin was opened with, 310 s by default.

        Raises:
            RuntimeError: the task holds a lease of the plugin's pool.

        A cancel of the first call cuts the grace to nothing; the close still completes.
        """
        await self.pool.aclose(grace=grace)

    # --- inside ---

    async def _load(self, source: ExtismSource) -> Revision:
        try:
            return await load_revision(freeze_source(source), self._given)
        except _BROKEN_SOURCE as broken:
            raise self._goes_on(broken) from broken

    def _goes_on(self, broken: Exception) -> ReloadFailed:
        return ReloadFailed(f"plugin {self.name!r} goes on as before: {broken}")

    async def _switch(self, revision: Revision) -> int:
        """Reload the pool, and return at the switch; a task in `_drains` awaits the old calls."""
        if self._given.options.get("pristine"):
            await self._freeze(revision)
        old = self._revision
        failed: list[Exception] = []

        async def reload(*, task_status: trio.TaskStatus[int]) -> None:
            switch = Switch(partial(self._take_over, revision), task_status)
            try:
                await self.pool._reload(  # noqa: SLF001 - more than `reload` takes
                    revision.instances_of,
                    setup=revision.pool_setup,
                    force=True,
                    task_status=switch,
                )
            except Exception as failure:
                if not switch.done:
                    failed.append(failure)  # raised by the caller: a nursery would drop its cause
                    task_status.started(0)
                elif not isinstance(failure, PoolClosed):
                    raise
            if switch.done:
                await self._clients.drop(old)

        self._check_open()  # it may have been closed meanwhile, and its nursery with it
        number: int = await self._drains.start(reload)
        if not failed:
            return number
        if isinstance(failed[0], PoolClosed):
            raise self._is_closed() from failed[0]
        raise failed[0]

    async def _freeze(self, revision: Revision) -> None:
        """Make a revision's snapshot, unless the plugin begins to close."""
        core = self.pool._core  # noqa: SLF001 - a close ends it like any other part of a reload
        with trio.CancelScope() as scope:
            core.begin_reload(scope)
            try:
                await _freeze(revision, self._given)
            except (ModuleError, PoolUnavailable) as failed:
                cause = failed.__cause__ if isinstance(failed, PoolUnavailable) else failed
                raise self._goes_on(failed) from cause
            finally:
                core.end_reload(scope)
        if scope.cancelled_caught:
            raise self._is_closed()

    def _take_over(self, revision: Revision) -> None:
        """Put a revision in service; called in the same step as the pool's switch."""
        self._revision = revision
        self.pool._core.rename(revision.name)  # noqa: SLF001 - its messages name the plugin

    def _check_open(self) -> None:
        if self.closed:
            raise self._is_closed()

    def _is_closed(self) -> PluginClosed:
        return PluginClosed(f"plugin {self.name!r} is closed: open it anew")
