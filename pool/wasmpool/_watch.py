"""A directory of plugins, kept in service as its files come, change and go.

What the operating system tells of changes is only taken as a reason to look: files are compared
by what can be seen of them, so a change that was told twice, late or not at all makes no
difference. Each look gives every file that differs a turn of its own, in order; a turn does what
the file calls for *then*, so that the last one always leaves things right.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import trio

from wasmpool_host import CompileError, GuestMemoryError, LinkError

from ._errors import PoolUnavailable, ReloadFailed
from ._plugin_errors import AbiError, ConfigureError, PluginClosed

if TYPE_CHECKING:
    from ._loader import Loader

__all__ = ["watch"]

_log: Final = logging.getLogger("wasmpool.loader")
_LOOK_EVERY: Final = 1_000  # milliseconds, for what the system did not tell

_REFUSED: Final = (
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

_Seen: TypeAlias = tuple[int, int, int]
"""A file's inode, size and time of change: it differs when any of them does."""


async def watch(
    loader: Loader,
    directory: str | os.PathLike[str],
    closing: trio.Event,
    task_status: trio.TaskStatus[None],
) -> None:
    """`Loader.watch`."""
    if not isinstance(directory, (str, os.PathLike)):
        message = f"loader.watch takes the path of a directory, not {directory!r}"
        raise TypeError(message)
    awatch = _import_awatch()
    await trio.to_thread.run_sync(os.listdir, directory)  # or raise why it cannot be read
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_with, closing, stop, nursery.cancel_scope)
        watched = _Directory(loader, Path(directory))
        async with trio.open_nursery() as first:
            await watched.look(first)
        task_status.started()
        looks = awatch(
            directory,
            watch_filter=None,
            stop_event=stop,
            rust_timeout=_LOOK_EVERY,
            yield_on_timeout=True,
            recursive=False,
        )
        async with contextlib.aclosing(looks):
            async for _ in looks:
                await watched.look(nursery)


def _import_awatch() -> Any:
    try:
        from watchfiles import awatch  # noqa: PLC0415 - an extra; it brings another event loop's library
    except ModuleNotFoundError as missing:
        message = (
            'loader.watch needs watchfiles, which is not installed: pip install "wasmpool[plugin]"'
        )
        raise ModuleNotFoundError(message, name=missing.name) from missing
    return awatch


async def _stop_with(closing: trio.Event, stop: trio.Event, scope: trio.CancelScope) -> None:
    """Tell the thread that listens to the system, which no cancel reaches, to end."""
    try:
        await closing.wait()
        scope.cancel()
    finally:
        stop.set()


@final
class _Directory:
    """What was last seen of each file."""

    def __init__(self, loader: Loader, path: Path) -> None:
        self._loader = loader
        self._path = path
        self._seen: dict[Path, _Seen] = {}
        self._turns: dict[Path, trio.Lock] = {}

    async def look(self, nursery: trio.Nursery) -> None:
        """Compare, and give each file that differs its turn."""
        now = await trio.to_thread.run_sync(_look, self._path)
        before, self._seen = self._seen, now
        for path in sorted(before.keys() | now.keys()):
            if before.get(path) != now.get(path):
                nursery.start_soon(self._turn, path)

    async def _turn(self, path: Path) -> None:
        async with self._turns.setdefault(path, trio.Lock()):
            if self._loader.closed:
                return
            if await trio.Path(path).exists():
                await self._load(path)
            elif path.stem in self._loader.plugins:
                _log.info("plugin %r is unloaded: its file is gone", path.stem)
                self._loader.unload_behind(path.stem)

    async def _load(self, path: Path) -> None:
        serves = path.stem in self._loader.plugins
        try:
            await self._loader.load(path, name=path.stem)
        except _REFUSED as why:
            kept = "goes on as it was" if path.stem in self._loader.plugins else "is not loaded"
            # A ReloadFailed says itself that the plugin goes on; what is new is its cause.
            cause = (why.__cause__ if isinstance(why, ReloadFailed) else None) or why
            _log.warning("plugin %r %s: %s: %s", path.stem, kept, type(cause).__name__, cause)
        else:
            _log.info(
                "plugin %r is %s from %s", path.stem, "reloaded" if serves else "loaded", path
            )


def _look(directory: Path) -> dict[Path, _Seen]:
    seen: dict[Path, _Seen] = {}
    for path in directory.glob("*.wasm"):
        with contextlib.suppress(OSError):  # gone since it was listed
            stat = path.stat()
            seen[path] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return seen
