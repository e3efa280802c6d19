"""A directory of plugins, kept in service as its files come, change and go.

Notices of the operating system are only a reason to look, and there is a look each second without
them: what was told twice, late or never makes no difference. A look compares the stamp of each
file, its device, inode, size and times, with the stamp of what was last done about it. A file
that differs, and has not changed for a moment, gets a *turn*, in a task of its own: it is read,
and loaded, or unloaded if it is gone. A file has one turn at a time, and the next look judges
again, so the last turn always leaves things right.

Stamps can lie. Two writes within one tick of a file system's clock have the same; a notice, and a
second reading some time after the first, compare the content itself.

What fails is logged, and tried again when the file has changed, or after a pause that grows where
the file alone does not decide: it may be readable later, or there may be memory again. Only the
loader's end, or a cancel, ends a watch.
"""

from __future__ import annotations

import logging
import os
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final
from weakref import WeakValueDictionary

import attrs
import trio

from wasmpool._errors import PoolUnavailable, ReloadFailed
from wasmpool._plain_nursery import open_plain_nursery
from wasmpool_host import CompileError, GuestMemoryError, LinkError
from wasmpool_host.lowlevel import BlockingCalls, escaped

from .errors import AbiError, ConfigureError, PluginClosed
from .notices import import_watch, listen
from .watched_file import Look, Stamp, Unsettled, look, plugin_name, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loader import Loader
    from .plugin import Plugin

__all__ = ["watch"]

_log: Final = logging.getLogger("wasmpool.loader")

_LOOK_EVERY: Final = 1.0  # seconds: for what the system does not tell, as on network file systems
_SETTLED: Final = 0.1  # seconds without a change: a copy that is under way is not looked at
_SURE: Final = 2.5  # seconds: the coarsest clock of a file system, that of FAT, ticks every 2 s
_FIRST_RETRY: Final = 0.5  # seconds, doubled each time
_LAST_RETRY: Final = 30.0  # seconds
_THREADS: Final = 4  # of each directory: one that does not answer keeps no other's
_MOST_ABANDONED: Final = 8  # of each directory, by watches of it that were cancelled
_LONGEST: Final = 1_000  # characters of an error in the log: a guest's words may be megabytes

_EXPECTED: Final = (
    AbiError,
    CompileError,
    ConfigureError,
    GuestMemoryError,
    LinkError,
    MemoryError,
    OSError,
    PluginClosed,
    PoolUnavailable,
    ReloadFailed,
)
_LASTING: Final = (AbiError, CompileError, LinkError)
"""What the same content will always end with."""


_calls: Final[WeakValueDictionary[str, BlockingCalls]] = WeakValueDictionary()
"""By directory. A thread that does not come back keeps its entry, so that it is counted."""


def _calls_of(directory: str) -> BlockingCalls:
    calls = _calls.get(directory)
    if calls is None:
        name = f"readings of watched directory {directory!r}"
        calls = BlockingCalls(name, limit=_THREADS, max_abandoned=_MOST_ABANDONED)
        _calls[directory] = calls
    return calls


async def watch(
    loader: Loader,
    directory: str | os.PathLike[str],
    closing: trio.Event,
    task_status: trio.TaskStatus[None],
) -> None:
    """`Loader.watch`."""
    path = _absolute(directory)
    notify = import_watch()
    status = _Status(task_status)
    with trio.CancelScope() as scope:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(_cancel_with, closing, scope)
            watched = _Watch(loader, path, notify, nursery)
            try:
                await watched.run(status)
            finally:
                watched.end()
                nursery.cancel_scope.cancel()
    status.started()  # if the loader closed before every file was tried


def _absolute(directory: object) -> str:
    """Fix what a relative path means: the process may change its directory."""
    if not isinstance(directory, (str, os.PathLike)) or not os.fspath(directory):
        message = f"loader.watch takes the path of a directory, not {directory!r}"
        raise TypeError(message)
    return str(Path(directory).absolute())


async def _cancel_with(closing: trio.Event, scope: trio.CancelScope) -> None:
    await closing.wait()
    scope.cancel()


@final
class _Status:
    """A task status that may be told twice."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status: trio.TaskStatus[None] | None = task_status

    def started(self) -> None:
        status, self._task_status = self._task_status, None
        if status is not None:
            status.started()


@final
class NameTaken(Exception):
    """The file's name is that of a plugin from another watched directory."""


