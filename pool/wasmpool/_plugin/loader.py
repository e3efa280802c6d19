"""Many plugins by name: loaded, reloaded in place, and unloaded while the others serve."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack, final

import trio

from wasmpool._block import Block
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool_host.lowlevel import check_trio

from .options import PluginOptions, check_digest, check_name, check_options, copy_credentials
from .registry import PluginRegistry
from .source import freeze_source
from .watch import Wanted, watch, watch_file

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from .admission import Admit
    from .changes import Changes
    from .kind import PluginKind
    from .plugin import Plugin
    from .source import PluginSource

__all__ = ["Loader", "open_loader", "open_loader_of"]


def open_loader(
    *,
    admit: Admit | None = None,
    **options: Unpack[PluginOptions],
) -> contextlib.AbstractAsyncContextManager[Loader]:
    """Keep plugins by name for the length of the block.

    Args:
        admit: called with a `Candidate` for each plugin that is about to enter service, by a load
            or a reload, in the same step; a plain function. What it raises refuses the candidate:
            a first load raises it as itself, a reload raises `ReloadFailed` with it as the cause,
            and what served before continues to serve. So two plugins that are loaded at the same
            time are admitted one after the other.
        options: for each plugin, as for `open_plugin`; names and credentials are arguments of
            `Loader.load`.

    Raises:
        TypeError, ValueError: at the call: an option is unknown or out of its range.

    The end of the block ends running loads, and closes all plugins at the same time, each within
    its grace; if the block ends by an exception or a cancel, they get no grace.
    """
    if not (admit is None or callable(admit)):
        message = f"admit must be a function or None, not {admit!r}"
        raise TypeError(message)
    checked = check_options("open_loader", options, "admit")
    return Block("open_loader", "loader", open_loader_of((), checked, admit))


@contextlib.asynccontextmanager
async def open_loader_of(
    kinds: Sequence[PluginKind], options: PluginOptions, admit: Admit | None
) -> AsyncGenerator[Loader, None]:
    """`open_loader`, for plugins of other kinds as well; the options have been checked."""
    check_trio("open_loader")
    async with open_plain_nursery() as nursery:
        registry = PluginRegistry(nursery, options, admit, kinds)
        try:
            yield Loader(registry)
        except BaseException:
            registry.close()
            nursery.cancel_scope.cancel()
            raise
        finally:
            registry.close()


@final
class Loader:
    """Plugins by name; `open_loader` makes it.

    Attributes:
        plugins: a live, read-only mapping of the plugins in service, by name. A plugin leaves it
            as soon as it begins to close, by `unload` or `Plugin.aclose`.
        failures: a live, read-only mapping of what went wrong with the last load or reload, by
            name, also if it was a watch's. A name leaves it when it is loaded, unloaded, or its
            watched file is removed. A load without a name that failed has that of its file. At most
            1,000 names are kept, those that failed last. The errors have no tracebacks.
    """

    def __init__(self, registry: PluginRegistry) -> None:
        """Not for users: `open_loader` calls it."""
        self._registry = registry
        self.plugins: Final[Mapping[str, Plugin]] = registry.plugins
        self.failures: Final[Mapping[str, Exception]] = registry.failures

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Loader {state}: {len(self.plugins)} plugins>"

    @property
    def closed(self) -> bool:
        """True once its block has ended; then nothing more can be loaded."""
        return self._registry.closed

    def find_tool(self, tool_name: str) -> Plugin | None:
        """Return the plugin that has a tool of this name; of several, the one loaded first."""
        for plugin in self.plugins.values():
            if any(tool.name == tool_name for tool in plugin.tools):
                return plugin
        return None

    async def load(
        self,
        source: PluginSource,
        name: str | None = None,
        credentials: Mapping[str, str] | None = None,
        *,
        sha256: str | None = None,
        **options: Unpack[PluginOptions],
    ) -> Plugin:
        """Load a plugin, or reload the plugin of the same name in place.

        During a reload the plugin is never missing, no call fails, and the `Plugin` stays the same
        object. Returns once new calls go to the new module.

        Args:
            source: as for `open_plugin`.
            name: the name to load it by; without control characters. None: the plugin is asked for
                its own name, in an instance that is used for nothing else, within
                ``start_timeout``; a plugin without a name gets its file's.
            credentials: as for `open_plugin`; for a plugin that is already loaded, None keeps its
                credentials.
            sha256: the digest that the module's bytes must have, in hexadecimal; None is any.
            options: of this plugin alone, over those of the loader. If the plugin is loaded
                already, none keeps those that it has. Others make a new `Plugin`, which takes the
                place of the old one in one step; that drains like one that is unloaded.

        Raises:
            DigestError: the module is not the one that ``sha256`` asks for.
            CompileError, LinkError, AbiError, GuestMemoryError, ConfigureError, PoolUnavailable,
                OSError: a first load failed, as for `open_plugin`.
            ReloadFailed: the loaded plugin continues to serve as before; the cause is attached.
                (If the new module cannot even tell its name, the error is that of a first load.)
            PluginClosed: the plugin was closed or unloaded during its reload.
            TypeError, ValueError: the name is blank, credentials are not strings, or an option is
                unknown or out of its range.
            Exception: ``admit`` refused a first load.
            RuntimeError: the loader is closed, or closes before the plugin is loaded; outside of
                a trio run, or in a forked child.

        A cancel changes nothing.
        """
        self._registry.check_open()
        check_name(name)
        copied = copy_credentials(credentials)
        own = self._registry.check_options("loader.load", options)
        check_digest(sha256)
        return await self._registry.load(freeze_source(source), name, copied, own, sha256)

    async def unload(self, name: str) -> None:
        """Take a plugin out of service: refuse new calls, and let running calls finish.

        Returns when everything of the plugin is freed. Other plugins are not affected, and the
        name can be loaded again before this returns.

        Raises:
            KeyError: no plugin of this name is in service.
            RuntimeError: the task holds a lease of the plugin's pool.

        A cancel cuts the plugin's grace to nothing.
        """
        if name not in self.plugins:
            loaded = ", ".join(map(repr, self.plugins)) or "none"
            message = f"no plugin {name!r} is loaded; there are: {loaded}"
            raise KeyError(message)
        await self._registry.unload(name)

    @contextlib.asynccontextmanager
    async def changes(self) -> AsyncGenerator[Changes, None]:
        """Follow what enters and leaves service, and what fails, for the length of the block.

        Gives an async iterator of `Change`, from now on, which ends when the loader closes. Of
        several changes of one name that were not read yet, only the last is given; so memory is
        bounded, and a reader that looks at the state first and then at each change ends up right.
        """
        self._registry.check_open()
        with self._registry.changes.subscribe() as changes:
            yield changes

    async def watch(
        self,
        directory: str | os.PathLike[str],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
        **options: Unpack[PluginOptions],
    ) -> None:
        """Keep the plugins of a directory in service until cancelled, or until the loader closes.

        Loads each ``.wasm`` file under the name of its stem, reloads one that changes, and
        unloads one that is removed. A file is read once it has stopped changing. Works with
        ``nursery.start``, which returns when each file has been tried once.

        - If a file is half written or broken, the old plugin continues to serve, and the log
          (``wasmpool.loader``) says why. The file is tried again when it changes, and after a pause
          (0.5 s, doubled up to 30 s) if it may become loadable without a change.
        - Symbolic links to files, and to the directory, are followed, also when their target
          changes. What is not a regular file, or is larger than 256 MiB, is not loaded.
        - Hidden files, and names that begin with ``~`` or ``#``, are ignored.
        - If the directory cannot be listed, that is logged and tried again each second; its plugins
          stay as they are. If it is missing for a second, its plugins are unloaded. If it comes
          back, or is replaced, it is watched again.
        - If two watched directories have a file of the same name, the first one serves; the other
          one waits until the first is gone.
        - Without notifications of the operating system (on network file systems, or when its limit
          of inotify watches is reached, which is logged) changes are seen within two seconds.

        Args:
            directory: its path; a relative path is resolved now.
            task_status: for ``nursery.start``.
            options: of its plugins, as for `load`.

        Raises:
            ModuleNotFoundError: watchfiles is not installed (extra ``plugin``).
            OSError: the directory cannot be listed at the start.
            RuntimeError: the loader is closed already.
            TypeError, ValueError: ``directory`` is not a path, or an option is unknown or out of
                its range.

        When the loader closes, the watch returns without an error. A cancel ends running loads and
        reloads, which then change nothing; loaded plugins stay loaded.
        """
        self._registry.check_open()
        own = self._registry.check_options("loader.watch", options)
        await watch(self._registry, directory, own, task_status)

    async def watch_file(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        credentials: Mapping[str, str] | None = None,
        *,
        sha256: str | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
        **options: Unpack[PluginOptions],
    ) -> None:
        """Keep the plugin in a file in service until cancelled, or until the loader closes.

        As `watch` does with the files of a directory, with a name, credentials and options of its
        own. While the file is missing, `failures` has a FileNotFoundError of its name.

        Args:
            path: of the file; a relative path is resolved now.
            name: the name to load it by; None is the stem of the file's name.
            credentials: as for `load`.
            sha256: as for `load`: while the file is another one, it is not loaded.
            task_status: for ``nursery.start``, which returns when the file has been tried once.
            options: as for `load`.

        Raises:
            ModuleNotFoundError: watchfiles is not installed (extra ``plugin``).
            TypeError, ValueError: as for `load`, or ``path`` is not a path.
            RuntimeError: the loader is closed already.

        A cancel leaves the plugin loaded, as with `watch`.
        """
        self._registry.check_open()
        check_name(name)
        check_digest(sha256)
        copied = copy_credentials(credentials)
        own = self._registry.check_options("loader.watch_file", options)
        wanted = Wanted(
            name=Path(path).stem if name is None else name,
            credentials=copied,
            options=own,
            sha256=sha256,
        )
        await watch_file(self._registry, path, wanted, task_status)
