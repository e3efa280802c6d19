"""The operating system's notices that something in a directory has changed, by watchfiles.

Its own way to run on trio keeps one of trio's shared threads for as long as it watches, and
leaves the thread behind where the generator is not closed in time. So its plain generator is
driven here, in a thread of a limiter that is only for this.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["import_watch", "listen"]

_STEP: Final = 50  # milliseconds: changes are told once there was none for so long
_DEBOUNCE: Final = 500  # milliseconds: in a directory that never rests, they are told anyway


def import_watch() -> Any:
    """Return ``watchfiles.watch``.

    Raises:
        ModuleNotFoundError: it is not installed; the message names the extra.
    """
    try:
        from watchfiles import watch  # noqa: PLC0415 - an extra; it brings another event loop's library
    except ModuleNotFoundError as missing:
        message = (
            'loader.watch needs watchfiles, which is not installed: pip install "wasmpool[plugin]"'
        )
        raise ModuleNotFoundError(message, name=missing.name) from missing
    return watch


async def listen(watch: Any, directory: str, tell: Callable[[set[str]], None]) -> None:
    """Tell the names of files that have changed, until cancelled.

    Raises:
        Exception: there are no notices to be had, or no more: the system's limit is reached, a
            name is no UTF-8, the directory is gone.

    A cancel ends the thread within one step, and waits for that.
    """
    stop = threading.Event()
    changes = watch(
        directory,
        watch_filter=None,
        debounce=_DEBOUNCE,
        step=_STEP,
        stop_event=stop,
        rust_timeout=0,
        recursive=False,
        raise_interrupt=False,
    )
    failed: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_set_when_cancelled, stop)
        try:
            await _drive(changes, tell)
        except Exception as failure:  # noqa: BLE001 - raised below, where it is in no group
            failed.append(failure)
        finally:
            changes.close()
            nursery.cancel_scope.cancel()
    if failed:
        raise failed[0]


async def _drive(changes: Any, tell: Callable[[set[str]], None]) -> None:
    thread = trio.CapacityLimiter(1)
    while True:
        told = await trio.to_thread.run_sync(next, changes, None, limiter=thread)
        if told is None:  # it was stopped
            return
        tell({os.path.basename(path) for _, path in told})  # noqa: PTH119 - as they are listed


async def _set_when_cancelled(stop: threading.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        stop.set()