@final
@attrs.define(eq=False)
class _File:
    """A file of a plugin, and what was done about it."""

    directory: str
    file: str
    name: str
    """The plugin's."""
    seen: Stamp | None = None
    """How it looked at the last look; None for gone."""
    since: float = 0.0
    """When it began to look like that, or a notice came."""
    done: Stamp | None = None
    """How it looked at its last turn."""
    noticed: bool = False
    """Whether its content may have changed though its stamp has not."""
    due: float = inf
    """When it gets a turn though nothing has changed."""
    busy: bool = False
    """Whether its turn is under way."""
    plugin: Plugin | None = None
    digest: str | None = None
    """Of the content that the plugin was loaded from."""
    failures: int = 0
    """In a row."""
    complaint: str = ""
    """What was logged last, as the same is not said twice."""

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.file)  # noqa: PTH118 - see `read`

    @property
    def is_forgotten(self) -> bool:
        """Whether it is gone before it ever had a turn."""
        return self.seen is None and self.done is None and not self.busy

    def turn_at(self) -> float:
        """When it needs a turn next."""
        if self.busy:
            return inf
        if self.noticed or self.seen != self.done:
            return self.since + _SETTLED
        return self.due

    def look_again_in(self, pause: float) -> None:
        """Have a turn without a change."""
        self.failures += 1
        self.due = trio.current_time() + pause


def _pause(failures: int) -> float:
    return min(_LAST_RETRY, _FIRST_RETRY * 2.0 ** min(failures, 10))


