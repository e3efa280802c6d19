"""A watched directory: its plugins are loaded, reloaded and unloaded as its files change.

A watched file is a directory of which only this file counts.

The directory is listed each second, and after each notification of the operating system. A listing
has the *stamp* of each file: its device, inode, size and times. A file whose stamp differs from the
one of its last *update*, and has not changed for a moment, is updated, in a task of its own: it is
read and loaded, or unloaded if it is gone. A file has one update at a time, and the next listing
compares again, so it does not matter if a notification comes twice, late or never.

A stamp can miss a change: two writes within one tick of the file system's clock have the same
times. So a notification, and a second update some time after the first, compare the content.

What fails is logged. It is tried again when the file has changed, or, if it may succeed without a
change (the file may become readable, or memory free), after pauses that grow. Only the end of the
loader, or a cancel, ends a watch.
"""

from __future__ import annotations

import errno
import logging
import os
from math import inf
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, final
from weakref import WeakValueDictionary

import attrs
import trio

from wasmpool._errors import PoolUnavailable, ReloadFailed
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool_host import CompileError, GuestMemoryError, LinkError
from wasmpool_host.lowlevel import BlockingCalls, escaped

from .errors import AbiError, ConfigureError, DigestError, PluginClosed
from .notifications import import_watch, listen
from .plugin_files import Listing, Stamp, Unsettled, list_files, plugin_name, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .options import PluginOptions
    from .plugin import Plugin
    from .registry import PluginRegistry

__all__ = ["Wanted", "watch", "watch_file"]

_log: Final = logging.getLogger("wasmpool.loader")

_LIST_EVERY: Final = 1.0  # seconds: for changes without a notification, as on network file systems
_SETTLED: Final = 0.1  # seconds without a change: a copy in progress is not read
_SURE: Final = 2.5  # seconds: the coarsest clock of a file system, that of FAT, ticks every 2 s
_FIRST_RETRY: Final = 0.5  # seconds, doubled each time
_LAST_RETRY: Final = 30.0  # seconds
_THREADS: Final = 4  # for each directory, so that one that does not answer delays no other
_MAX_ABANDONED: Final = 8  # threads for each directory, left behind by cancelled watches
_MAX_TEXT: Final = 1_000  # characters of an error in the log: a guest's text may have megabytes

_EXPECTED: Final = (
    AbiError,
    CompileError,
    ConfigureError,
    DigestError,
    GuestMemoryError,
    LinkError,
    MemoryError,
    OSError,
    PluginClosed,
    PoolUnavailable,
    ReloadFailed,
)
_PERMANENT: Final = (AbiError, CompileError, DigestError, LinkError)
"""Errors that the same content always causes."""


_calls: Final[WeakValueDictionary[str, BlockingCalls]] = WeakValueDictionary()
"""By directory. A thread that does not return keeps its entry alive, so that it is counted."""


_making: Final = Lock()
"""Held to add one, which several trio runs may do at the same time."""


def _calls_of(directory: str) -> BlockingCalls:
    with _making:
        calls = _calls.get(directory)
        if calls is None:
            name = f"readings of watched directory {directory!r}"
            calls = BlockingCalls(name, limit=_THREADS, max_abandoned=_MAX_ABANDONED)
            _calls[directory] = calls
        return calls


@final
@attrs.frozen(kw_only=True)
class Wanted:
    """How a file is loaded, with arguments as for `PluginRegistry.load`."""

    name: str
    credentials: Mapping[str, str] | None = None
    options: PluginOptions | None = None
    sha256: str | None = None


async def watch(
    registry: PluginRegistry,
    directory: str | os.PathLike[str],
    options: PluginOptions | None,
    task_status: trio.TaskStatus[None],
) -> None:
    """`Loader.watch`."""
    path = _absolute(directory, "watch", "a directory")
    await _watch(registry, path, options, task_status)


async def watch_file(
    registry: PluginRegistry,
    path: str | os.PathLike[str],
    wanted: Wanted,
    task_status: trio.TaskStatus[None],
) -> None:
    """`Loader.watch_file`."""
    directory, file = os.path.split(_absolute(path, "watch_file", "a file"))
    await _watch(registry, directory, (file, wanted), task_status)


