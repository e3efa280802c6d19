"""What the pool does because time passes.

Each concern has one alarm, set for the earliest of its deadlines. When it goes off, the core deals
with all that are due, and the alarm is set for the next. An alarm may go off in vain, when its
reason has ended early: that costs one test, far less than a timer that each lease sets and stops.
"""

from __future__ import annotations

import logging
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, final

from wasmpool_host.lowlevel import (
    give_back_kept_memory,
    instances_opened,
    slots_keeping_memory,
)

from .alarm import Alarm
from .call_site import describe as describe_call_site
from .log_extra import LogExtra

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core import Core
    from .generation import Generation

__all__ = ["Deadlines"]

_LOGGER: Final = logging.getLogger("wasmpool")

_LULL: Final = 10.0
"""Seconds without a new instance in the process, after which slots give back what they keep."""


@final
class Deadlines:
    """A pool's alarms."""

    __slots__ = (
        "_core", "_graces", "_leak_after", "_max_idle", "_max_wait", "_opened", "_spawn", "ages",
        "backoff", "grace", "idle", "kept_memory", "leaks", "waits",
    )  # fmt: skip

    def __init__(self, core: Core, spawn: Callable[..., Any]) -> None:
        """``spawn(function, *args)`` runs an async function in a task of the pool."""
        self._core = core
        self._spawn = spawn
        self._leak_after = core.options.leak_after
        self._max_idle = core.options.max_idle
        self._max_wait = core.options.max_wait
        self._graces: dict[Generation, Alarm] = {}
        """Of generations that were replaced."""
        self.waits = Alarm(self._end_waits, spawn)
        self.leaks = Alarm(self._report_leaks, spawn)
        self.idle = Alarm(self._end_idle, spawn)
        self.ages = Alarm(self._end_aged, spawn)
        self.backoff = Alarm(core.end_backoff, spawn)
        self.grace = Alarm(core.cut_grace, spawn)
        self.kept_memory = Alarm(self._end_lull, spawn)
        self._opened = 0
        """How many instances the process had opened when `kept_memory` was set."""

    def stop(self) -> None:
        """Stop all alarms: the pool is closed."""
        for alarm in (
            self.waits, self.leaks, self.idle, self.ages, self.backoff, self.grace,
            self.kept_memory,
        ):  # fmt: skip
            alarm.stop()

    def let_go(self) -> None:
        """Drop the alarms, which refer to this object and to the core."""
        del self.waits, self.leaks, self.idle, self.ages, self.backoff, self.grace
        del self.kept_memory

    # --- max_wait ---

    def watch_waits(self) -> None:
        """Make sure that the first waiter does not wait for longer than ``max_wait``."""
        if not self._max_wait:  # None is no limit; with 0 the core fails waiters itself
            return
        waiters = self._core.waiters
        if waiters and self.waits.at == inf:
            first = next(iter(waiters.values()))
            self.waits.set(first.arrived + self._max_wait)

    def _end_waits(self) -> None:
        self._core.end_waits(self._core.now())
        self.watch_waits()

    # --- leak_after ---

    def watch_leases(self, now: float) -> None:
        """Make sure that a lease granted now is examined after ``leak_after``."""
        if self.leaks.at == inf and self._leak_after is not None:
            self.leaks.set(now + self._leak_after)

    def _report_leaks(self) -> None:
        core, limit = self._core, self._leak_after
        assert limit is not None
        now = core.now()
        for slot in core.leased:  # in the order of their grants
            if slot.reported:
                continue
            if slot.since + limit > now:
                self.leaks.set(slot.since + limit)
                return
            core.mark_reported(slot)
            assert slot.holder is not None
            _LOGGER.warning(
                "pool %r: instance %d has been leased for %.1f s (leak_after=%s) by task %r,"
                " taken at %s",
                core.name, slot.number, now - slot.since, limit, slot.holder.name,
                describe_call_site(slot.call_site), extra=LogExtra(core, slot),
            )  # fmt: skip

    # --- max_idle, max_age ---

    def watch_idle(self) -> None:
        """Make sure that idle instances above ``min_size`` retire after ``max_idle``."""
        if self._max_idle is None:
            return
        core = self._core
        if core.idle and core.current.active > core.min_size:
            longest = next(iter(core.idle))
            self.idle.set(longest.idle_since + self._max_idle)

    def _end_idle(self) -> None:
        self._core.end_idle(self._core.now())
        self.watch_idle()

    def watch_age(self, at: float) -> None:
        """Make sure that an instance retires at ``at``, or after its lease then."""
        self.ages.set(at)

    def _end_aged(self) -> None:
        core = self._core
        now = core.now()
        core.end_aged(now)
        serving = (*core.idle, *core.leased, *core.starting)  # the last: those being checked
        self.ages.set(min((slot.expires for slot in serving if slot.expires > now), default=inf))

    # --- the memory that slots keep ---

    def watch_kept_memory(self) -> None:
        """Make sure that the memory which free slots keep is given back in the next lull."""
        if self.kept_memory.at == inf and slots_keeping_memory():
            self._opened = instances_opened()
            self.kept_memory.set(self._core.now() + _LULL)

    def _end_lull(self) -> None:
        if instances_opened() == self._opened:
            self._spawn(give_back_kept_memory)
        else:
            self.watch_kept_memory()

    # --- back-off, graces ---

    def set_backoff(self, at: float) -> None:
        """End the pause of starts at ``at``."""
        self.backoff.set(at)

    def clear_backoff(self) -> None:
        """Starts do not pause any more."""
        self.backoff.stop()

    def set_grace(self, at: float) -> None:
        """End the grace of the close at ``at``, if it does not end earlier."""
        self.grace.set(at)

    def clear_grace(self) -> None:
        """The grace of the close has ended."""
        self.grace.stop()

    def set_generation_grace(self, generation: Generation, at: float) -> None:
        """End the grace of a replaced generation at ``at``."""
        alarm = Alarm(partial(self._core.end_generation, generation), self._spawn)
        self._graces[generation] = alarm
        alarm.set(at)

    def clear_generation_grace(self, generation: Generation) -> None:
        """The generation is gone."""
        alarm = self._graces.pop(generation, None)
        if alarm is not None:
            alarm.stop()
