"""A plugin: a pool of instances of a module that keeps to the contract.

What it says of itself is read once, at load, from one instance, and belongs to the generation:
name, tools and metadata are answered without an instance and without waiting, and they change at
the switch of a reload, in the same synchronous step as the instances that serve.

Credentials belong to the generation as well. Each instance is configured before it serves, so
`Plugin.configure` is a reload of the same module with another setup: every call sees either the
old credentials whole or the new ones, and credentials that the guest refuses change nothing.

`Plugin.configure` and `Plugin.reload` return at the switch. What is left to do then, seeing the
old generation's calls off, is done by a task in the nursery of `open_plugin`, which the pool's
close brings to its end.
"""

from __future__ import annotations

import contextlib
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack, final

import trio

from wasmpool._block import Block
from wasmpool._errors import LeaseRevoked, PoolClosed, PoolUnavailable, ReloadFailed
from wasmpool._http.policy import HttpPolicy
from wasmpool._json import encode
from wasmpool._json_pieces import SMALL
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool._pool.options import Options
from wasmpool._pool.pool import open_pool
from wasmpool._pool.pool_state import PoolState
from wasmpool_host import (
    CallTimeout,
    CompileError,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    Limits,
    LinkError,
    Module,
)
from wasmpool_host.lowlevel import Source, check_process, check_trio, escaped

from .contract import check_exports
from .errors import AbiError, ConfigureError, PluginClosed
from .host import PluginHost, as_module_source
from .metadata import ToolResult
from .reply import read_large_result, read_tool_result
from .revision import Generation, copy_credentials

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from wasmpool._pool.instruments import Instrument
    from wasmpool._pool.options import QueueOnClose
    from wasmpool._pool.pool import Pool
    from wasmpool._pool.protocols import Check
    from wasmpool_host import Wasi

    from .host import PluginSource
    from .metadata import Metadata, Tool

__all__ = [
    "Plugin",
    "PluginOptions",
    "check_name",
    "compile_plugin",
    "keep_options",
    "keep_source",
    "load_plugin",
    "open_plugin",
    "plugin_host",
]

_MIB: Final = 1 << 20
_CLOSED: Final = ToolResult("wasm: module closed", is_error=True)
_NOT_WELL: Final = (
    GuestTrap,
    GuestExit,
    GuestMemoryError,
    CallTimeout,
    PoolClosed,
    PoolUnavailable,
    LeaseRevoked,
)
_BROKEN_SOURCE: Final = (CompileError, LinkError, AbiError, GuestMemoryError, OSError)


class PluginOptions(TypedDict, total=False):
    """How a plugin is run; what is not explained here is as for `open_pool`."""

    http: HttpPolicy | None
    """What it may reach by HTTP; None, the default, is no host."""
    limits: Limits
    """What each instance may take."""
    wasi: Wasi | None
    """What it gets of WASI; None is nothing of the machine."""
    cache: str | os.PathLike[str] | None
    """A directory for compiled code."""
    size: int
    min_size: int
    check: Check | None
    max_waiting: int | None
    max_wait: float | None
    max_uses: int | None
    max_age: float | None
    max_idle: float | None
    max_memory: int | None
    """64 MiB by default: guests leak, and this recycles those that do."""
    start_timeout: float
    grace: float
    """310 s by default: longer than any of its HTTP requests may wait."""
    max_generations: int
    """8 by default: an old generation may wait long for its calls."""
    queue_on_close: QueueOnClose
    leak_after: float | None
    instruments: Sequence[Instrument]