async def _watch(
    registry: PluginRegistry,
    path: str,
    wanted: PluginOptions | tuple[str, Wanted] | None,
    task_status: trio.TaskStatus[None],
) -> None:
    """Watch a directory.

    Args:
        registry: the loader's.
        path: the directory's.
        wanted: the options of all its files; or the only file that counts, and how it is loaded.
        task_status: as for `Loader.watch`.
    """
    notify = import_watch()
    status = _Status(task_status)
    with trio.CancelScope() as scope:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(_cancel_at, registry.closing, scope)
            watched = _Watch(registry, path, wanted, notify, nursery)
            try:
                await watched.run(status)
            finally:
                watched.end()
                nursery.cancel_scope.cancel()
    status.started()  # if the loader closed before each file was tried


def _absolute(path: object, method: str, what: str) -> str:
    """Resolve a relative path now: the process may change its directory."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        message = f"loader.{method} takes the path of {what}, not {path!r}"
        raise TypeError(message)
    return str(Path(path).absolute())


async def _cancel_at(closing: trio.Event, scope: trio.CancelScope) -> None:
    await closing.wait()
    scope.cancel()


@final
class _Status:
    """A task status with a `started` that may be called twice."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status: trio.TaskStatus[None] | None = task_status

    def started(self) -> None:
        status, self._task_status = self._task_status, None
        if status is not None:
            status.started()


@final
class NameTaken(Exception):
    """Another watched directory has a file of the same name, which serves."""


