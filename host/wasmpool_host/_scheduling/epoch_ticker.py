"""The clock of a trio run: it advances the engines' epochs, so that a guest that still runs yields.

Compiled code compares its engine's epoch with the store's deadline in each loop and each call, and
yields once the deadline is reached: one tick after the guest was last resumed. A yield does no harm
to a guest that may continue, so one tick may be for all guests.

Most slices on the trio thread end after some microseconds and need no tick. A thread that ticks
regularly anyway has to take the interpreter's lock each time, from a loop that releases and
takes it with every call: this made short calls a tenth slower and executes a fifth slower, and took
a CPU from the guests that compute. So the epoch is advanced only when a slice needs it:

* The first slice of a call, on the trio thread, may last about `SLICE`, and so may the first one
  after a host call. The code that starts it makes sure that the timer expires by then (`renew`).
  While such slices follow each other, the timer is postponed, at most once a millisecond, and no
  thread wakes up (a dead man's switch).
* A later slice may also last `SLICE` (`enter`); most of these are on a worker thread. For them the
  timer is not postponed, and the ticks continue until all later slices have ended. With slices ten
  times as long, the guests get 4 % more done, but a kernel with two computing threads on two CPUs
  is slow to take a CPU away: the loop was late by half as much again.
* A guest that is to be stopped gets a tick at once (`tick`), from the thread that stops it. The
  ticker's thread would have to get a CPU first, and then the interpreter's lock.

The ticker's thread needs a CPU at once, also while guests compute on all of them
(`request_short_slice`): without this, a slice of one millisecond sometimes took four or more.

Correctness: each slice must have a tick ahead that counts, or its guest spins forever and no cancel
ends it.

- A later slice: its deadline is set when the guest is resumed from the yield of its last slice. A
  tick after the timer was armed but before the resume has no effect on it. This is why the ticks
  continue while later slices run.
- A guest that is to be stopped, and that its worker has not resumed yet: the tick that was for it
  comes too early. It is a later slice, so another tick follows.
- A first slice: its deadline was set when the store was made, or when the guest was last resumed
  from such a yield, and a host call leaves it as it is, so any tick after the check of ``renew_at``
  counts. There is one: ``renew_at`` is in the future only while the timer is armed, and zero from
  before the epoch is advanced until the timer is armed again. On one trio thread, slices run one
  after the other, and each trio run has its own ticker, so a timer that is postponed always belongs
  to a first slice that has ended.

That holds without the interpreter's lock as well, though ``renew_at`` is read without `_lock`, and
the epoch without any. What must not happen is that a thread sets a deadline by the advanced epoch,
and then reads a ``renew_at`` of before: then no tick is ahead. So it takes `_lock` between the two,
in `leave` after a later slice, and in `open` after a store was made. A tick zeroes
``renew_at`` and advances the epoch while it has `_lock`. If it had it before the thread did, the
thread reads zero; otherwise the thread has seen the epoch of before. This does not depend on the
order in which a processor makes two writes visible. A ``renew_at`` that is too old in any other way
is smaller, and costs a `renew` that was not needed.
"""

from __future__ import annotations

import threading
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Final, final

from trio.lowlevel import RunVar

from .sched_slice import request_short_slice
from .timerfd import Timer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Ticker", "ticker_of_this_run"]

SLICE: Final = 0.001
"""Seconds of a slice, on average. After it, a guest on the trio thread moves to a worker thread. If
shorter, guests move that are nearly done; if longer, the loop is late."""

RENEW_INTERVAL: Final = 0.001
"""Minimum seconds between two times that the timer is postponed. To postpone it costs about 30 us,
of which the system call is the smallest part. Slices differ in length by up to this interval."""


@final
class Ticker:
    """Advances the epoch when a tick is due, in a thread that runs while an instance is open."""

    # Invariants, under `_lock`:
    # - `_thread` and `_timer` are None if and only if no instance is open, or none has run yet
    # - `_armed` implies that the timer will expire by `_due`, or has expired and the thread has not
    #   handled it yet
    # - `renew_at` is 0 unless `_armed`
    # - `_due` is infinite unless a later slice runs
    # - while a later slice runs, the timer is armed

    __slots__ = (
        "_advance_epochs", "_armed", "_due", "_generation", "_later", "_lock", "_open", "_thread",
        "_timer", "renew_at",
    )  # fmt: skip

    def __init__(self, advance_epochs: Callable[[], None]) -> None:
        self._advance_epochs = advance_epochs
        self._lock = threading.Lock()
        self._open = 0
        self._armed = False
        self._later = 0
        """Running slices that are not the first of their call."""
        self._due = inf
        self._timer: Timer | None = None
        self._thread: threading.Thread | None = None
        self._generation = 0
        self.renew_at: float = 0.0
        """A first slice that starts after this `perf_counter` time must call `renew` first."""

    def renew(self, now: float) -> None:
        """The first slice of a call, or after a host call, starts now, on the trio thread."""
        with self._lock:
            self._arm(min(SLICE + RENEW_INTERVAL / 2, self._due - now))
            self.renew_at = now + RENEW_INTERVAL

    def enter(self) -> None:
        """A later slice starts, on any thread."""
        with self._lock:
            if not self._armed:
                self._arm(SLICE)
            self._due = min(self._due, perf_counter() + SLICE)
            self._later += 1

    def leave(self) -> None:
        """A later slice has ended."""
        with self._lock:
            self._later -= 1
            if not self._later:
                self._due = inf

    def tick(self) -> None:
        """Make all guests yield that run now, from another thread than theirs."""
        with self._lock:
            self._advance_epochs()

    def open(self) -> None:
        """An instance was opened: its store was made on this thread, and its deadline set.

        It has not run yet.
        """
        with self._lock:  # after the deadline: see "Correctness" above
            self._open += 1

    def close(self) -> None:
        """An instance was closed. The last one ends the thread, and waits until it has ended."""
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
        request_short_slice()
        while True:
            timer.wait()
            with self._lock:
                if self._generation != generation:
                    return
                self.renew_at = 0.0
                self._advance_epochs()
                self._armed = bool(self._later)
                self._due = perf_counter() + SLICE if self._later else inf
                if self._later:
                    timer.arm(SLICE)


_of_this_run: RunVar[Ticker] = RunVar("wasmpool_ticker")


def ticker_of_this_run(advance_epochs: Callable[[], None]) -> Ticker:
    """The ticker of the current trio run; it advances the epochs of all engines."""
    try:
        return _of_this_run.get()
    except LookupError:
        ticker = Ticker(advance_epochs)
        _of_this_run.set(ticker)
        return ticker
