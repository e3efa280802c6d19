"""A plugin: a pool of instances of a module that fulfils the contract.

A plugin describes itself once, at load, in one instance. The answers belong to the revision: name,
tools and metadata need no instance and no waiting. They change when a reload switches, in the same
synchronous step as the instances that serve.

Credentials belong to the revision as well. Each instance is configured before it serves, so
`Plugin.configure` is a reload of the same module with another setup: each call sees either all of
the old credentials or all of the new ones, and credentials that the guest refuses change nothing.

`Plugin.configure` and `Plugin.reload` return at the switch. The calls that still run in the old
instances are awaited by a background task in the nursery of `open_plugin`; closing the pool ends
that task.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Unpack

import trio

from wasmpool._block import Block
from wasmpool._errors import (
    LeaseRevoked,
    PoolClosed,
    PoolUnavailable,
    ReloadFailed,
    as_one_line,
)
from wasmpool._json import encode
from wasmpool._json_pieces import SMALL
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool._pool.options import Options
from wasmpool._pool.pool import run_pool
from wasmpool._pool.pool_state import PoolState
from wasmpool_host import (
    CallTimeout,
    CompileError,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    LinkError,
    Module,
    SnapshotError,
)
from wasmpool_host.lowlevel import DrivenModule, check_process, check_trio

from .contract import check_exports
from .errors import AbiError, ConfigureError, PluginClosed
from .options import (
    START_TIMEOUT,
    PluginOptions,
    check_name,
    check_options,
    copy_credentials,
    new_environment,
    pool_options,
)
from .revision import PluginRevision
from .source import freeze_source, name_of_file
from .switch import Switch
from .tool_result import CLOSED, ToolResult, read_large_result, read_tool_result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable

    from wasmpool._pool.pool import Pool
    from wasmpool_host.lowlevel import Source

    from .environment import PluginEnvironment
    from .metadata import Metadata, Tool
    from .source import PluginSource

__all__ = ["Plugin", "Registration", "compile_plugin", "load_plugin", "open_plugin"]

_UNHEALTHY: Final = (
    GuestTrap,
    GuestExit,
    GuestMemoryError,
    CallTimeout,
    PoolClosed,
    PoolUnavailable,
    LeaseRevoked,
)
_BROKEN_SOURCE: Final = (CompileError, LinkError, AbiError, GuestMemoryError, OSError)


def open_plugin(
    source: PluginSource,
    *,
    name: str | None = None,
    credentials: Mapping[str, str] | None = None,
    **options: Unpack[PluginOptions],
) -> contextlib.AbstractAsyncContextManager[Plugin]:
    """Load a plugin, and run it in a pool of its own for the length of the block.

    Args:
        source: a path, the bytes of a file, or a compiled `Module`, which keeps the imports that
            it was compiled with. A str that contains ``(module`` is the text of a module.
        name: used instead of the plugin's own; without control characters.
        credentials: strings by name, copied now. Each instance is configured with them before it
            serves. None: the guest's ``configure`` is never called.
        http: an `HttpPolicy`: the hosts that the plugin can reach over HTTP. None, the default,
            is no host; ``HttpPolicy()`` is the public internet.
        limits: the `Limits` of each instance; as for `Module.compile`.
        wasi: what the plugin can use through WASI; None, the default, is nothing of this machine.
        cache: a directory for compiled code; None, the default, is no cache.
        pristine: True gives each call an instance of its own, which no other call has used or will
            use. It costs a fraction of ``max_uses=1``, which it implies: the plugin is started and
            configured once, and each instance begins with a `Module.snapshot` of that. Credentials
            are in the snapshot's code, which is never written to ``cache``. Random numbers and
            times that the plugin reads while it is configured are the same in all instances.
        grace: as for `open_pool`, but 310 s by default: longer than any HTTP request of the plugin
            can take.
        max_memory: as for `open_pool`, but 64 MiB by default: many guests leak memory, and an
            instance that does is replaced.
        max_generations: as for `open_pool`, but 8 by default: an old generation may have to wait
            long for its calls.
        options: the other options of `open_pool`: ``size``, ``min_size``, ``check``,
            ``max_waiting``, ``max_wait``, ``max_uses``, ``max_age``, ``max_idle``,
            ``start_timeout``, ``queue_on_close``, ``leak_after``, ``instruments``. Not ``setup``:
            a plugin is set up by its credentials.

    Raises:
        TypeError, ValueError: at the call: an option is unknown or out of its range, the name is
            blank, or credentials are not strings.
        CompileError: at the start of the block, as all that follow: the source is not a valid
            module.
        LinkError: the module imports what this host does not provide; the message lists all of it.
        AbiError: the module does not fulfil the contract, or fulfils another version of it. The
            message lists all exports that are missing or of the wrong type.
        GuestMemoryError: the module's memory or a table starts above ``limits``.
        ConfigureError: the plugin refused the credentials.
        SnapshotError: ``pristine`` is set, and no snapshot can be made of the plugin.
        PoolUnavailable: no instance could be started, configured and asked to describe itself
            within ``start_timeout``. The cause is attached: `GuestTrap`, `GuestExit`,
            `GuestMemoryError`, `CallTimeout`, MemoryError, trio.TooSlowError, or ValueError for
            credentials above ``limits.payload``.
        OSError: the file cannot be read.
        RuntimeError: outside of a trio run, or in a forked child.

    The end of the block closes the plugin: running calls get up to ``grace`` seconds to finish, or
    none if the block ends by an exception or a cancel. A cancel during the load returns at once and
    leaves nothing behind.
    """
    check_name(name)
    checked = check_options("open_plugin", options, "name", "credentials")
    loading = load_plugin(
        freeze_source(source),
        new_environment(checked),
        name,
        copy_credentials(credentials),
        checked,
    )
    return Block("open_plugin", "plugin", loading)


async def compile_plugin(
    environment: PluginEnvironment, source: PluginSource | Source, override: str | None
) -> Module:
    """Compile a plugin, and check its exports against the contract.

    Raises:
        CompileError, LinkError, GuestMemoryError, OSError: as for `Module.compile`. The message
            begins with the name that the plugin was given.
        AbiError: the module does not fulfil the contract. The message ends with that name, or the
            module's, and the file.
    """
    try:
        module = await environment.compile(source)
    except (CompileError, LinkError, GuestMemoryError) as broken:
        if override is None:
            raise
        message = f"plugin {override!r}: {broken}"
        raise type(broken)(message) from broken
    owner = str(module) if override is None else f"plugin {override!r}"
    check_exports(module.exports, owner + name_of_file(source))
    return module


@contextlib.asynccontextmanager
async def load_plugin(
    source: PluginSource | Source,
    environment: PluginEnvironment,
    name: str | None,
    credentials: Mapping[str, str] | None,
    options: PluginOptions,
) -> AsyncGenerator[Plugin, None]:
    """`open_plugin`, in an environment that may have compiled the source already."""
    check_trio("open_plugin")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(environment.http.aclose)
        drains = await stack.enter_async_context(open_plain_nursery())
        module = await compile_plugin(environment, source, name)
        revision = PluginRevision(module, credentials, name)
        environment.name = lambda: revision.name  # until there is a `Plugin`
        if "env.host_http_request" in revision.module.imports:
            await environment.http.import_client()
        if options.get("pristine"):
            await _freeze(revision, options)
        opening = run_pool(
            DrivenModule(revision.instances_of),
            Options(
                name=revision.name,
                setup=revision.pool_setup,
                of_plugin=True,
                **pool_options(options),
            ),
        )
        try:
            pool = await stack.enter_async_context(opening)
            await _ensure_description(pool, revision)
        except PoolUnavailable as unavailable:
            failure = unavailable
        else:
            yield Plugin(pool, environment, drains, revision, options)
            return
        raise _plugin_error(failure)


async def _freeze(revision: PluginRevision, options: PluginOptions) -> None:
    """`PluginRevision.freeze`, with the errors of a load.

    Raises:
        SnapshotError, AbiError, ConfigureError, LinkError: as there.
        PoolUnavailable: it failed in another way, which is the cause.
    """
    try:
        await revision.freeze(options.get("start_timeout", START_TIMEOUT))
    except (SnapshotError, AbiError, ConfigureError, LinkError):
        raise
    except Exception as failed:
        message = f"plugin {revision.name!r}: no snapshot was made of it: {as_one_line(failed)}"
        raise PoolUnavailable(message) from failed


async def _ensure_description(pool: Pool, revision: PluginRevision) -> None:
    """Start an instance if none has been set up yet, as with ``min_size=0``."""
    if not revision.is_known:
        async with pool.lease():
            pass


def _plugin_error(failure: PoolUnavailable) -> Exception:
    """Return the cause if it is a mistake of the plugin's author, else the failure itself."""
    cause = failure.__cause__
    return cause if isinstance(cause, (AbiError, ConfigureError, LinkError)) else failure


class Registration(Protocol):
    """What the loader that keeps a plugin is told of its reloads, in the step of the switch."""

    def admit(self, tools: tuple[Tool, ...], metadata: Metadata, /) -> None:
        """Refuse a revision that is about to enter service, by raising."""
        ...

    def switched(self) -> None:
        """Another revision is in service."""
        ...


class Plugin:
    """A plugin in service; `open_plugin` and `Loader.load` make it.

    Attributes:
        pool: the pool that its calls run in, for statistics and for exports outside of the
            contract. Reload with `Plugin.reload`, never with ``pool.reload``: that would keep the
            old name, tools and metadata.
    """

    # Invariants:
    # - `_revision` belongs to the pool's current generation; both change in one synchronous step
    # - a task that reloads the pool holds `_switching`

    __slots__ = (
        "_drains",
        "_environment",
        "_options",
        "_registration",
        "_revision",
        "_switching",
        "pool",
    )

    def __init__(
        self,
        pool: Pool,
        environment: PluginEnvironment,
        drains: trio.Nursery,
        revision: PluginRevision,
        options: PluginOptions,
    ) -> None:
        """Not for users: `open_plugin` calls it, with a pool whose setup is the revision's."""
        self.pool: Pool = pool
        self._environment = environment
        self._drains = drains
        self._options = options
        self._switching = trio.Lock()
        self._registration: Registration | None = None  # set by the loader that keeps it
        self._take_over(revision)
        environment.name = self._log_name

    # --- what it is ---

    @property
    def closed(self) -> bool:
        """True once it takes no more calls."""
        return self.pool.state is not PoolState.OPEN

    @property
    def name(self) -> str:
        """The name that it was given, else its own, else its file's.

        After close, the name that it was given, else ``"unknown"``.
        """
        if self.closed and self._revision.override is None:
            return "unknown"
        return self._revision.name

    @property
    def metadata(self) -> Metadata | None:
        """How it describes itself; None after close."""
        return None if self.closed else self._revision.description.metadata

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that it offers; none after close."""
        return () if self.closed else self._revision.description.tools

    @property
    def compact_specs(self) -> Mapping[str, tuple[str, ...]]:
        """By tool, the fields of its answers that matter, as dotted paths; ``{}`` after close."""
        return {} if self.closed else self._revision.description.compact_specs

    def __repr__(self) -> str:
        state = self.pool.state.name.lower()
        return f"<Plugin {self.name!r} {state} gen={self.pool.generation}: {len(self.tools)} tools>"

    # --- what it does ---

    async def execute(self, tool: str, args: Mapping[str, Any] | None = None) -> ToolResult:
        """Run a tool.

        Args:
            tool: the name of one of `tools`; the guest decides what another name means.
            args: the arguments by name, as values that JSON can express; None is no arguments.

        Returns:
            the tool's answer. It has ``is_error`` and the reason if the arguments cannot be written
            as JSON, or if the plugin is closed, even while the call waits or runs.

        Raises:
            GuestTrap, GuestExit, GuestMemoryError, CallTimeout: the guest failed.
            LeaseRevoked: the grace of a reload ended while the call ran.
            PoolSaturated, PoolTimeout, PoolUnavailable, LeaseDeadlock: no instance was available.
            ValueError: the arguments are above ``limits.payload``.
            RuntimeError: outside of the plugin's trio run, or in a forked child.
            Exception: raised by a host function of your own, which a compiled `Module` imports.

        The arguments are read now, even if the call has to wait. A cancel ends exactly this call;
        its instance is replaced.
        """
        try:
            given = args if type(args) is dict else _as_object(args)
            payload = encode({"tool_name": tool, "args": given})
        except (TypeError, ValueError) as wrong:
            await trio.lowlevel.checkpoint()
            return ToolResult(f"the arguments cannot be written as JSON: {wrong}", is_error=True)
        try:
            reply = await self.pool.exchange("execute", payload, tool=tool)
        except PoolClosed:
            return CLOSED
        except LeaseRevoked:
            if self.closed:
                return CLOSED
            raise
        return read_tool_result(reply) if len(reply) <= SMALL else await read_large_result(reply)

    def map(
        self,
        tool: str,
        arguments: Iterable[Mapping[str, Any] | None] | AsyncIterable[Mapping[str, Any] | None],
        limit: int | None = None,
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[ToolResult | Exception]]:
        """Run a tool once for each item of an input, some calls at once.

        ``async with plugin.map("count", texts) as results:`` and then ``async for result in
        results:``.

        Args:
            tool: the name of one of `tools`.
            arguments: an iterable or an async iterable, endless if you like: it is read as far as
                there is room. Each item is the arguments of one call, as for `execute`. An async
                generator is closed at the end of the block.
            limit: how many calls may be under way and results kept, together. None: as many calls
                as the pool has instances, and eight results for each, so that the others go on
                while one is slow.

        Returns:
            A block that yields the results in the order of the input. Each is what `execute`
            returned, or the exception that it raised. What reading the input raises is raised
            after the results of what was read.

        Raises:
            TypeError, ValueError: at once: ``arguments`` cannot be read item by item, or ``limit``
                is out of its range.
            RuntimeError: on entering: outside of the plugin's trio run, or in a forked child.

        The end of the block ends the calls under way, however it ends. The next result is a
        checkpoint if it has to be waited for.
        """
        from wasmpool._in_order import open_results  # noqa: PLC0415 - few programs need it

        return open_results(
            "plugin.map",
            partial(self.execute, tool),
            arguments,
            limit=limit,
            size=self.pool._size_here,  # noqa: SLF001 - as `Pool.map`
        )

    async def healthy(self) -> bool:
        """Ask one instance if it is healthy.

        Returns:
            True if it is; False if it is not, if the guest fails, if no instance can be started,
            and after close.

        Raises:
            PoolSaturated, PoolTimeout, LeaseDeadlock: all instances are busy.
            RuntimeError: outside of the plugin's trio run, or in a forked child.

        A cancel ends exactly this call.
        """
        try:
            healthy: int = await self.pool.call("healthy")
        except _UNHEALTHY:
            return False
        return healthy == 1

    async def configure(self, credentials: Mapping[str, str] | None) -> int:
        """Change the credentials of all instances, present and future.

        One new instance is configured first. If it cannot be started or refuses the credentials,
        the old ones stay. Returns once new calls see the new credentials; running calls finish
        with those that they began with.

        Args:
            credentials: strings by name; ``metadata.credential_keys`` lists the names. None: the
                guest's ``configure`` is not called.

        Returns:
            the new generation's number.

        Raises:
            TypeError, ValueError: they are not strings; the message shows no value.
            ConfigureError: the guest refused them.
            ReloadFailed: the new instance failed in another way, as for `open_plugin`; the cause is
                attached.
            PluginClosed: the plugin is closed, or was closed during the call.
            RuntimeError: outside of a trio run, or in a forked child.

        A cancel leaves the old credentials in service.
        """
        check_process()
        copied = copy_credentials(credentials)
        async with self._switching:
            self._check_open()
            current = self._revision
            revision = PluginRevision(current.module, copied, current.override)
            try:
                return await self._switch(revision)
            except ReloadFailed as failed:
                if not isinstance(failed.__cause__, ConfigureError):
                    raise
                refused = failed.__cause__
            raise refused

    async def reload(self, source: PluginSource) -> int:
        """Put another module in service, with the current credentials.

        Returns once new calls go to the new module; name, tools and metadata change in the same
        step. Running calls finish in the old module, within the plugin's grace. A reload of the
        module in service changes nothing.

        Args:
            source: as for `open_plugin`.

        Returns:
            the number of the generation in service.

        Raises:
            ReloadFailed: the source cannot be read, compiled, linked, started or configured, or
                does not fulfil the contract or pass its check. The old module continues to serve;
                the cause is attached, as `open_plugin` raises it.
            PluginClosed: the plugin is closed, or was closed during the call.
            RuntimeError: outside of a trio run, or in a forked child.

        A cancel leaves the old module in service.
        """
        return await self._reload(freeze_source(source))

    async def aclose(self, *, grace: float | None = None) -> None:
        """Close the plugin: refuse new calls, and give running calls up to ``grace`` seconds.

        Args:
            grace: None is the ``grace`` that the plugin was opened with, 310 s by default.

        Raises:
            RuntimeError: the task holds a lease of the plugin's pool.

        A cancel of the first call cuts the grace to nothing; the close still completes.
        """
        await self.pool.aclose(grace=grace)
        await self._environment.http.aclose()

    # --- inside ---

    async def _reload(
        self,
        source: PluginSource | Source,
        environment: PluginEnvironment | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> int:
        """`reload`, of a source that the caller can no longer change.

        Args:
            source: as for `reload`, or a file that has been read.
            environment: the one that compiled ``source``, if it is not the plugin's own.
            credentials: a copy; None keeps those in service.
        """
        check_process()
        async with self._switching:
            self._check_open()
            module = await self._compile(source)
            current = self._revision
            if credentials is None:
                credentials = current.credentials
            given = isinstance(source, Module) and environment is None
            if credentials == current.credentials and _same(module, current.module, given=given):
                return self.pool.generation
            if environment is not None:  # its guests use this plugin's HTTP client and name
                environment.http = self._environment.http
                environment.name = self._environment.name
            return await self._switch(PluginRevision(module, credentials, current.override))

    async def _compile(self, source: PluginSource | Source) -> Module:
        try:
            return await compile_plugin(self._environment, source, None)  # named below
        except _BROKEN_SOURCE as broken:
            message = f"plugin {self._log_name()!r} goes on as before: {broken}"
            raise ReloadFailed(message) from broken

    async def _switch(self, revision: PluginRevision) -> int:
        """Reload the pool, and return at the switch; a task in `_drains` awaits the old calls."""
        if self._options.get("pristine"):
            await self._freeze(revision)
        failed: list[Exception] = []

        async def reload(*, task_status: trio.TaskStatus[int]) -> None:
            switch = Switch(partial(self._put_in_service, revision), task_status)
            try:
                await self.pool._reload(  # noqa: SLF001 - more than `reload` takes
                    revision.instances_of,
                    setup=revision.pool_setup,
                    force=True,
                    task_status=switch,
                    admit=lambda: self._admit(revision),
                )
            except Exception as failure:
                if not switch.done:
                    failed.append(failure)  # raised by the caller: a nursery would drop its cause
                    task_status.started(0)
                elif not isinstance(failure, PoolClosed):
                    raise

        self._check_open()  # it may have been closed meanwhile, and its nursery with it
        number: int = await self._drains.start(reload)
        if not failed:
            return number
        if isinstance(failed[0], PoolClosed):
            raise self._is_closed() from failed[0]
        raise failed[0]

    async def _freeze(self, revision: PluginRevision) -> None:
        """Make a revision's snapshot, unless the plugin begins to close.

        Raises:
            ReloadFailed: there is none; the cause is attached, as `open_plugin` raises it.
            PluginClosed: the plugin closes.
        """
        core = self.pool._core  # noqa: SLF001 - a close ends it like any other part of a reload
        with trio.CancelScope() as scope:
            core.begin_reload(scope)
            try:
                await _freeze(revision, self._options)
            except (SnapshotError, AbiError, ConfigureError, LinkError, PoolUnavailable) as failed:
                message = f"plugin {self._log_name()!r} goes on as before: {failed}"
                cause = failed.__cause__ if isinstance(failed, PoolUnavailable) else failed
                raise ReloadFailed(message) from cause
            finally:
                core.end_reload(scope)
        if scope.cancelled_caught:
            raise self._is_closed()

    def _admit(self, revision: PluginRevision) -> None:
        if self._registration is not None:
            self._registration.admit(revision.description.tools, revision.description.metadata)

    def _take_over(self, revision: PluginRevision) -> None:
        """Put a revision in service; called in the same step as the pool's switch."""
        self._revision = revision
        self.pool._core.rename(revision.name)  # noqa: SLF001 - its messages name the plugin

    def _put_in_service(self, revision: PluginRevision) -> None:
        self._take_over(revision)
        if self._registration is not None:
            self._registration.switched()

    @property
    def _credentials(self) -> Mapping[str, str] | None:
        """Those in service; never shown to users."""
        return self._revision.credentials

    def _log_name(self) -> str:
        """Return the name; unlike `name`, also after close, when the last calls end."""
        return self._revision.name

    def _runs(self, digest: str | None) -> bool:
        """Return True if the module in service has this digest."""
        return self._revision.module.digest == digest

    def _check_open(self) -> None:
        if self.closed:
            raise self._is_closed()

    def _is_closed(self) -> PluginClosed:
        return PluginClosed(f"plugin {self._log_name()!r} is closed: open or load it anew")


def _as_object(args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments as the contract's JSON object.

    Raises:
        TypeError: they are not a mapping.
    """
    if isinstance(args, dict):
        return args
    if args is None or isinstance(args, Mapping):
        return dict(args or ())
    message = f"they must be a mapping of names to values, not {reprlib.repr(args)}"
    raise TypeError(message)


def _same(new: Module, old: Module, *, given: bool) -> bool:
    """Return True if a reload would change nothing.

    Modules that a `PluginEnvironment` compiled differ only in their code. A module that the user
    compiled (``given``) may also have other imports.
    """
    if given:
        return DrivenModule(new).identity == DrivenModule(old).identity
    return new.digest == old.digest
