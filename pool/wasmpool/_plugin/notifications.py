"""Notifications of the operating system that a file in a directory has changed, by watchfiles.

The trio support of watchfiles occupies one of trio's shared threads for as long as it watches, and
leaves the thread behind if its generator is not closed in time. So its synchronous generator runs
here, in a thread with a limiter of its own.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["import_watch", "listen"]

_STEP: Final = 50  # milliseconds without a change, after which the changes so far are reported
_DEBOUNCE: Final = 500  # milliseconds after which they are reported even if more changes follow


def import_watch() -> Any:
    """Return ``watchfiles.watch``.

    Raises:
        ModuleNotFoundError: it is not installed; the message names the extra.
    """
    try:
        from watchfiles import watch  # noqa: PLC0415 - an extra; it imports anyio
    except ModuleNotFoundError as missing:
        message = (
            'loader.watch needs watchfiles, which is not installed: pip install "wasmpool[plugin]"'
        )
        raise ModuleNotFoundError(message, name=missing.name) from missing
    return watch


async def listen(watch: Any, directory: str, report: Callable[[set[str]], None]) -> None:
    """Report the names of changed files, until cancelled.

    Raises:
        Exception: there are no notifications, or no more: the system's limit is reached, a name is
            not UTF-8, or the directory is gone.

    A cancel ends the thread within `_STEP`, and waits for that.
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
            await _drive(changes, report)
        except Exception as failure:  # noqa: BLE001 - raised again outside of the nursery, ungrouped
            failed.append(failure)
        finally:
            changes.close()
            nursery.cancel_scope.cancel()
    if failed:
        raise failed[0]


async def _drive(changes: Any, report: Callable[[set[str]], None]) -> None:
    thread = trio.CapacityLimiter(1)
    while True:
        changed = await trio.to_thread.run_sync(next, changes, None, limiter=thread)
        if changed is None:  # the stop event is set
            return
        # Names as `os.listdir` returns them, which a Path would not keep.
        report({os.path.basename(path) for _, path in changed})  # noqa: PTH119 - paths are str here


async def _set_when_cancelled(stop: threading.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        stop.set()
