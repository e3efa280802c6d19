"""The pool's transitions: every change of its state happens here, in synchronous code.

Nothing in this file waits. Each public method is one transition, complete when it returns: it
takes an instance from one state to the next, settles whoever that concerns, and has the pool's
tasks (`Work`) begin what takes time: starts, checks, closes. So between two checkpoints nobody
sees a pool in the midst of something, there are no locks, and a cancellation finds no moment to
hit. Only instruments run in the midst of a transition, and the first slices of calls in line, with
the conversion of their arguments (`serve`).

`advance` alone decides what the pool should do next. Every transition that may have changed the
answer ends with it.

The line is an ordered dict by task, as a task waits once at a time: joining, being granted and
giving up in mid-line take the same time at any length. Idle instances are a dict whose end is
the one used most recently: last in, first out, so that caches are warm and the rest can shrink.

Invariants (`_invariants.check` looks at all of them; the tests call it after each step):

1.  An instance has at most one lease; a lease exactly one instance: a slot is in the table of its
    state and in no other, and has a holder if and only if it is leased.
2.  Live instances never exceed ``size``; during a reload never ``size + surge``. After a
    `Pool.resize` below what is in use, the excess only shrinks.
3.  While a task waits, no instance of the current generation is idle, unless one is being checked
    for each waiter; and no more may be started, unless one is being started or checked for each.
4.  Leases are granted in order of arrival: only the head of ``line`` is granted one, and whoever
    asks while the line is not empty joins its end.
5.  Nobody is granted an instance of a generation that was replaced: ``idle`` holds none but those
    of the current one, and what comes from a start, a check or a lease is looked at again.
6.  Conservation: asked = settled + waiting; started = closed + live; each closed instance has
    exactly one retire reason.
7.  Nothing outlives the pool: it is CLOSED only when nothing is live and nobody waits.
8.  A cancellation leaves all of this true: it can only take a waiter out of the line (`give_up`),
    or end a start (`start_abandoned`).
9.  No poisoned or closed instance becomes idle or is granted, whatever its setup, its check or its
    last lease did to it. One that other code spoils while it idles is found at the next ask.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool._errors import PoolClosed, PoolSaturated, PoolTimeout
from wasmpool_host.lowlevel import has_headroom

from .advance import advance, may_begin
from .alarm import Alarm
from .backoff import Backoff
from .closing import end_generation
from .counters import Counters
from .deadlines import Timers
from .fitness import why_unfit
from .pool_state import PoolState
from .retire_reason import RetireReason
from .slot import Slot, SlotState
from .snapshot import describe, lease_info
from .waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from .call_site import Place
    from .generation import Generation
    from .instruments import Instruments
    from .maintenance import Work
    from .options import Options

__all__ = ["Core"]

_FRESH: Final = 1.0  # seconds: an instance idle for no longer serves again without a check
_JITTER: Final = 0.05  # of max_uses and max_age: instances do not retire in step
_RUNS: Final = 16  # calls in line that are run in one step; their guests' time is bounded anyway
_IDLE: Final = SlotState.IDLE  # on the way of each call, where an enum's look-up would show


@final
class Core:
    """A pool's state and its transitions."""

    __slots__ = (
        "_check", "_max_memory", "_numbers", "backoff", "canary_waits", "closed", "counters",
        "current", "freed", "generations", "held", "idle", "instruments", "leased", "line",
        "min_size", "name", "now", "options", "random", "reload_lock", "reloading", "retiring",
        "size", "starting", "state", "stuck", "timers", "work",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        options: Options,
        first: Generation,
        random: Random,
        instruments: Instruments,
    ) -> None:
        self.name = name
        self.options = options
        self._check = options.check
        self._max_memory = options.max_memory
        self.now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        """The time of the run, as `trio.current_time` has it."""
        self.instruments = instruments
        self.random = random
        self.work: Work  # set by Work, which is made with the core

        self.state = PoolState.OPEN
        self.closed = trio.Event()
        """Set with the state CLOSED."""
        self.size = options.size
        self.min_size = options.min_size
        self.current = first
        """The generation in service."""
        self.generations = [first]
        """All that are alive, oldest first: replaced ones, the current one, one being prepared."""

        self.idle: dict[Slot, None] = {}
        """Of the current generation only; the last was used most recently."""
        self.leased: dict[Slot, None] = {}
        """In order of their grants."""
        self.starting: dict[Slot, None] = {}
        self.retiring: dict[Slot, None] = {}
        self.line: OrderedDict[trio.lowlevel.Task, Waiter] = OrderedDict()
        """Who waits, first come first."""
        self.held: dict[trio.lowlevel.Task, int] = {}
        """How many leases a task holds; no zeros."""
        self.stuck = 0
        """How many leases are held by tasks that themselves wait in line."""
        self.canary_waits = False
        """A reload waits for a free place: it comes first, or growth would starve it."""
        self.freed = trio.lowlevel.ParkingLot()
        """Where it waits."""
        self.reload_lock = trio.Lock()
        """Reloads are made ready one after another."""
        self.reloading: set[trio.CancelScope] = set()
        """What ends the reloads under way when the pool closes."""

        self.backoff = Backoff(random)
        self.timers = Timers(self)
        self.counters = Counters()
        self._numbers = 0

    def spawn(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function in a task of the pool."""
        self.work.spawn(function, *args)

    # --- asking ---

    def peek(self) -> Slot | None:
        """The idle instance that the next asker would get, or None."""
        if self.line or not self.idle:
            return None
        slot = next(reversed(self.idle))
        if slot.instance.poisoned is not None:
            self.retire_unfit()
            self.advance()
            return self.peek()
        if self._check is None or self.is_fresh(slot, self.now()):
            return slot
        return None

    def retire_unfit(self) -> None:
        """Retire the idle instances that other code has poisoned or closed.

        A setup may have kept them. The pool is not told, so it finds out when one is asked for.
        """
        now = self.now()
        for slot in tuple(self.idle):
            if slot.instance.poisoned is not None:
                self.retire_idle(slot, self._why_spent(slot, now))

    def take(self, task: trio.lowlevel.Task, place: Place | None) -> Slot | None:
        """Grant an idle instance, if there is one and nobody is in line."""
        slot = self.peek()
        if slot is not None:
            self.hold(slot, task, place, self.now())
        return slot

    def hold(self, slot: Slot, task: trio.lowlevel.Task, place: Place | None, now: float) -> None:
        """Grant what `peek` gave; nothing, if the task has it already."""
        if slot.state is _IDLE:
            del self.idle[slot]
            self.counters.asked += 1
            self._grant(slot, task, place, now, 0.0)

    def refuse(self) -> Exception:
        """What somebody gets who does not want to wait, and found nothing with `take`."""
        self.counters.asked += 1
        if self.state is not PoolState.OPEN:
            self.counters.refused_closed += 1
            return self._closed_error()
        self.counters.would_block += 1
        return trio.WouldBlock()

    def join(
        self,
        task: trio.lowlevel.Task,
        place: Place | None,
        begin: Callable[[Any], Any] | None = None,
    ) -> Waiter:
        """Stand in line, after `take` found nothing.

        ``begin`` is for who wants no more than a call: it runs the first slice in an instance.

        Raises:
            PoolClosed, PoolSaturated: without standing in line.
        """
        if self.state is not PoolState.OPEN:
            raise self.refuse()
        self.counters.asked += 1
        limit = self.options.max_waiting
        if limit is not None and len(self.line) >= limit and not may_begin(self):
            self.counters.saturated += 1
            raise PoolSaturated(
                f"pool {self.name!r}: max_waiting={limit} tasks wait already: {describe(self)}"
            )
        waiter = Waiter(task, self.now(), place, self.give_up, begin)
        self.line[task] = waiter
        self.stuck += self.held.get(task, 0)
        if self.instruments.active:
            self.instruments.tell("waiting", len(self.line))
        self.advance()
        self.timers.watch_waits()
        return waiter

    def give_up(self, waiter: Waiter) -> bool:
        """Its task was cancelled while it waited; whether it still was in line."""
        if self.line.get(waiter.task) is not waiter:  # an instrument cancels it, or an argument
            return False
        self._leave_line(waiter)
        self.counters.cancelled += 1
        self.advance()
        return True

    def time_out(self, waiter: Waiter) -> None:
        """It has waited for ``max_wait``, or would have to wait in line although that is 0."""
        error = PoolTimeout(
            f"pool {self.name!r}: no instance within max_wait={self.options.max_wait} s:"
            f" {describe(self)}"
        )
        self.counters.timed_out += 1
        self.fail(waiter, error)

    def refuse_line(self) -> None:
        """Everybody in line gets PoolClosed."""
        while self.line:
            self.counters.refused_closed += 1
            self.fail(next(iter(self.line.values())), self._closed_error())

    def _leave_line(self, waiter: Waiter) -> None:
        del self.line[waiter.task]
        self.stuck -= self.held.get(waiter.task, 0)

    def fail(self, waiter: Waiter, error: Exception) -> None:
        """Take a waiter out of the line with an error."""
        self._leave_line(waiter)
        waiter.settle(None, error)

    def _closed_error(self) -> PoolClosed:
        return PoolClosed(f"pool {self.name!r} is {self.state.value}: it grants no leases")

    # --- leases ---

    def is_fresh(self, slot: Slot, now: float) -> bool:
        """Whether an idle instance may serve without a check."""
        return self.options.check is None or now - slot.idle_since <= _FRESH

    def _grant(
        self, slot: Slot, task: trio.lowlevel.Task, place: Place | None, now: float, waited: float
    ) -> None:
        assert slot.generation is self.current
        slot.state = SlotState.LEASED
        slot.holder = task
        slot.since = now
        slot.place = place
        slot.uses += 1
        self.leased[slot] = None
        held = self.held
        held[task] = held.get(task, 0) + 1
        counters = self.counters
        counters.granted += 1
        counters.wait_seconds.record(waited)
        self.timers.watch_leaks(now)
        if self.instruments.active:
            slot.info = lease_info(slot)
            self.instruments.tell("lease_granted", slot.info, waited)
        if self.options.max_uses == 1:
            self.advance()  # a spare

    def end_call(self, slot: Slot, began: float) -> None:
        """End a call on what `peek` gave, or on what is leased.

        Where the call was done in one step, there was no lease that anybody could have seen. It
        counts as one.
        """
        if slot.state is not _IDLE:
            self.give_back(slot)
            return
        now = self.now()
        slot.uses += 1
        slot.idle_since = now
        counters = self.counters
        counters.asked += 1
        counters.granted += 1
        counters.wait_seconds.zeros += 1
        counters.lease_seconds.record(now - began)
        if self._is_spent(slot, now):
            self.retire_idle(slot, self._why_spent(slot, now))
            self.advance()

    def give_back(self, slot: Slot) -> None:
        """End a lease; nothing, if it was revoked."""
        if slot.state is not SlotState.LEASED:
            return
        now = self.now()
        self.end_lease(slot, now)
        reason = self._why_not_again(slot, now)
        if reason is not None:
            self.retire(slot, reason)
        elif self.serve(slot, now) and self.state is PoolState.OPEN:
            return
        self.advance()

    def end_lease(self, slot: Slot, now: float) -> None:
        """Take a lease from its holder; what becomes of the slot is the caller's to say."""
        task = slot.holder
        assert task is not None
        if self.instruments.active:  # first: what they read adds up as long as it is in a table
            self.instruments.tell("lease_ended", slot.info or lease_info(slot), now - slot.since)
        del self.leased[slot]
        held = self.held.pop(task) - 1
        if held:
            self.held[task] = held
        if self.line and task in self.line:
            self.stuck -= 1
        self.counters.lease_seconds.record(now - slot.since)
        slot.holder = None
        slot.info = None
        slot.reported = False

    def _why_not_again(self, slot: Slot, now: float) -> str | None:
        """The reason for which an instance retires after a lease, if there is one."""
        if self._is_spent(slot, now):
            return self._why_spent(slot, now)
        return self._why_unwanted(slot)

    def _is_spent(self, slot: Slot, now: float) -> bool:
        """Whether an instance retires after a call, by what has become of it."""
        instance, max_memory = slot.instance, self._max_memory
        return (
            instance.poisoned is not None
            or slot.discarded
            or slot.uses >= slot.last_use
            or now >= slot.expires
            or (max_memory is not None and instance.memory_size > max_memory)
        )

    def _why_spent(self, slot: Slot, now: float) -> str:
        """The reason that counts."""
        poisoned = slot.instance.poisoned
        if poisoned is not None:  # in a word of its own, if it has one that is not known here
            return poisoned if poisoned in self.counters.retired else RetireReason.HOST_ERROR
        if slot.discarded:
            return RetireReason.DISCARDED
        unwanted = self._why_unwanted(slot)
        if unwanted is not None:
            return unwanted
        if slot.uses >= slot.last_use:
            return RetireReason.USES
        return RetireReason.AGE if now >= slot.expires else RetireReason.MEMORY

    def _why_unwanted(self, slot: Slot) -> RetireReason | None:
        """Why there is no place for an instance that could serve."""
        if slot.generation is not self.current:
            return RetireReason.REPLACED
        if self.state is not PoolState.OPEN and not self.line:
            return RetireReason.CLOSED
        if self.current.active > self.size:
            return RetireReason.SHRUNK
        return None

    def serve(self, slot: Slot, now: float) -> bool:
        """Give an instance to the first in line, else let it idle; it is in no table.

        Calls that are over at once are run here, one after the other. False: one of them came to
        what the instance retires for, and `advance` is up to the caller.
        """
        runs = _RUNS if self.line and has_headroom() else 0
        while self.line:
            waiter = next(iter(self.line.values()))
            self._leave_line(waiter)
            self._grant(slot, waiter.task, waiter.place, now, now - waiter.arrived)
            if not (runs and waiter.call_ends_in(slot)):
                waiter.settle(slot)
                return True
            runs -= 1
            now = self.now()
            self.end_lease(slot, now)
            waiter.settle(None)
            reason = self._why_not_again(slot, now)
            if reason is not None:
                self.retire(slot, reason)
                return False
        slot.state = SlotState.IDLE
        slot.idle_since = now
        self.idle[slot] = None
        self.timers.watch_idle()
        return True

    # --- starts and checks ---

    def begin_start(self, generation: Generation) -> Slot:
        """Take a place for a new instance. Its preparation is the caller's to begin."""
        self._numbers += 1
        slot = Slot(self._numbers, generation, self.now(), trio.CancelScope())
        slot.round = self.backoff.round
        self.starting[slot] = None
        generation.live += 1
        generation.starting += 1
        self.counters.started += 1
        return slot

    def started(self, slot: Slot) -> None:
        """A start has come to its end: the instance serves, unless it is unfit or too late."""
        unfit = why_unfit(self.name, slot) if self._why_unwanted(slot) is None else None
        if unfit is not None:
            self.start_failed(slot, unfit)
            return
        now = self.now()
        self.counters.start_seconds.record(slot.took)
        self._draw_limits(slot)
        if slot.generation is self.current:
            self.backoff.reset()
            self.timers.backoff.stop()
        if self.instruments.active:
            self.instruments.tell(
                "instance_started", slot.number, slot.generation.number, slot.took
            )
        self._arrive(slot, now)

    def checked(self, slot: Slot) -> None:
        """An idle instance was found healthy; it may have become too old meanwhile."""
        now = self.now()
        if now >= slot.expires:
            self.start_abandoned(slot, RetireReason.AGE)
        else:
            self._arrive(slot, now)

    def start_failed(self, slot: Slot, error: Exception) -> None:
        """Start or setup failed, or took too long."""
        if slot.generation is self.current:
            pause = self.backoff.failed(slot.round, error)
            if pause is not None:
                self.timers.backoff.set(self.now() + pause)
        self.start_abandoned(slot, RetireReason.FAILED_START)

    def start_abandoned(self, slot: Slot, reason: str | None = None) -> None:
        """A start or check does not lead to service; without a reason, as it is not wanted."""
        self._leave_starting(slot)
        self.retire(slot, reason or self._why_unwanted(slot) or RetireReason.CLOSED)
        self.advance()

    def _arrive(self, slot: Slot, now: float) -> None:
        reason = self._why_unwanted(slot)
        if reason is None:
            self._leave_starting(slot)
            self.serve(slot, now)
            self.advance()
        else:
            self.start_abandoned(slot, reason)

    def _leave_starting(self, slot: Slot) -> None:
        del self.starting[slot]
        generation = slot.generation
        generation.starting -= 1
        if slot.checking:
            slot.checking = False
            generation.checking -= 1

    def begin_check(self, slot: Slot) -> None:
        """See whether an idle instance may serve again. It is in no table."""
        slot.state = SlotState.STARTING
        slot.scope = trio.CancelScope()
        slot.checking = True
        self.starting[slot] = None
        slot.generation.starting += 1
        slot.generation.checking += 1
        self.work.check(slot)

    def _draw_limits(self, slot: Slot) -> None:
        uses, age = self.options.max_uses, self.options.max_age
        if uses is not None:  # below twenty there is no whole use to give or take
            slot.last_use = uses - int(uses * _JITTER * self.random.random())
        if age is not None:
            slot.expires = slot.began + age * (1 - _JITTER * self.random.random())
            self.timers.ages.set(slot.expires)

    # --- bounds and generations ---

    def resize(self, size: int, min_size: int) -> None:
        """Set the bounds. Idle excess goes at once, what is leased or starting when it arrives."""
        self.size = size
        self.min_size = min_size
        while self.idle and self.current.active > size:
            self.retire_idle(next(iter(self.idle)), RetireReason.SHRUNK)
        self.timers.watch_idle()
        self.freed.unpark_all()
        self.advance()

    def switch(self, new: Generation, ready: Sequence[Slot], grace: float) -> None:
        """Put a generation in service, with what is ready of it, instead of the current one."""
        old, self.current = self.current, new
        old.replaced = True
        old.closing.set()
        for slot in tuple(self.idle):
            self.retire_idle(slot, RetireReason.REPLACED)
        for slot in ready:
            self.started(slot)
        self.counters.reloads += 1
        if self.instruments.active:
            self.instruments.tell("reloaded", new.number)
        self.bury(old)
        if not old.gone.is_set():
            old.grace = Alarm(partial(end_generation, self, old), self.spawn)
            if grace > 0:
                old.grace.set(self.now() + grace)
            else:
                end_generation(self, old)
        self.advance()

    # --- the end of an instance ---

    def retire(self, slot: Slot, reason: str, *, busy: bool = False) -> None:
        """An instance does not serve again. It is in no table; `advance` is up to the caller.

        ``busy``: a call may be under way in it.
        """
        slot.state = SlotState.RETIRING
        self.retiring[slot] = None
        slot.generation.retiring += 1
        self.counters.retired[reason] += 1
        if self.instruments.active:
            self.instruments.tell(
                "instance_retired", slot.number, slot.generation.number, str(reason)
            )
        if slot.instance is None:
            self._free(slot)
        elif busy or slot.calls:
            self.work.close_apart(slot)
        else:
            self.work.close(slot)

    def retire_idle(self, slot: Slot, reason: str) -> None:
        """The same for an idle one."""
        del self.idle[slot]
        self.retire(slot, reason)

    def freed_by(self, slot: Slot) -> None:
        """A retired instance is closed: its place is free."""
        self._free(slot)
        self.advance()

    def _free(self, slot: Slot) -> None:
        del self.retiring[slot]
        slot.state = SlotState.CLOSED
        slot.instance = None  # type: ignore[assignment]  # nobody looks any more
        generation = slot.generation
        generation.live -= 1
        generation.retiring -= 1
        self.counters.closed += 1
        self.bury(generation)
        self.freed.unpark_all()

    def bury(self, generation: Generation) -> None:
        """If a replaced generation has nothing left, it is gone."""
        if generation.replaced and not generation.live and generation in self.generations:
            self.generations.remove(generation)
            generation.gone.set()
            if generation.grace is not None:
                generation.grace.stop()
                generation.grace = None  # it has the generation

    def let_go(self) -> None:
        """The block has ended: let go of what has this core, so that it is no reference cycle."""
        self.timers.let_go()
        del self.timers
        del self.work
        self.instruments.pool = None

    # --- what next ---

    @property
    def live(self) -> int:
        """Instances in all states but CLOSED."""
        return len(self.idle) + len(self.leased) + len(self.starting) + len(self.retiring)

    @property
    def surge(self) -> int:
        """How many instances more than ``size`` a reload may use."""
        return max(1, self.min_size)

    def has_room(self) -> bool:
        """Whether the bounds allow one more instance, of whatever generation."""
        surge = self.surge if len(self.generations) > 1 else 0
        return self.live < self.size + surge

    def advance(self) -> None:
        """Do what is to be done next."""
        advance(self)