@final
@attrs.define(eq=False)
class _File:
    """A plugin file, and the state of its updates."""

    directory: str
    file: str
    wanted: Wanted
    stamp: Stamp | None = None
    """In the last listing; None if the file is gone."""
    since: float = 0.0
    """The time of the last change of `stamp`, or of the last notification."""
    updated: Stamp | None = None
    """The stamp of the last update."""
    notified: bool = False
    """True if the content may have changed even if the stamp has not."""
    due: float = inf
    """When to update next if nothing changes."""
    busy: bool = False
    """True while an update runs."""
    plugin: Plugin | None = None
    digest: str | None = None
    """Of the content that the plugin was loaded from."""
    failures: int = 0
    """Since the last success."""
    complaint: str = ""
    """The last warning, so that it is not repeated."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.wanted.name

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.file)  # noqa: PTH118 - a Path would normalize it

    @property
    def is_forgotten(self) -> bool:
        """True if the file is gone and has never been updated."""
        return self.stamp is None and self.updated is None and not self.busy

    def update_at(self) -> float:
        """Return the time of the next update."""
        if self.busy:
            return inf
        if self.notified or self.stamp != self.updated:
            return self.since + _SETTLED
        return self.due

    def retry_in(self, pause: float) -> None:
        """Count a failure, and update again after a pause even if nothing changes."""
        self.failures += 1
        self.due = trio.current_time() + pause


def _pause(failures: int) -> float:
    return min(_LAST_RETRY, _FIRST_RETRY * 2.0 ** min(failures, 10))


@final
class _Watch:
    """One call of `Loader.watch`."""

    # Invariants:
    # - only a file's update sets `updated`, and a busy file has exactly one update
    # - `_files` has each file of the last listing, and each removed file that is not yet unloaded

    def __init__(
        self,
        registry: PluginRegistry,
        directory: str,
        wanted: PluginOptions | tuple[str, Wanted] | None,
        notify: Any,
        nursery: trio.Nursery,
    ) -> None:
        self._registry = registry
        self._directory = directory
        self._only = wanted if isinstance(wanted, tuple) else None
        self._options = None if isinstance(wanted, tuple) else wanted
        self._is_missing = False
        """True if the only file is missing, and this has been told."""
        self._notify = notify
        self._nursery = nursery
        self._calls = _calls_of(directory)
        self._files: dict[str, _File] = {}
        self._wake = trio.Event()
        self._complaint = ""
        self._missing_since: float | None = None
        self._listener = _Listener(self._notified)

    async def run(self, status: _Status) -> None:
        """Try each file once, then watch until cancelled.

        Raises:
            OSError: the directory cannot be listed. (If only one file counts, it is missing then.)
        """
        try:
            self._compare(await self._read_listing())
        except OSError:
            if self._only is None:
                raise
            self._compare(Listing(None, {}))
        async with trio.open_nursery() as first:
            self._start_updates(first, inf)
        status.started()
        while True:
            listing = await self._list()
            if listing is None:  # what is known is out of date, and no reason for an update
                await self._sleep_until(inf)
                continue
            self._compare(listing)
            self._listener.follow(self._nursery, self._notify, self._directory, listing.identity)
            self._start_updates(self._nursery, trio.current_time())
            await self._sleep_until(self._next_update())

    def end(self) -> None:
        """Give up the names of all files, so that other watches can load them."""
        for file in self._files.values():
            self._release_name(file)

    # --- listing ---

    async def _list(self) -> Listing | None:
        """List the directory; if that fails, log it and return None, so that nothing changes."""
        try:
            listing = await self._read_listing()
        except (FileNotFoundError, NotADirectoryError) as missing:
            self._complain(missing)
            now = trio.current_time()
            if self._missing_since is None:
                self._missing_since = now
            # A directory that is being replaced is missing for a moment only.
            return Listing(None, {}) if now >= self._missing_since + _LIST_EVERY else None
        except OSError as error:
            self._complain(error)
            return None
        self._missing_since = None
        if self._complaint:
            self._complaint = ""
            _log.info("watched directory %r can be listed again", self._directory)
        return listing

    async def _read_listing(self) -> Listing:
        only = () if self._only is None else (self._only[0],)
        return await self._calls.run(list_files, self._directory, *only)

    def _complain(self, error: OSError) -> None:
        complaint = _in_one_line(error)
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warning(
                "watched directory %r cannot be listed, and is tried again: %s",
                self._directory,
                complaint,
            )

    def _compare(self, listing: Listing) -> None:
        now = trio.current_time()
        for name in listing.stamps:
            if name not in self._files:
                self._files[name] = _File(self._directory, name, self._wanted(name))
        for name, file in list(self._files.items()):
            stamp = listing.stamps.get(name)
            if stamp != file.stamp:
                file.stamp, file.since = stamp, now
            if file.is_forgotten:
                del self._files[name]
        self._tell_if_missing()

    def _wanted(self, file: str) -> Wanted:
        if self._only is not None:
            return self._only[1]
        name = plugin_name(file)
        assert name is not None  # only plugin files are listed
        return Wanted(name=name, options=self._options)

    def _tell_if_missing(self) -> None:
        """A directory's file can come and go; a file that was asked for is missing."""
        if self._only is None:
            return
        file, wanted = self._only
        was_missing, self._is_missing = self._is_missing, file not in self._files
        if self._is_missing and not was_missing:
            path = os.path.join(self._directory, file)  # noqa: PTH118 - a Path would normalize it
            missing = FileNotFoundError(errno.ENOENT, "the plugin's file is missing", path)
            self._registry.failed(wanted.name, missing)
            _log.warning("plugin %r is not loaded: its file %r is missing", wanted.name, path)

    def _notified(self, names: set[str]) -> None:
        """Note that these files may have changed, and list the directory now."""
        now = trio.current_time()
        for name in names:
            if name in self._files:
                self._files[name].notified = True
                self._files[name].since = now
        self._wake.set()

    def _next_update(self) -> float:
        return min((file.update_at() for file in self._files.values()), default=inf)

    async def _sleep_until(self, time: float) -> None:
        """Sleep until a time, but at most `_LIST_EVERY` seconds, or until `_wake` is set."""
        with trio.move_on_at(min(time, trio.current_time() + _LIST_EVERY)):
            await self._wake.wait()
        self._wake = trio.Event()

    # --- updates ---

    def _start_updates(self, nursery: trio.Nursery, now: float) -> None:
        for file in sorted(self._files.values(), key=lambda file: file.file):
            if file.update_at() <= now:
                file.busy = True
                file.notified = False
                nursery.start_soon(self._update, file)

    async def _update(self, file: _File) -> None:
        stamp = file.stamp
        try:
            if stamp is None:
                self._unload(file)
            else:
                await self._load(file, stamp)
        except Exception as error:  # noqa: BLE001 - no plugin may end the watch
            if not self._registry.closed:  # otherwise the load failed because the loader closes
                file.updated = stamp
                self._failed(file, error)
        finally:
            file.busy = False
            self._wake.set()

    async def _load(self, file: _File, listed: Stamp) -> None:
        is_unchanged = listed == file.updated
        file.due = inf
        # 1. Read the file.
        try:
            source, stamp = await self._calls.run(read_file, self._directory, file.file)
        except Unsettled:
            file.updated = listed  # the next listing has another stamp
            file.retry_in(_SETTLED * 2.0 ** min(file.failures, 10))
            return
        except (OSError, CompileError) as error:
            self._registry.failed(file.name, error)
            raise
        # 2. Load it if its content is new, or if its plugin no longer serves since the last change.
        if source.digest != file.digest or not (is_unchanged or self._serves(file)):
            self._take_name(file)
            is_reload = file.name in self._registry.plugins
            wanted = file.wanted
            file.plugin = await self._registry.load(
                source, file.name, wanted.credentials, wanted.options, wanted.sha256
            )
            file.digest = source.digest
            what = "reloaded" if is_reload else "loaded"
            _log.info("plugin %r is %s from %r", file.name, what, file.path)
        # 3. Read it once more later, if this update followed a change: see the module's docstring.
        self._registry.forget(file.name)  # also if the old content has come back
        file.updated = stamp
        file.failures = 0
        file.complaint = ""
        if not is_unchanged:
            file.due = trio.current_time() + _SURE

    def _serves(self, file: _File) -> bool:
        """Return True if the plugin in service is the one that was last loaded from the file."""
        plugin = self._registry.plugins.get(file.name)
        return plugin is not None and plugin is file.plugin and plugin._runs(file.digest)  # noqa: SLF001 - not for users

    def _unload(self, file: _File) -> None:
        if file.plugin is not None and self._registry.plugins.get(file.name) is file.plugin:
            _log.info("plugin %r is unloaded: its file %r is gone", file.name, file.path)
            self._registry.unload_soon(file.name)
        self._registry.forget(file.name)
        self._release_name(file)
        del self._files[file.file]
        self._tell_if_missing()

    def _failed(self, file: _File, error: Exception) -> None:
        cause = error
        if isinstance(error, ReloadFailed) and isinstance(error.__cause__, Exception):
            cause = error.__cause__  # the warning below says that the old plugin stays
        if isinstance(error, NameTaken):
            file.retry_in(_LIST_EVERY)
        elif isinstance(cause, _PERMANENT):
            file.failures += 1
        else:
            file.retry_in(_pause(file.failures))
        serves = file.name in self._registry.plugins
        if not serves:
            self._release_name(file)
        complaint = _in_one_line(cause)
        if complaint == file.complaint:
            return
        file.complaint = complaint
        kept = "goes on as before" if serves else "is not loaded"
        unexpected = None if isinstance(error, (*_EXPECTED, NameTaken)) else error
        _log.warning("plugin %r %s: %s", file.name, kept, complaint, exc_info=unexpected)

    # --- names: several watches may have files of the same name ---

    def _take_name(self, file: _File) -> None:
        holder = self._registry.watched.setdefault(file.name, file)
        if holder is not file:
            assert isinstance(holder, _File)
            message = (
                f"the file {file.path!r} is followed already"
                if holder.path == file.path
                else f"the file {file.path!r} waits, because {holder.path!r} has the same name"
            )
            raise NameTaken(message)

    def _release_name(self, file: _File) -> None:
        watched = self._registry.watched
        if watched.get(file.name) is file:
            del watched[file.name]