@final
class _Watch:
    """One call of `Loader.watch`."""

    # Invariants:
    # - only a file's turn changes what was done about it, and a file that is busy has one turn
    # - `_files` has each file of the last look, and those whose end has had no turn yet

    def __init__(self, loader: Loader, directory: str, notify: Any, nursery: trio.Nursery) -> None:
        self._loader = loader
        self._directory = directory
        self._notify = notify
        self._nursery = nursery
        self._calls = _calls_of(directory)
        self._files: dict[str, _File] = {}
        self._wake = trio.Event()
        self._complaint = ""
        self._missing_since: float | None = None
        self._listener = _Listener(self._tell)

    async def run(self, status: _Status) -> None:
        """Try every file once, and then look for ever.

        Raises:
            OSError: the first look failed.
        """
        self._compare(await self._calls.run(look, self._directory))
        async with trio.open_nursery() as first:
            self._begin_turns(first, inf)
        status.started()
        while True:
            seen = await self._look()
            if seen is None:  # what is known is old, and no reason for a turn
                await self._until_there_is_a_reason(inf)
                continue
            self._compare(seen)
            self._listener.follow(self._nursery, self._notify, self._directory, seen.identity)
            self._begin_turns(self._nursery, trio.current_time())
            await self._until_there_is_a_reason(self._next_turn())

    def end(self) -> None:
        """Leave the names of its files to other watches."""
        for file in self._files.values():
            self._leave_name(file)

    # --- looking ---

    async def _look(self) -> Look | None:
        """Look, or say why not and return None: things stay as they are then."""
        try:
            seen = await self._calls.run(look, self._directory)
        except (FileNotFoundError, NotADirectoryError) as gone:
            self._complain(gone)
            now = trio.current_time()
            if self._missing_since is None:
                self._missing_since = now
            # One that is replaced is missing for a moment; one that stays away has no files.
            return Look(None, {}) if now >= self._missing_since + _LOOK_EVERY else None
        except OSError as error:
            self._complain(error)
            return None
        self._missing_since = None
        if self._complaint:
            self._complaint = ""
            _log.info("watched directory %r can be looked at again", self._directory)
        return seen

    def _complain(self, error: OSError) -> None:
        complaint = _in_one_line(error)
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warning(
                "watched directory %r cannot be looked at, and is tried again: %s",
                self._directory,
                complaint,
            )

    def _compare(self, seen: Look) -> None:
        now = trio.current_time()
        for name in seen.files:
            if name not in self._files:
                plugin = plugin_name(name)
                assert plugin is not None
                self._files[name] = _File(self._directory, name, plugin)
        for name, file in list(self._files.items()):
            stamp = seen.files.get(name)
            if stamp != file.seen:
                file.seen, file.since = stamp, now
            if file.is_forgotten:
                del self._files[name]

    def _tell(self, names: set[str] | None) -> None:
        """Take a notice; None is that there will be no more."""
        now = trio.current_time()
        for name in names or ():
            if name in self._files:
                self._files[name].noticed = True
                self._files[name].since = now
        self._wake.set()

    def _next_turn(self) -> float:
        return min((file.turn_at() for file in self._files.values()), default=inf)

    async def _until_there_is_a_reason(self, at_latest: float) -> None:
        with trio.move_on_at(min(at_latest, trio.current_time() + _LOOK_EVERY)):
            await self._wake.wait()
        self._wake = trio.Event()

    # --- turns ---

    def _begin_turns(self, nursery: trio.Nursery, now: float) -> None:
        for file in sorted(self._files.values(), key=lambda file: file.file):
            if file.turn_at() <= now:
                file.busy = True
                file.noticed = False
                nursery.start_soon(self._turn, file)

    async def _turn(self, file: _File) -> None:
        trying = file.seen
        try:
            if trying is None:
                self._unload(file)
            else:
                await self._load(file, trying)
        except Exception as error:  # noqa: BLE001 - a watch goes on, whatever a plugin does
            if not self._loader.closed:  # else it ends, and this is why
                file.done = trying
                self._failed(file, error)
        finally:
            file.busy = False
            self._wake.set()

    async def _load(self, file: _File, trying: Stamp) -> None:
        looks_as_before = trying == file.done
        file.due = inf
        try:
            source, stamp = await self._calls.run(read, self._directory, file.file)
        except Unsettled:
            file.done = trying  # and the next look will see how it is
            file.look_again_in(_SETTLED * 2.0 ** min(file.failures, 10))
            return
        if source.digest != file.digest or not (looks_as_before or self._serves(file)):
            self._take_name(file)
            served = file.name in self._loader.plugins
            file.plugin = await self._loader._load(source, file.name, None)  # noqa: SLF001 - of one family
            file.digest = source.digest
            what = "reloaded" if served else "loaded"
            _log.info("plugin %r is %s from %r", file.name, what, file.path)
        file.done = stamp
        file.failures = 0
        file.complaint = ""
        if not looks_as_before:
            file.due = trio.current_time() + _SURE

    def _serves(self, file: _File) -> bool:
        """Return True if the plugin in service is what was loaded from the file last."""
        plugin = self._loader.plugins.get(file.name)
        return plugin is not None and plugin is file.plugin and plugin._runs(file.digest)  # noqa: SLF001 - of one family

    def _unload(self, file: _File) -> None:
        if file.plugin is not None and self._loader.plugins.get(file.name) is file.plugin:
            _log.info("plugin %r is unloaded: its file %r is gone", file.name, file.path)
            self._loader.unload_behind(file.name)
        self._leave_name(file)
        del self._files[file.file]

    def _failed(self, file: _File, error: Exception) -> None:
        cause = error
        if isinstance(error, ReloadFailed) and isinstance(error.__cause__, Exception):
            cause = error.__cause__  # that it goes on with the old one is said anyway
        if isinstance(error, NameTaken):
            file.look_again_in(_LOOK_EVERY)
        elif isinstance(cause, _LASTING):
            file.failures += 1
        else:
            file.look_again_in(_pause(file.failures))
        serves = file.name in self._loader.plugins
        if not serves:
            self._leave_name(file)
        complaint = _in_one_line(cause)
        if complaint == file.complaint:
            return
        file.complaint = complaint
        kept = "goes on as it was" if serves else "is not loaded"
        unexpected = None if isinstance(error, (*_EXPECTED, NameTaken)) else error
        _log.warning("plugin %r %s: %s", file.name, kept, complaint, exc_info=unexpected)

    # --- names, of which several watches may have the same ---

    def _take_name(self, file: _File) -> None:
        holder = self._loader._watched.setdefault(file.name, file)  # noqa: SLF001 - of one family
        if holder is not file:
            assert isinstance(holder, _File)
            message = f"the file {file.path!r} waits, as {holder.path!r} has the same name"
            raise NameTaken(message)

    def _leave_name(self, file: _File) -> None:
        watched = self._loader._watched  # noqa: SLF001 - of one family
        if watched.get(file.name) is file:
            del watched[file.name]


@final
class _Listener:
    """Has notices of the directory that is looked at, as long as they are to be had."""

    def __init__(self, tell: Callable[[set[str] | None], None]) -> None:
        self._tell = tell
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
        """Listen to another directory if another one is there now; again, if that has failed."""
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
        except Exception as error:  # noqa: BLE001 - looks go on without notices
            self._failed(directory, error)
        finally:
            if self._scope is scope:
                self._scope = None

    def _heard(self, names: set[str]) -> None:
        self._failures = 0
        self._complaint = ""
        self._tell(names)

    def _failed(self, directory: str, error: Exception) -> None:
        self._retry_at = trio.current_time() + _pause(self._failures)
        self._failures += 1
        complaint = _in_one_line(error)
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warning(
                "no notices of changes in watched directory %r, which is looked at every %g s: %s",
                directory,
                _LOOK_EVERY,
                complaint,
            )


def _in_one_line(error: BaseException) -> str:
    """An error for the log; parts of it may be a guest's words, or a file's name."""
    text = " ".join(str(error)[:_LONGEST].split())
    return f"{type(error).__name__}: {escaped(text)}"
