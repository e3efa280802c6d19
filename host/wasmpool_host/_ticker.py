"""The clock of an engine: it advances the epoch while a guest runs, so that a guest can be stopped.

A guest looks at the epoch on each loop and each call, and yields once its deadline has passed.
A yield is harmless to a guest that should go on, so one ticker serves all instances of an
engine.

The period is a millisecond: the time after which a computing guest leaves the trio thread, and
within which a cancel hits. Shorter, and the thread that ticks competes with the guests on a
small machine; longer, and the loop is late.

The ticker parks when no guest has begun a slice for a while. It must not lose a wake-up between
"has anybody asked" and parking, or a guest that starts in between spins for ever and no cancel
ends it. A lock on both sides would do, and be half of what a short call costs beside its guest.
Instead each side writes its own flag before it reads the other's: who starts a slice writes
`wanted` and then reads `parked`, the ticker writes `parked` and then reads `wanted` again. The
interpreter runs one thread's bytecode at a time, in order, so at least one of them sees the
other; if both do, there is a tick more. Who is running need not be counted, since a slice ends
at the next tick: one that is longer, in an instruction that does not look at the epoch, is past
its deadline already.
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
"""Ticks without a new slice before the ticker parks: to wake it costs more than a few."""


@final
class Ticker:
    """Ticks while guests run, in a thread that lasts as long as an instance is open."""

    # Invariants:
    # - who reads `parked` as false after writing `wanted` has a tick coming
    # - under `_lock`, `_thread` is None if and only if no instance is open, or none has run yet;
    #   `parked` is true then

    __slots__ = ("_engine", "_generation", "_lock", "_open", "_thread", "_wake", "parked", "wanted")

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine  # held, so that its address stays good
        self._lock = threading.Lock()
        self._wake = (
            threading.Lock()
        )  # released to wake the thread; a bare lock is the cheapest timer
        self._open = 0
        self._thread: threading.Thread | None = None
        self._generation = 0
        self.parked: bool = True
        """Whether nobody ticks, so that `unpark` is due before a guest runs."""
        self.wanted: bool = False
        """Whether a slice has begun since the last tick."""

    def want(self) -> None:
        """A slice is about to begin, on any thread. The hot path has these lines itself."""
        self.wanted = True
        if self.parked:
            self.unpark()

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
            self.parked = True
            self._rouse()
        thread.join()

    def unpark(self) -> None:
        """Go on ticking; ``wanted`` is set."""
        with self._lock:
            if not self.parked:
                return
            if self._thread is None:
                self._start()
            self.parked = False
            self._rouse()

    def _start(self) -> None:
        self._wake = threading.Lock()
        self._wake.acquire()
        thread = threading.Thread(
            target=self._run,
            args=(self._generation, self._wake),
            name="wasmpool ticker",
            daemon=True,
        )
        thread.start()
        self._thread = thread

    def _rouse(self) -> None:
        if self._wake.locked():
            self._wake.release()

    def _run(self, generation: int, wake: threading.Lock) -> None:
        pointer = _capi.raw(self._engine)
        idle = 0
        while True:
            if self.parked:
                wake.acquire()
            wake.acquire(timeout=PERIOD)
            with self._lock:
                if self._generation != generation:
                    return
                idle = 0 if self.wanted else idle + 1
                self.wanted = False
                if idle >= LINGER:
                    self._park()
            _capi.increment_epoch(pointer)

    def _park(self) -> None:
        self.parked = True
        if self.wanted:  # by who may have read `parked` just before
            self.parked = False
