"""The clock of an engine: it advances the epoch while a guest runs, so that a guest can be stopped.

A guest looks at the epoch on each loop and each call, and yields once its deadline has passed.
A yield is harmless to a guest that should go on, so one ticker serves all instances of an
engine.

The period is a millisecond: the time after which a computing guest leaves the trio thread, and
within which a cancel hits. Shorter, and the thread that ticks competes with the guests on a
small machine; longer, and the loop is late.

The ticker must not lose a wake-up between "is anybody running" and parking, or a guest that
starts in between spins for ever and no cancel ends it. So both are one step, under the lock.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, final

from . import _capi

if TYPE_CHECKING:
    import wasmtime

__all__ = ["Ticker"]

PERIOD: Final = 0.001
"""Seconds between two epochs."""

LINGER: Final = 20
"""Ticks without a running guest before the ticker parks: to wake it costs more than a few."""


@final
class Ticker:
    """Counts the guests that run now (``enter``, ``leave``) and the instances that are open."""

    # Invariants, under `_lock`:
    # - the thread waits for `_wake` for ever if and only if `_parked`
    # - `_parked` implies that no guest runs
    # - `_thread` is None if and only if no instance is open, or none has run yet

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine  # held, so that its address stays good
        self._lock = threading.Lock()
        self._wake = (
            threading.Lock()
        )  # released to wake the thread; a bare lock is the cheapest timer
        self._running = 0
        self._open = 0
        self._parked = False
        self._thread: threading.Thread | None = None
        self._generation = 0

    def enter(self) -> None:
        """A guest is about to run, on any thread."""
        with self._lock:
            if self._parked or self._thread is None:
                self._unpark()
            self._running += 1

    def leave(self) -> None:
        """That guest has yielded, waits in a host function, or is done."""
        with self._lock:
            self._running -= 1

    def open(self) -> None:
        with self._lock:
            self._open += 1

    def close(self) -> None:
        """The last to close ends the thread, and waits for that: a fraction of a tick."""
        with self._lock:
            self._open -= 1
            if self._open or self._thread is None:
                return
            thread, self._thread = self._thread, None
            self._generation += 1
            self._rouse()
        thread.join()

    def _unpark(self) -> None:
        if self._thread is not None:
            self._rouse()
            return
        self._wake = threading.Lock()
        self._wake.acquire()
        self._parked = False
        thread = threading.Thread(
            target=self._run,
            args=(self._generation, self._wake),
            name="wasmpool ticker",
            daemon=True,
        )
        thread.start()
        self._thread = thread

    def _rouse(self) -> None:
        self._parked = False
        if self._wake.locked():
            self._wake.release()

    def _run(self, generation: int, wake: threading.Lock) -> None:
        pointer = _capi.raw(self._engine)
        idle = 0
        while True:
            if self._parked:
                wake.acquire()
            wake.acquire(timeout=PERIOD)
            with self._lock:
                if self._generation != generation:
                    return
                idle = 0 if self._running else idle + 1
                self._parked = idle >= LINGER
            _capi.increment_epoch(pointer)
