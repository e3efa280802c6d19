"""What the pool does because time passes.

Each concern has one alarm, set for the earliest of its deadlines. When it goes off, it deals with
all that are due and is set for the next. An alarm may go off in vain, as whatever set it is over;
that costs one look, and far less than calling off a timer with each lease.
"""

from __future__ import annotations

import logging
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, final

import trio

from .alarm import Alarm
from .call_site import describe as describe_place
from .closing import cut_grace
from .retire_reason import RetireReason

if TYPE_CHECKING:
    from .core import Core

__all__ = ["Timers"]

_LOGGER: Final = logging.getLogger("wasmpool")


@final
class Timers:
    """A pool's alarms."""

    __slots__ = ("_core", "_leak_after", "_max_idle", "_max_wait", "ages", "backoff", "grace",
                 "idle", "leaks", "waits")  # fmt: skip

    def __init__(self, core: Core) -> None:
        self._core = core
        self._leak_after = core.options.leak_after
        self._max_idle = core.options.max_idle
        self._max_wait = core.options.max_wait
        self.waits = Alarm(self._end_waits, core.spawn)
        self.leaks = Alarm(self._report_leaks, core.spawn)
        self.idle = Alarm(self._end_idle, core.spawn)
        self.ages = Alarm(self._end_aged, core.spawn)
        self.backoff = Alarm(self._end_backoff, core.spawn)
        self.grace = Alarm(partial(cut_grace, core), core.spawn)

    def stop(self) -> None:
        """Nothing is left to be done."""
        for alarm in (self.waits, self.leaks, self.idle, self.ages, self.backoff, self.grace):
            alarm.stop()

    def let_go(self) -> None:
        """Let go of the alarms, which have these timers."""
        del self.waits, self.leaks, self.idle, self.ages, self.backoff, self.grace

    # --- max_wait ---

    def watch_waits(self) -> None:
        """See to it that the first in line does not wait for longer than ``max_wait``."""
        if not self._max_wait:  # without a limit, or `advance` sees to it
            return
        if self._core.line and self.waits.at == inf:
            first = next(iter(self._core.line.values()))
            self.waits.set(first.arrived + self._max_wait)

    def _end_waits(self) -> None:
        """All wait for equally long at most: who came first is due first."""
        core, limit = self._core, self._max_wait
        assert limit is not None
        now = trio.current_time()
        while core.line:
            first = next(iter(core.line.values()))
            if first.arrived + limit > now:
                self.waits.set(first.arrived + limit)
                break
            core.time_out(first)
        core.advance()

    # --- leak_after ---

    def watch_leaks(self, now: float) -> None:
        """See to it that a lease granted now is looked at after ``leak_after``."""
        if self.leaks.at == inf and self._leak_after is not None:
            self.leaks.set(now + self._leak_after)

    def _report_leaks(self) -> None:
        limit = self._leak_after
        assert limit is not None
        now = trio.current_time()
        for slot in self._core.leased:  # in order of their grants
            if slot.reported:
                continue
            if slot.since + limit > now:
                self.leaks.set(slot.since + limit)
                return
            slot.reported = True
            assert slot.holder is not None
            _LOGGER.warning(
                "pool %r: instance %d has been leased for %.1f s (leak_after=%s) by task %r,"
                " taken at %s",
                self._core.name, slot.number, now - slot.since, limit, slot.holder.name,
                describe_place(slot.place),
            )  # fmt: skip

    # --- max_idle, max_age ---

    def watch_idle(self) -> None:
        """See to it that idle instances above ``min_size`` go after ``max_idle``."""
        core = self._core
        if self._max_idle is not None and core.idle and core.current.active > core.min_size:
            self.idle.set(next(iter(core.idle)).idle_since + self._max_idle)

    def _end_idle(self) -> None:
        core, limit = self._core, self._max_idle
        assert limit is not None
        now = trio.current_time()
        while core.idle and core.current.active > core.min_size:
            slot = next(iter(core.idle))  # idle for longest
            if slot.idle_since + limit > now:
                break
            core.retire_idle(slot, RetireReason.IDLE)
        self.watch_idle()

    def _end_aged(self) -> None:
        """Retire idle instances that are too old; leased ones retire when they are given back."""
        core = self._core
        now = trio.current_time()
        for slot in tuple(core.idle):
            if slot.expires <= now:
                core.retire_idle(slot, RetireReason.AGE)
        serving = (*core.idle, *core.leased, *core.starting)  # the last: those being checked
        coming = (slot.expires for slot in serving if slot.expires > now)
        self.ages.set(min(coming, default=inf))
        core.advance()

    # --- back-off ---

    def _end_backoff(self) -> None:
        self._core.backoff.holds = False
        self._core.advance()