@final
class _Listener:
    """Listens to the notifications of the watched directory, while the system provides them."""

    def __init__(self, report: Callable[[set[str]], None]) -> None:
        self._report = report
        self._scope: trio.CancelScope | None = None
        self._identity: tuple[int, int] | None = None
        self._retry_at = -inf
        self._failures = 0
        self._complaint = ""

    def follow(
        self,
        nursery: trio.Nursery,
        notify: Any,
        directory: str,
        identity: tuple[int, int] | None,
    ) -> None:
        """Listen to the directory that is now at this path, unless this is already done.

        If listening has failed, it is tried again after a pause.
        """
        if identity != self._identity:
            self._identity = identity
            self._retry_at = -inf
            if self._scope is not None:
                self._scope.cancel()
                self._scope = None
        if identity is None or self._scope is not None or trio.current_time() < self._retry_at:
            return
        self._scope = trio.CancelScope()
        nursery.start_soon(self._listen, notify, directory, self._scope)

    async def _listen(self, notify: Any, directory: str, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await listen(notify, directory, self._heard)
        except Exception as error:  # noqa: BLE001 - the watch goes on without notifications
            self._failed(directory, error)
        finally:
            if self._scope is scope:
                self._scope = None

    def _heard(self, names: set[str]) -> None:
        self._failures = 0
        self._complaint = ""
        self._report(names)

    def _failed(self, directory: str, error: Exception) -> None:
        self._retry_at = trio.current_time() + _pause(self._failures)
        self._failures += 1
        complaint = _in_one_line(error)
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warning(
                "no notifications of changes in watched directory %r, it is listed every %g s: %s",
                directory,
                _LIST_EVERY,
                complaint,
            )


def _in_one_line(error: BaseException) -> str:
    """An error for the log, escaped: it may quote a guest or a file name."""
    text = " ".join(str(error)[:_MAX_TEXT].split())
    return f"{type(error).__name__}: {escaped(text)}"
