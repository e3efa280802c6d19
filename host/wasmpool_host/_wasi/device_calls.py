"""Calls that may block on a file system, in threads with a limit for each device.

Such calls are all operations on files of a file system that is not local (`mounts`), and
``fd_sync`` on any. Each device has its own threads: a server that does not answer delays no guest
on another device.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, TypeVarTuple

import trio

from wasmpool_host._scheduling.blocking_calls import BlockingCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    import outcome

__all__ = ["calls_of", "close_in_thread"]

Ts = TypeVarTuple("Ts")

_log = logging.getLogger("wasmpool.blocking")

_calls: dict[int, BlockingCalls] = {}
"""By device; there are only as many as devices with a preopened directory."""


def calls_of(device: int) -> BlockingCalls:
    """The calls on files of one device."""
    name = f"file operations on device {os.major(device)}:{os.minor(device)}"
    return _calls.setdefault(device, BlockingCalls(name))


def close_in_thread(fn: Callable[[*Ts], None], *args: *Ts) -> None:
    """Call a function that closes files in a thread, and do not wait: closing may block.

    There is one such thread for each guest that had such a file open, so no limit is needed.
    """
    trio.lowlevel.start_thread_soon(lambda: fn(*args), _report)


def _report(result: outcome.Outcome[None]) -> None:
    """Log an error. In the thread."""
    try:
        result.unwrap()
    except OSError as error:
        _log.warning("a guest's files could not be closed: %s", error)
