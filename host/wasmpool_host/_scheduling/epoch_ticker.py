"""The clock of a trio run: it advances the epoch under a guest that runs on, so that it yields.

A guest looks at the engine's epoch on each loop and each call, and yields once its deadline has
passed: one tick after it last went on. A yield is harmless to a guest that should go on, so a
tick may be for all of them.

Most slices on the trio thread are over after some microseconds, and need no tick. A thread that
ticks regularly all the same has to take the interpreter's lock each time, from a loop that gives
it up and takes it back with every call: that made short calls a tenth slower, executes a fifth,
and took a CPU from the guests that compute. So there is a tick only when somebody needs one.

* The first slice of a call, on the trio thread, may last for `SLICE`, about. Whoever starts one
  sees to it that the timer goes off by then (`renew`). As long as such slices come and go it is
  put off, once a millisecond at most, and no thread wakes up: a dead man's switch.
* Any later slice may last for `SLICE` as well (`enter`); most are in a worker's thread. For these
  the timer is not put off, and ticks go on until all of them are over. With ten times as much the
  guests get 4 % more done, but a kernel that has two threads computing on two CPUs is not quick to
  take one away: the loop was late by half as much again.
* A guest that is to be stopped gets a tick at once (`hasten`).

The thread that ticks has to get a CPU for it, while guests compute on all of them (`be_prompt`):
without that a slice was four milliseconds and more where it should have been one, now and then.

What must hold is that each slice has a tick coming that counts, or its guest spins for ever and
no cancel ends it. A deadline is set as the guest goes on, so a tick that comes after the timer
was armed, but before that, is lost on it. Hence the ticks that go on, for later slices. In a
first slice nothing is lost: the deadline that counts there was set when that store's last call
went on, so any tick after ``renew_at`` was looked at will do. And there is one: ``renew_at`` is in
the future only while the timer is armed, and zero from before the epoch is advanced until it is
armed again. On a trio thread one slice comes after the other, and each trio run has a ticker of
its own, so what is put off is always a first slice's predecessor.
"""

from __future__ import annotations

import threading
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Final, final

from trio.lowlevel import RunVar

from wasmpool_host import _capi

from .sched_slice import be_prompt
from .timerfd import Timer

if TYPE_CHECKING:
    import wasmtime

__all__ = ["Ticker", "ticker_of_this_run"]

SLICE: Final = 0.001
"""Seconds of a slice, on the average. On the trio thread a computing guest then moves to a worker's
thread: shorter, and guests move that are nearly done; longer, and the loop is late."""

PUT_OFF: Final = 0.001
"""Seconds between two times that the timer is put off, at least: that costs some 30 us, of which
the system call is the smallest part. It makes a slice up to so much longer than the shortest."""


@final
class Ticker:
    """Advances the epoch when it is due, in a thread that lasts as long as an instance is open."""

    # Invariants, under `_lock`:
    # - `_thread` and `timerfd` are None if and only if no instance is open, or none has run yet
    # - `_armed` implies that the timer will go off, or has and the thread has not seen it yet,
    #   by `_due` at the latest
    # - `renew_at` is 0 unless `_armed`
    # - `_due` is infinite unless a later slice runs, or a tick was asked for
    # - while a later slice runs, the timer is armed

    __slots__ = (
        "_armed", "_due", "_engine", "_generation", "_later", "_lock", "_open", "_thread", "_timer",
        "renew_at",
    )  # fmt: skip

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine  # held, so that its address stays good
        self._lock = threading.Lock()
        self._open = 0
        self._armed = False
        self._later = 0
        """Slices under way that are not the first of their call."""
        self._due = inf
        self._timer: Timer | None = None
        self._thread: threading.Thread | None = None
        self._generation = 0
        self.renew_at: float = 0.0
        """A first slice that starts later than this, by `perf_counter`, is to `renew` first."""

    def renew(self, now: float) -> None:
        """The first slice of a call starts now, on the trio thread."""
        with self._lock:
            self._arm(min(SLICE + PUT_OFF / 2, self._due - now))
            self.renew_at = now + PUT_OFF

    def enter(self) -> None:
        """A later slice starts, on any thread."""
        with self._lock:
            if not self._armed:
                self._arm(SLICE)
            self._due = min(self._due, perf_counter() + SLICE)
            self._later += 1

    def leave(self) -> None:
        """That slice is over."""
        with self._lock:
            self._later -= 1
            if not self._later:
                self._due = inf

    def hasten(self) -> None:
        """A guest in a worker's thread is to yield, or one that is about to run there."""
        with self._lock:
            self._due = 0.0
            self._arm(0)

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
            timer.arm(0)
        thread.join()
        timer.close()

    def _arm(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._start()
        self._timer.arm(seconds)
        self._armed = True

    def _start(self) -> Timer:
        timer = Timer()
        thread = threading.Thread(
            target=self._run,
            args=(self._generation, timer),
            name="wasmpool ticker",
            daemon=True,
        )
        try:
            thread.start()
        except BaseException:
            timer.close()
            raise
        self._thread = thread
        return timer

    def _run(self, generation: int, timer: Timer) -> None:
        pointer = _capi.raw(self._engine)
        be_prompt()
        while True:
            timer.wait()
            with self._lock:
                if self._generation != generation:
                    return
                self.renew_at = 0.0
                _capi.increment_epoch(pointer)
                self._armed = bool(self._later)
                self._due = perf_counter() + SLICE if self._later else inf
                if self._later:
                    timer.arm(SLICE)


_of_this_run: RunVar[Ticker] = RunVar("wasmpool_ticker")


def ticker_of_this_run(engine: wasmtime.Engine) -> Ticker:
    """The one of the trio run that is under way; there is but one engine."""
    try:
        return _of_this_run.get()
    except LookupError:
        ticker = Ticker(engine)
        _of_this_run.set(ticker)
        return ticker
