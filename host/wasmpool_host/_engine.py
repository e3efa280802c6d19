"""The engine that all modules of the process share, and the count of its instances.

There is one engine for the process, so there is one set of compiler threads, and a module may be
used in any trio run. It is of no use in a forked child, which has neither these threads nor that
of a ticker: a guest there would hang.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from . import _capi
from ._scheduling.epoch_ticker import ticker_of_this_run

if TYPE_CHECKING:
    import wasmtime

    from ._scheduling.epoch_ticker import Ticker

__all__ = ["Engine", "check_process", "shared_engine"]

MAPS_PER_INSTANCE: Final = 5
"""Memory maps of an instance in a call: memory and stack with their guards, and one spare."""

MAPS_KEPT: Final = 2_000
"""Memory maps that are left for the rest of the process."""

_MAP_LIMIT: Final = Path("/proc/sys/vm/max_map_count")

_lock = threading.Lock()
_engine: Engine | None = None
_forked = False


@final
class Engine:
    """The engine, and the count of open instances."""

    def __init__(self) -> None:
        self.wasmtime: wasmtime.Engine = _capi.new_engine()
        self.pointer: int = _capi.raw(self.wasmtime)
        self.exchangers: _capi.Exchangers = _capi.Exchangers(self.wasmtime)
        self._faulthandler = faulthandler.is_enabled()
        self._forgotten: deque[Ticker] = deque()
        self._open = 0
        self._most = _most_instances()

    def check_faulthandler(self) -> None:
        """Raise RuntimeError where the next out-of-bounds trap would end the process.

        Wasmtime installs its signal handlers with the first engine. When faulthandler is switched
        later, it puts its own handlers in front of them, or removes them.
        """
        if faulthandler.is_enabled() != self._faulthandler:
            now, then = ("on", "off") if faulthandler.is_enabled() else ("off", "on")
            message = (
                f"faulthandler was switched {now} after the first module was compiled (it was"
                f" {then}): a guest's out-of-bounds access would end the process. Call"
                " faulthandler.enable() before the first Module.compile, and leave it"
            )
            raise RuntimeError(message)

    def open_instance(self) -> Ticker:
        """Count an instance, before it maps memory; return the ticker of its trio run.

        Raises:
            MemoryError: the kernel's limit of maps is near; beyond it Wasmtime fails in ways
                that cannot be told apart.
        """
        while self._forgotten:
            with suppress(IndexError):  # another thread has taken it
                self.close_instance(self._forgotten.pop())
        with _lock:
            if self._most is not None and self._open >= self._most:
                message = (
                    f"{self._open:,} instances are open, all that {_MAP_LIMIT} allows at"
                    f" {MAPS_PER_INSTANCE} memory maps each: close some, or raise the limit, as in"
                    " `sysctl -w vm.max_map_count=1048576`"
                )
                raise MemoryError(message)
            self._open += 1
        ticker = ticker_of_this_run(self.wasmtime)
        ticker.open()
        return ticker

    @property
    def serves(self) -> bool:
        """True if there are open instances, which may be in use."""
        return self._open > len(self._forgotten)

    def close_instance(self, ticker: Ticker) -> None:
        """Count an instance as closed, once its store is gone."""
        with _lock:
            self._open -= 1
        ticker.close()

    def forget_instance(self, ticker: Ticker) -> None:
        """Do `close_instance` for a finalizer, which may run anywhere, even where a lock is held.

        The count changes when the next instance is opened.
        """
        self._forgotten.append(ticker)


def shared_engine() -> Engine:
    """Return the process's engine; the first call makes it."""
    global _engine  # noqa: PLW0603 - one for the process
    with _lock:
        if _engine is None:
            _engine = Engine()
        return _engine


def check_process() -> None:
    """Raise RuntimeError in a forked child. Call it before any checkpoint.

    The child of a fork inside a trio run shares the loop's epoll with its parent: an event that the
    child takes from it, by a single checkpoint, is lost for the parent.
    """
    if _forked:
        message = (
            "this process was forked from one that had used wasmpool, and wasm cannot run in"
            ' it: start it with multiprocessing.get_context("spawn"), or by subprocess'
        )
        raise RuntimeError(message)


def _most_instances() -> int | None:
    try:
        limit = int(_MAP_LIMIT.read_text())
    except (OSError, ValueError):
        return None
    return max(1, (limit - MAPS_KEPT) // MAPS_PER_INSTANCE)


def _after_fork() -> None:
    global _forked  # noqa: PLW0603 - of the process
    _forked = _engine is not None


os.register_at_fork(after_in_child=_after_fork)
