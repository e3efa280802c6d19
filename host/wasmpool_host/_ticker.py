"""The clock of a trio run: it advances the epoch under a guest that runs on, so that it yields.

A guest looks at the engine's epoch on each loop and each call, and yields once its deadline has
passed. A yield is harmless to a guest that should go on, so a tick may be for all of them.

A slice lasts about a millisecond: the time after which a computing guest leaves the trio thread,
and within which a cancel hits. Shorter, and the ticks compete with the guests on a small
machine; longer, and the loop is late.

Most slices are over after some microseconds, and need no tick. A thread that ticks regularly
all the same has to take the interpreter's lock each time, from a loop that gives it up and takes
it back with every call: that made short calls a tenth slower and executes a fifth. So the ticker
is a dead man's switch. Whoever starts a slice sees to it that the timer goes off in a while
(`renew`); as long as slices come and go, it is put off, once a millisecond at most, and no
thread wakes up. Only a slice that runs on lets it go off. To put it off must not hurt those who
need the tick. On a trio thread one slice comes after the other, and each trio run has a ticker
of its own, so there is nobody else; and while a guest runs in a worker's thread, the timer stays
as it is.

What must hold is that each slice has a tick coming from the moment it starts, or its guest spins
for ever and no cancel ends it. It does if the epoch is advanced once at any time after
`renew_at` was looked at: the guest's deadline was set when it last yielded, to one tick from
then. And the epoch is: `renew_at` is below infinity and in the future only while the timer is
armed and more than a slice away, infinite only while it is armed, and zero from before the
epoch is advanced until the timer is armed again.
"""

from __future__ import annotations

import threading
from math import inf
from typing import TYPE_CHECKING, Final, final

from trio.lowlevel import RunVar

from . import _capi
from ._timer import Delay, Timer

if TYPE_CHECKING:
    import wasmtime

__all__ = ["Ticker", "ticker_of_this_run"]

SLICE: Final = 0.001
"""Seconds of a slice in a worker's thread, and of one in the trio thread on the average."""

PUT_OFF: Final = 0.001
"""Seconds between two times that the timer is put off at least: that costs some 30 us, of which
the system call is the smallest part. A slice lasts up to so much longer than the shortest one."""

_AFTER_A_SLICE: Final = Delay(SLICE)
_PUT_OFF: Final = Delay(SLICE - PUT_OFF / 2 + PUT_OFF)
_AT_ONCE: Final = Delay(1e-9)


@final
class Ticker:
    """Advances the epoch when it is due, in a thread that lasts as long as an instance is open."""

    # Invariants, under `_lock`:
    # - `_thread` and `_timer` are None if and only if no instance is open, or none has run yet
    # - `_armed` implies that the timer will go off, or has and the thread has not seen it yet
    # - `renew_at` is 0 unless `_armed`

    __slots__ = (
        "_armed", "_computing", "_engine", "_generation", "_lock", "_open", "_thread", "_timer",
        "renew_at",
    )  # fmt: skip

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine  # held, so that its address stays good
        self._lock = threading.Lock()
        self._open = 0
        self._armed = False
        self._computing = 0
        self._timer: Timer | None = None
        self._thread: threading.Thread | None = None
        self._generation = 0
        self.renew_at: float = 0.0
        """A slice that starts later than this, by `perf_counter`, is to call `renew` first."""

    def renew(self, now: float) -> None:
        """A slice starts now: see that the timer goes off, after a slice at the earliest."""
        with self._lock:
            if self._computing and self._armed:
                self.renew_at = inf
            else:
                self._arm(_PUT_OFF)
                self.renew_at = now + PUT_OFF

    def enter(self) -> None:
        """A slice starts in a worker's thread: the timer is not put off any more."""
        with self._lock:
            self._computing += 1
            if not self._armed:
                self._arm(_AFTER_A_SLICE)
            self.renew_at = inf

    def leave(self) -> None:
        """That slice is over."""
        with self._lock:
            self._computing -= 1

    def open(self) -> None:
        with self._lock:
            self._open += 1

    def close(self) -> None:
        """The last to close ends the thread, and waits for that."""
        with self._lock:
            self._open -= 1
            if self._open or self._thread is None or self._timer is None:
                return
            thread, self._thread = self._thread, None
            timer, self._timer = self._timer, None
            self._generation += 1
            self._armed = False
            self.renew_at = 0.0
            timer.arm(_AT_ONCE)
        thread.join()
        timer.close()

    def _arm(self, delay: Delay) -> None:
        if self._timer is None:
            self._timer = self._start()
        self._timer.arm(delay)
        self._armed = True

    def _start(self) -> Timer:
        timer = Timer()
        thread = threading.Thread(
            target=self._run,
            args=(self._generation, timer),
            name="wasmpool ticker",
            daemon=True,
        )
        thread.start()
        self._thread = thread
        return timer

    def _run(self, generation: int, timer: Timer) -> None:
        pointer = _capi.raw(self._engine)
        while True:
            timer.wait()
            with self._lock:
                if self._generation != generation:
                    return
                self._armed = False
                self.renew_at = 0.0
            _capi.increment_epoch(pointer)


_of_this_run: RunVar[Ticker] = RunVar("wasmpool_ticker")


def ticker_of_this_run(engine: wasmtime.Engine) -> Ticker:
    """The one of the trio run that is under way; there is but one engine."""
    try:
        return _of_this_run.get()
    except LookupError:
        ticker = Ticker(engine)
        _of_this_run.set(ticker)
        return ticker