_POOL_DEFAULTS: Final[Mapping[str, Any]] = {
    "max_memory": 64 * _MIB,
    "grace": 310.0,
    "max_generations": 8,
}
_HOST_OPTIONS: Final = frozenset({"http", "limits", "wasi", "cache"})


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
            it was compiled with. A str with ``(module`` in it is a module's text.
        name: instead of the plugin's own; without control characters.
        credentials: what each instance is configured with before it serves: strings by name,
            copied now. None: the guest's ``configure`` is never called.
        http: an `HttpPolicy`: what it may reach by HTTP. None, the default, reaches no host;
            ``HttpPolicy()`` is the public internet.
        limits: `Limits` of each instance; as for `Module.compile`.
        wasi: what it gets of WASI; None, the default, is nothing of the machine.
        cache: a directory for compiled code; None, the default, is no cache.
        grace: as for `open_pool`, but 310 s by default: longer than any of its HTTP requests
            may wait.
        max_memory: as for `open_pool`, but 64 MiB by default: guests leak, and this recycles
            those that do.
        max_generations: as for `open_pool`, but 8 by default: an old generation may wait long for
            its calls.
        options: the other options of `open_pool`, as they are there: ``size``, ``min_size``,
            ``check``, ``max_waiting``, ``max_wait``, ``max_uses``, ``max_age``, ``max_idle``,
            ``start_timeout``, ``queue_on_close``, ``leak_after``, ``instruments``. Not ``setup``,
            which is the plugin's own.

    Raises:
        TypeError, ValueError: at once: an option is unknown or out of its range, the name is
            blank, credentials are no strings.
        CompileError: on entering, like the following: the source is no valid module.
        LinkError: it imports what this host does not provide; all of it is listed.
        AbiError: it does not keep to the contract, or keeps to another version of it. All exports
            that are missing or of the wrong type are listed.
        GuestMemoryError: its memory or a table starts above ``limits``.
        ConfigureError: it refused the credentials.
        PoolUnavailable: no instance could be started, configured and asked about itself, within
            ``start_timeout``. The cause is attached: `GuestTrap`, `GuestExit`,
            `GuestMemoryError`, `CallTimeout`, MemoryError, trio.TooSlowError, or ValueError for
            credentials above ``limits.payload``.
        OSError: the file cannot be read.
        RuntimeError: outside of a trio run, or in a forked child.

    Leaving the block closes the plugin: calls under way run on for up to ``grace`` seconds, none
    at all if an exception or a cancel leaves it. A cancel while it is loaded returns at once, and
    leaves nothing behind.
    """
    check_name(name)
    kept = keep_options("open_plugin", options, "name", "credentials")
    loading = load_plugin(
        keep_source(source), plugin_host(kept), name, copy_credentials(credentials), kept
    )
    return Block("open_plugin", "plugin", loading)


def keep_options(call: str, options: PluginOptions, *others: str) -> PluginOptions:
    """Return the options of a call, which has `others` besides, as nothing else can change them.

    Raises:
        TypeError, ValueError: an option is unknown or out of its range.
    """
    if "setup" in options:
        message = (
            f"{call} takes no setup: a plugin is set up by its credentials. Use open_pool for a"
            " module with a setup of your own"
        )
        raise TypeError(message)
    known = {*PluginOptions.__annotations__, *others}
    if unknown := [repr(option) for option in options if option not in known]:
        message = f"{call} has no option {', '.join(unknown)}; it has: {', '.join(sorted(known))}"
        raise TypeError(message)
    kept = options.copy()
    cache = kept.get("cache")
    if cache is not None:  # the process may change its directory before the next load
        kept["cache"] = _absolute(cache)
    if "instruments" in kept:
        kept["instruments"] = tuple(kept["instruments"])
    plugin_host(kept)
    Options(**_pool_options(kept))
    return kept


def _absolute(cache: object) -> Path:
    if not isinstance(cache, (str, os.PathLike)):
        message = f"cache must be the path of a directory or None, not {cache!r}"
        raise TypeError(message)
    return Path(cache).absolute()


def keep_source(source: PluginSource) -> PluginSource:
    """Return a plugin's source as its caller cannot change it any more."""
    return bytes(source) if isinstance(source, (bytearray, memoryview)) else source


def check_name(name: object) -> None:
    """Refuse what cannot be a plugin's name, in messages, in logs and as a key.

    Raises:
        TypeError, ValueError: it is no str; it is blank; it has control characters or others that
            no line of a log may have.
    """
    if name is None:
        return
    if not isinstance(name, str):
        message = f"name must be a str or None, not {name!r}"
        raise TypeError(message)
    if not name.strip():
        message = f"name must not be blank, as {name!r} is: leave it out for the plugin's own name"
        raise ValueError(message)
    if escaped(name) != name:
        message = f"name must have no control characters, line breaks or marks, not {name!r}"
        raise ValueError(message)


def _pool_options(options: PluginOptions) -> dict[str, Any]:
    given = {key: value for key, value in options.items() if key not in _HOST_OPTIONS}
    return {**_POOL_DEFAULTS, **given}


def plugin_host(options: PluginOptions) -> PluginHost:
    """What a plugin with these options runs on."""
    policy = options.get("http")
    if not isinstance(policy, HttpPolicy | None):
        message = f"http must be an HttpPolicy, not {policy!r}: leave it out to reach no host"
        raise TypeError(message)
    limits = options.get("limits", Limits())
    if not isinstance(limits, Limits):
        message = f"limits must be Limits, not {limits!r}"
        raise TypeError(message)
    return PluginHost(
        policy,
        limits,
        options.get("wasi"),
        options.get("cache"),
    )


async def compile_plugin(
    host: PluginHost, source: PluginSource | Source, override: str | None
) -> Module:
    """Compile a plugin, and hold its exports against the contract.

    Raises:
        CompileError, LinkError, GuestMemoryError, OSError: as for `Module.compile`. The message
            begins with the name that the plugin was given.
        AbiError: it does not keep to the contract; the message ends with that name, or the
            module's, and its file.
    """
    try:
        module = await host.compile(source)
    except (CompileError, LinkError, GuestMemoryError) as broken:
        if override is None:
            raise
        message = f"plugin {override!r}: {broken}"
        raise type(broken)(message) from broken
    owner = str(module) if override is None else f"plugin {override!r}"
    check_exports(module.exports, owner + _of_file(source))
    return module


def _of_file(source: PluginSource | Source) -> str:
    if isinstance(source, Module):
        return ""
    path = source.path if isinstance(source, Source) else as_module_source(source)
    return f", file {os.fspath(path)!r}" if isinstance(path, os.PathLike) else ""


@contextlib.asynccontextmanager
async def load_plugin(
    source: PluginSource | Source,
    host: PluginHost,
    name: str | None,
    credentials: Mapping[str, str] | None,
    options: PluginOptions,
) -> AsyncGenerator[Plugin, None]:
    """`open_plugin` with a host that may have compiled the source already."""
    check_trio("open_plugin")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(host.http.aclose)
        drains = await stack.enter_async_context(open_plain_nursery())
        module = await compile_plugin(host, source, name)
        generation = Generation(module, credentials, name)
        host.name = lambda: generation.name  # until there is a plugin to ask
        if "env.host_http_request" in generation.module.imports:
            await host.http.import_client()
        opening = open_pool(
            generation.module,
            name=generation.name,
            setup=generation.setup,
            **_pool_options(options),
        )
        try:
            pool = await stack.enter_async_context(opening)
            await _ask_one_instance(pool, generation)
        except PoolUnavailable as unavailable:
            failure = unavailable
        else:
            yield Plugin(pool, host, drains, generation)
            return
        raise _as_itself(failure)


async def _ask_one_instance(pool: Pool, generation: Generation) -> None:
    """Have the snapshot also where no instance is kept warm."""
    if not generation.is_known:
        async with pool.lease():
            pass


def _as_itself(failure: PoolUnavailable) -> Exception:
    """What the plugin's author did wrong, without the pool's words around it."""
    cause = failure.__cause__
    return cause if isinstance(cause, (AbiError, ConfigureError, LinkError)) else failure


@final
class Plugin:
    """A plugin in service; `open_plugin` and `Loader.load` make it.

    Attributes:
        pool: what its calls run in, for statistics and for calls that the contract does not
            have. Reload by `Plugin.reload`, never by the pool's own: the snapshot would stay.
    """

    # Invariants:
    # - `generation` is the pool's current one; both change in one synchronous step
    # - a task that reloads the pool holds `_switching`

    __slots__ = ("_drains", "_generation", "_host", "_switching", "pool")

    def __init__(
        self,
        pool: Pool,
        host: PluginHost,
        drains: trio.Nursery,
        generation: Generation,
    ) -> None:
        """Take over a pool whose setup is the generation's; `open_plugin` does."""
        self.pool: Pool = pool
        self._host = host
        self._drains = drains
        self._switching = trio.Lock()
        self._take_over(generation)
        host.name = self._log_name

    # --- what it is ---

    @property
    def closed(self) -> bool:
        """Whether it takes no calls any more."""
        return self.pool.state is not PoolState.OPEN

    @property
    def name(self) -> str:
        """The name it was given, else its own, else its file's.

        After close ``"unknown"``, unless it was given one.
        """
        if self.closed and self._generation.override is None:
            return "unknown"
        return self._generation.name

    @property
    def metadata(self) -> Metadata | None:
        """What it says of itself; None after close."""
        return None if self.closed else self._generation.snapshot.metadata

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What it can do; nothing after close."""
        return () if self.closed else self._generation.snapshot.tools

    @property
    def compact_specs(self) -> Mapping[str, tuple[str, ...]]:
        """The fields that matter in each tool's answers, as dotted paths; ``{}`` after close."""
        return {} if self.closed else self._generation.snapshot.compact_specs

    def __repr__(self) -> str:
        state = self.pool.state.name.lower()
        return f"<Plugin {self.name!r} {state} gen={self.pool.generation}: {len(self.tools)} tools>"

    # --- what it does ---

    async def execute(self, tool: str, args: Mapping[str, Any] | None = None) -> ToolResult:
        """Run a tool.

        Args:
            tool: one of `tools`; the guest judges what is not.
            args: its arguments by name, of what JSON knows; None is none.

        Returns:
            what it answered. Arguments that are no JSON and a plugin that is closed, also while
            the call waits or runs, are answers too: ``is_error`` with the reason.

        Raises:
            GuestTrap, GuestExit, GuestMemoryError, CallTimeout: the guest failed.
            LeaseRevoked: the grace of a reload ended while the call ran.
            PoolSaturated, PoolTimeout, PoolUnavailable, LeaseDeadlock: no instance was to be had.
            ValueError: the arguments are above ``limits.payload``.
            RuntimeError: outside of the plugin's trio run, or in a forked child.
            Exception: what a host function raised that a compiled `Module` imports.

        The arguments are taken as they are now, also if the call waits in line. A cancel ends
        exactly this call; its instance is replaced.
        """
        try:
            given = args if type(args) is dict else _as_object(args)
            payload = encode({"tool_name": tool, "args": given})
        except (TypeError, ValueError) as wrong:
            await trio.lowlevel.checkpoint()
            return ToolResult(f"the arguments are no JSON: {wrong}", is_error=True)
        try:
            reply = await self.pool.exchange("execute", payload)
        except PoolClosed:
            return _CLOSED
        except LeaseRevoked:
            if self.closed:
                return _CLOSED
            raise
        return read_tool_result(reply) if len(reply) <= SMALL else await read_large_result(reply)

    async def healthy(self) -> bool:
        """Ask one instance if it is well.

        Returns:
            False also if the guest fails, if no instance can be started, and after close.

        Raises:
            PoolSaturated, PoolTimeout, LeaseDeadlock: all instances are busy.
            RuntimeError: outside of the plugin's trio run, or in a forked child.

        A cancel ends exactly this call.
        """
        try:
            well: int = await self.pool.call("healthy")
        except _NOT_WELL:
            return False
        return well == 1

    async def configure(self, credentials: Mapping[str, str] | None) -> int:
        """Give every instance, present and to come, other credentials.

        One new instance is configured first; if it refuses them, or cannot be started, the old
        ones go on. Returns once new calls see the new credentials; calls under way finish with
        those that they began with.

        Args:
            credentials: strings by name, as ``metadata.credential_keys`` has them. None: the
                guest's ``configure`` is not called.

        Returns:
            the new generation's number.

        Raises:
            TypeError, ValueError: they are no strings; no value is shown.
            ConfigureError: the guest refused them.
            ReloadFailed: the instance to try them on failed otherwise, as for `open_plugin`; the
                cause is attached.
            PluginClosed: the plugin is closed, or was closed meanwhile.
            RuntimeError: outside of a trio run, or in a forked child.

        A cancel leaves the old credentials in service.
        """
        check_process()
        kept = copy_credentials(credentials)
        async with self._switching:
            self._check_open()
            now = self._generation
            generation = Generation(now.module, kept, now.override)
            try:
                return await self._switch(generation)
            except ReloadFailed as failed:
                if not isinstance(failed.__cause__, ConfigureError):
                    raise
                refused = failed.__cause__
            raise refused

    async def reload(self, source: PluginSource) -> int:
        """Put another module in service, with the current credentials.

        Returns once new calls go to the new module; name, tools and metadata change in the same
        step. Calls under way finish with the old one, within its grace. The same module again
        changes nothing.

        Args:
            source: as for `open_plugin`.

        Returns:
            the number of the generation in service.

        Raises:
            ReloadFailed: the source cannot be read, does not compile, link, keep to the contract,
                start, configure or pass its check; the cause is attached, as `open_plugin` raises
                it, and the old module goes on serving.
            PluginClosed: the plugin is closed, or was closed meanwhile.
            RuntimeError: outside of a trio run, or in a forked child.

        A cancel leaves the old module in service.
        """
        return await self._reload(keep_source(source))

    async def aclose(self, *, grace: float | None = None) -> None:
        """Close the plugin: no new calls, those under way run on for up to ``grace`` seconds.

        Args:
            grace: None is the plugin's own, 310 s by default.

        Raises:
            RuntimeError: the task holds a lease of the plugin's pool.

        A cancel of the first call cuts the grace to nothing; the close still completes.
        """
        await self.pool.aclose(grace=grace)
        await self._host.http.aclose()

    # --- inside ---

    async def _reload(
        self,
        source: PluginSource | Source,
        host: PluginHost | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> int:
        """`reload` of a source that is kept.

        Args:
            source: as for `reload`, or what was read of a file.
            host: another one that compiled it.
            credentials: a copy; None keeps those in service.
        """
        check_process()
        async with self._switching:
            self._check_open()
            module = await self._compile(source)
            current = self._generation
            if credentials is None:
                credentials = current.credentials
            given = isinstance(source, Module) and host is None
            if credentials == current.credentials and _same(module, current.module, given=given):
                return self.pool.generation
            if host is not None:  # its guests speak by this plugin's client and name
                host.http, host.name = self._host.http, self._host.name
            return await self._switch(Generation(module, credentials, current.override))

    async def _compile(self, source: PluginSource | Source) -> Module:
        try:
            return await compile_plugin(self._host, source, None)  # named below
        except _BROKEN_SOURCE as broken:
            message = f"plugin {self._log_name()!r} goes on as it was: {broken}"
            raise ReloadFailed(message) from broken

    async def _switch(self, generation: Generation) -> int:
        """Reload the pool, back at the switch; `_drains` sees the old generation off."""
        failed: list[Exception] = []

        async def reload(*, task_status: trio.TaskStatus[int]) -> None:
            switch = _Switch(self, generation, task_status)
            try:
                await self.pool.reload(
                    generation.module, setup=generation.setup, force=True, task_status=switch
                )
            except Exception as failure:
                if not switch.done:
                    failed.append(failure)  # to the caller, with its cause; a nursery drops it
                    task_status.started(0)
                elif not isinstance(failure, PoolClosed):
                    raise

        number: int = await self._drains.start(reload)
        if not failed:
            return number
        if isinstance(failed[0], PoolClosed):
            raise self._is_closed() from failed[0]
        raise failed[0]

    def _take_over(self, generation: Generation) -> None:
        """Answer as a new generation; called within the pool's switch."""
        self._generation = generation
        self.pool._core.rename(generation.name)  # noqa: SLF001 - its messages name the plugin

    def _log_name(self) -> str:
        """Its name, also while the last calls end after close."""
        return self._generation.name

    def _runs(self, digest: str | None) -> bool:
        """Return True if the module in service has this digest."""
        return self._generation.module.digest == digest

    def _check_open(self) -> None:
        if self.closed:
            raise self._is_closed()

    def _is_closed(self) -> PluginClosed:
        return PluginClosed(f"plugin {self._log_name()!r} is closed: open or load it anew")


def _as_object(args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments as the JSON object that the contract has.

    Raises:
        TypeError: they are no mapping.
    """
    if isinstance(args, dict):
        return args
    if args is None or isinstance(args, Mapping):
        return dict(args or ())
    message = f"they must be a mapping of names to values, not {reprlib.repr(args)}"
    raise TypeError(message)


class _Switch:
    """Passes the pool's word that it has switched on to the plugin, in the same step."""

    def __init__(
        self, plugin: Plugin, generation: Generation, task_status: trio.TaskStatus[int]
    ) -> None:
        self._plugin = plugin
        self._generation = generation
        self._task_status = task_status
        self.done = False

    def started(self, value: int | None = None) -> None:
        assert value is not None  # the new generation's number
        self.done = True
        self._plugin._take_over(self._generation)  # noqa: SLF001 - the other half of it
        self._task_status.started(value)


def _same(new: Module, old: Module, *, given: bool) -> bool:
    """Whether a reload would change nothing.

    What the plugin's hosts compile differs in nothing but the code; a module that was given may
    also have imports of its own.
    """
    return new.identity == old.identity if given else new.digest == old.digest
