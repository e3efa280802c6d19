"""The pool's transitions: every change of the pool's state happens here, in synchronous code.

Nothing in this file waits. Each public method is one transition and is complete when it returns:
it moves an instance from one state to the next, settles the tasks that this concerns, and hands
what takes time (starts, checks, closes) to the pool's own tasks. So between two checkpoints no
task sees a pool that is half changed, there are no locks, and a cancellation cannot interrupt a
transition. Only two kinds of other code run inside of one: instruments, and the first slices of
queued calls with the conversion of their arguments (`_hand_over_or_idle`). Where such a call begins
in a worker thread instead, it ends in a transition of its own (`_end_in_worker`).

`_assign` alone decides what the pool should do next, from the state alone. Every transition that
may have changed the answer ends with it. That keeps the promises true on every path: it does not
matter if room came from a trap, a resize, a failed start or a reload that was cancelled.

The state and its read-only view are in `core_state`. Invariants (`invariants.check` tests all of
them; the tests call it after each step):

1.  An instance has at most one lease; a lease exactly one instance: a slot is in the table of its
    state and in no other, and has a holder if and only if it is leased.
2.  Live instances never exceed ``size``; during a reload never ``size + surge``. After a
    `Pool.resize` below what is in use, the excess only shrinks.
3.  While a task waits, no instance of the current generation is idle, unless one is being checked
    for each waiter; and no more may be started, unless one is being started or checked for each.
4.  Leases are granted in order of arrival: only the first waiter is granted one, and a task that
    asks while others wait joins the end of the queue.
5.  No task is granted an instance of a generation that was replaced: idle instances are all of
    the current one, and what comes from a start, a check or a lease is tested again.
6.  Conservation: asked = settled + waiting; started = closed + live; each closed instance has
    exactly one retire reason.
7.  Nothing outlives the pool: it is CLOSED only when nothing is live and no task waits.
8.  A cancellation leaves all of this true: it can only take a waiter out of the queue (`give_up`),
    or end a start (`start_abandoned`).
9.  No poisoned or closed instance becomes idle or is granted, whatever its setup, its check or its
    last lease did to it. If other code spoils it while it is idle, the next ask finds that out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio

from wasmpool._errors import (
    LeaseDeadlock,
    LeaseRevoked,
    PoolClosed,
    PoolSaturated,
    PoolTimeout,
    PoolUnavailable,
    as_one_line,
)
from wasmpool_host.lowlevel import DrivenInstance, has_headroom

from .core_state import CoreState
from .fitness import why_unfit
from .pool_state import PoolState
from .retire_reason import RetireReason
from .slot import Slot, SlotState
from .snapshot import describe, lease_info
from .waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from .call_site import CallSite
    from .collaborators import AbstractDeadlines, AbstractMaintenance
    from .generation import Generation
    from .hooks import Hooks
    from .options import Options
    from .protocols import Instance
    from .waiter import StartCall

__all__ = ["Core"]

_FRESH: Final = 1.0  # seconds: an instance idle for no longer serves again without a check
_JITTER: Final = 0.05  # of max_uses and max_age: instances do not retire in step
_FEW: Final = 20  # uses, below which five per cent is no whole use
_RUNS: Final = 16  # queued calls that are run in one step; their guests' time is bounded anyway
# On the path of each call, where an enum's look-up would show:
_IDLE: Final = SlotState.IDLE
_OPEN: Final = PoolState.OPEN
_CLOSING: Final = PoolState.CLOSING


@final
class Core(CoreState):
    """A pool's state and its transitions."""

    __slots__ = (
        "_check", "_deadlines", "_has_limits", "_is_pristine", "_last_number", "_maintenance",
        "_max_memory", "_random", "_reload_scopes",
    )  # fmt: skip

    def __init__(
        self, name: str, options: Options, first: Generation, random: Random, hooks: Hooks
    ) -> None:
        """`attach` must follow before anything else."""
        super().__init__(name, options, first, random, hooks)
        self._check = options.check
        self._max_memory = options.max_memory
        self._is_pristine = options.max_uses == 1
        """A lease ends its instance."""
        self._has_limits = options.max_uses is not None or options.max_age is not None
        self._random = random
        self._last_number = 0
        self._reload_scopes: set[trio.CancelScope] = set()
        """They end the reloads under way when the pool closes."""
        self._maintenance: AbstractMaintenance
        self._deadlines: AbstractDeadlines

    def attach(self, maintenance: AbstractMaintenance, deadlines: AbstractDeadlines) -> None:
        """Connect the pool's tasks, once, before the first transition."""
        self._maintenance = maintenance
        self._deadlines = deadlines

    def detach(self) -> None:
        """Drop what refers to this core when the block has ended: no reference cycle is left."""
        self._deadlines.let_go()
        del self._deadlines
        del self._maintenance
        self.hooks.pool = self.hooks.log_extra = None

    # --- asking ---

    def peek_idle(self) -> Slot | None:
        """Return the idle instance that the next asker would get, or None."""
        if self._waiters or not self._idle:
            return None
        slot = next(reversed(self._idle))
        if slot.instance.poisoned is not None:
            self._retire_unfit()
            self._assign()
            return self.peek_idle()
        if self._check is None or self._is_fresh(slot, self.now()):
            return slot
        return None

    def _retire_unfit(self) -> None:
        """Retire the idle instances that other code has poisoned or closed.

        A setup may have passed them on. The pool is not told, so it finds out when a task asks.
        """
        now = self.now()
        for slot in tuple(self._idle):
            if slot.instance.poisoned is not None:
                self._retire_idle(slot, self._why_spent(slot, now))

    def take(self, task: trio.lowlevel.Task, call_site: CallSite | None) -> Slot | None:
        """Grant an idle instance, if there is one and no task waits."""
        slot = self.peek_idle()
        if slot is not None:
            self.grant_idle(slot, task, call_site, self.now())
        return slot

    def grant_idle(
        self, slot: Slot, task: trio.lowlevel.Task, call_site: CallSite | None, now: float
    ) -> None:
        """Grant what `peek_idle` returned."""
        del self._idle[slot]
        self._counters.asked_for_leases += 1
        self._grant(slot, task, call_site, now, 0.0)

    def refusal(self) -> Exception:
        """Count an ask that `take` had nothing for and that does not wait; return its error."""
        self._counters.asked_for_leases += 1
        if self._state is not PoolState.OPEN:
            self._counters.refused_closed += 1
            return self._closed_error()
        self._counters.would_block += 1
        return trio.WouldBlock()

    def join(
        self,
        task: trio.lowlevel.Task,
        call_site: CallSite | None,
        start_call: StartCall | None = None,
    ) -> Waiter:
        """Join the queue, after `take` had nothing.

        Args:
            task: the waiting task.
            call_site: where it asks.
            start_call: for a single call: runs the call's first slice in an instance.

        Raises:
            PoolClosed, PoolSaturated: without joining.
        """
        if self._state is not PoolState.OPEN:
            raise self.refusal()
        self._counters.asked_for_leases += 1
        limit = self.options.max_waiting
        is_full = limit is not None and len(self._waiters) >= limit
        if is_full and not self._could_serve_or_fail_now():
            self._counters.saturated += 1
            raise PoolSaturated(
                f"pool {self._name!r}: max_waiting={limit} tasks wait already: {describe(self)}"
            )
        waiter = Waiter(task, self.now(), call_site, self.give_up, start_call)
        self._waiters[task] = waiter
        self._leases_of_waiters += self._leases_by_task.get(task, 0)
        if self.hooks.active:
            self.hooks.call("waiting", len(self._waiters))
        self._assign()
        self._deadlines.watch_waits()
        return waiter

    def give_up(self, waiter: Waiter) -> bool:
        """Take a waiter whose task is cancelled out of the queue. Return True if it was in it."""
        if self._waiters.get(waiter.task) is not waiter:  # an instrument or an argument cancels it
            return False
        self._leave_queue(waiter)
        self._counters.cancelled += 1
        self._assign()
        return True

    def end_waits(self, now: float) -> None:
        """Fail the waiters that have waited for ``max_wait``."""
        limit = self.options.max_wait
        assert limit is not None
        while self._waiters:
            first = next(iter(self._waiters.values()))  # all have the same limit: it is due first
            if first.arrived + limit > now:
                break
            self._time_out(first)
        self._assign()

    def _time_out(self, waiter: Waiter) -> None:
        """Fail a waiter that waited for ``max_wait``, or must not wait because that is 0."""
        error = PoolTimeout(
            f"pool {self._name!r}: no instance within max_wait={self.options.max_wait} s:"
            f" {describe(self)}"
        )
        self._counters.timed_out += 1
        self._fail(waiter, error)

    def _refuse_waiters(self) -> None:
        """Fail all waiters with PoolClosed."""
        while self._waiters:
            self._counters.refused_closed += 1
            self._fail(next(iter(self._waiters.values())), self._closed_error())

    def _leave_queue(self, waiter: Waiter) -> None:
        del self._waiters[waiter.task]
        self._leases_of_waiters -= self._leases_by_task.get(waiter.task, 0)

    def _fail(self, waiter: Waiter, error: Exception) -> None:
        """Take a waiter out of the queue with an error."""
        self._leave_queue(waiter)
        waiter.settle(None, error)

    def _closed_error(self) -> PoolClosed:
        return PoolClosed(f"pool {self._name!r} is {self._state.value}: it grants no leases")

    # --- leases ---

    def _is_fresh(self, slot: Slot, now: float) -> bool:
        """Return True if an idle instance may serve without a check."""
        return self._check is None or now - slot.idle_since <= _FRESH

    def _grant(
        self,
        slot: Slot,
        task: trio.lowlevel.Task,
        call_site: CallSite | None,
        now: float,
        waited: float,
    ) -> None:
        assert slot.generation is self._current
        slot.state = SlotState.LEASED
        slot.holder = task
        slot.since = now
        slot.call_site = call_site
        slot.uses += 1
        self._leased[slot] = None
        leases = self._leases_by_task
        leases[task] = leases.get(task, 0) + 1
        counters = self._counters
        counters.granted_leases += 1
        counters.wait_seconds.record(waited)
        self._deadlines.watch_leases(now)
        if self.hooks.active:
            slot.info = lease_info(slot)
            self.hooks.call_in(task.context, "lease_granted", slot.info, waited)
        if self._is_pristine:
            self._assign()  # a spare

    def finish_call(self, slot: Slot, began: float) -> None:
        """End a call that ran in what `peek_idle` returned, whether it was granted since or not.

        A call that was done in one step had no lease that other code could see. It counts as one.
        """
        if slot.state is not _IDLE:
            self.give_back(slot)
            return
        now = self.now()
        slot.uses += 1
        slot.idle_since = now
        counters = self._counters
        counters.at_once += 1
        counters.lease_seconds.record(now - began)
        instance, max_memory = slot.instance, self._max_memory
        if not (  # `_is_spent`, written out, as most calls end here
            instance.poisoned is not None
            or slot.discarded
            or slot.uses >= slot.last_use
            or now >= slot.expires
            or (max_memory is not None and instance.memory_size > max_memory)
        ):
            return
        if slot.uses < slot.last_use or not self._maintenance.is_short:
            self._retire_idle(slot, self._why_spent(slot, now))
        else:
            del self._idle[slot]
            self._begin_retiring(slot, self._why_spent(slot, now))
            self._maintenance.replace(slot)
            if slot not in self._retiring:  # its close has assigned
                return
        self._assign()

    def begin_run(self, slot: Slot) -> None:
        """Count on a leased instance no more: it runs a program, and retires after that."""
        if not slot.finishing:
            slot.finishing = True
            slot.generation.finishing += 1
            self._assign()  # a spare

    def end_run(self, slot: Slot) -> None:
        """Count on an instance again whose run was refused before it began."""
        if slot.finishing and slot.instance.poisoned is None:
            slot.finishing = False
            slot.generation.finishing -= 1

    def discard(self, slot: Slot) -> None:
        """Do not let a leased instance serve again after its lease."""
        slot.discarded = True

    def note_tool(self, slot: Slot, tool: str | None) -> None:
        """Note what the call on a leased instance is for."""
        slot.tool = tool

    def mark_reported(self, slot: Slot) -> None:
        """Note that a lease was logged as a leak."""
        slot.reported = True

    def give_back(self, slot: Slot, *, busy: bool = False) -> None:
        """End a lease, or do nothing if it was revoked.

        ``busy``: a call is under way in the instance, which therefore retires.
        """
        if slot.state is not SlotState.LEASED:
            return
        if busy:
            slot.discarded = True
        now = self.now()
        self._end_lease(slot, now)
        reason = self._why_not_again(slot, now)
        if reason is not None:
            self._retire(slot, reason, busy=busy)
        elif self._hand_over_or_idle(slot, now) and self._state is PoolState.OPEN:
            return
        self._assign()

    def _end_lease(self, slot: Slot, now: float) -> None:
        """Take a lease from its holder; the caller decides what becomes of the slot."""
        task = slot.holder
        assert task is not None
        if self.hooks.active:  # first: the counts that they read add up while it is in a table
            self.hooks.call("lease_ended", slot.info or lease_info(slot), now - slot.since)
        del self._leased[slot]
        leases = self._leases_by_task.pop(task) - 1
        if leases:
            self._leases_by_task[task] = leases
        if self._waiters and task in self._waiters:
            self._leases_of_waiters -= 1
        self._counters.lease_seconds.record(now - slot.since)
        slot.holder = None
        slot.tool = None
        slot.info = None
        slot.reported = False

    def _why_not_again(self, slot: Slot, now: float) -> str | None:
        """Return the reason for which an instance retires after a lease, or None."""
        if self._is_spent(slot, now):
            return self._why_spent(slot, now)
        return self._why_unwanted(slot)

    def _is_spent(self, slot: Slot, now: float) -> bool:
        """Return True if an instance retires after a call because of its own condition."""
        instance, max_memory = slot.instance, self._max_memory
        return (
            instance.poisoned is not None
            or slot.discarded
            or slot.uses >= slot.last_use
            or now >= slot.expires
            or (max_memory is not None and instance.memory_size > max_memory)
        )

    def _why_spent(self, slot: Slot, now: float) -> str:
        """Return the reason that counts, of those for which `_is_spent` is true."""
        poisoned = slot.instance.poisoned
        if poisoned is not None:  # other modules' instances may have words of their own
            return poisoned if poisoned in self._counters.retired else RetireReason.HOST_ERROR
        if slot.discarded:
            return RetireReason.DISCARDED
        unwanted = self._why_unwanted(slot)
        if unwanted is not None:
            return unwanted
        if slot.uses >= slot.last_use:
            return RetireReason.USES
        return RetireReason.AGE if now >= slot.expires else RetireReason.MEMORY

    def _why_unwanted(self, slot: Slot) -> RetireReason | None:
        """Return why the pool does not want an instance that could serve, or None."""
        current = self._current
        if slot.generation is not current:
            return RetireReason.REPLACED
        if self._state is not _OPEN and not self._waiters:
            return RetireReason.CLOSED
        if current.live - current.retiring > self._size:
            return RetireReason.SHRUNK
        return None

    def _hand_over_or_idle(self, slot: Slot, now: float) -> bool:
        """Give an instance that is in no table to the first waiter, or make it idle.

        Queued calls that end in their first slice are run here, one after the other.

        Returns:
            False if one of these calls has made the instance retire. The caller then assigns.
        """
        runs = _RUNS if self._waiters and has_headroom() else 0
        while self._waiters:
            # 1. Grant it to the first waiter.
            waiter = next(iter(self._waiters.values()))
            self._leave_queue(waiter)
            self._grant(slot, waiter.task, waiter.call_site, now, now - waiter.arrived)
            # 2. Unless its call is over after the first slice, its task goes on with the lease.
            if not (runs and waiter.run_first_slice(slot)):
                if not (runs and self._leave_in_worker(waiter, slot)):
                    waiter.settle(slot)
                return True
            # 3. The call is over: end the lease, and take the next waiter if it may serve again.
            runs -= 1
            now = self.now()
            self._end_lease(slot, now)
            waiter.settle(None)
            reason = self._why_not_again(slot, now)
            if reason is not None:
                self._retire(slot, reason)
                return False
        slot.state = SlotState.IDLE
        slot.idle_since = now
        self._idle[slot] = None
        self._deadlines.watch_idle()
        return True

    def _leave_in_worker(self, waiter: Waiter, slot: Slot) -> bool:
        """Do not wake a waiter whose call a worker thread runs, until the call is over."""
        if self.hooks.active:  # they see the call in the context of its task
            return False
        return waiter.leave_in_worker(slot, partial(self._end_in_worker, waiter, slot))

    def _end_in_worker(self, waiter: Waiter, slot: Slot) -> None:
        """End a waiter's call that a worker has handed back, or let its task go on with it."""
        instance = slot.instance
        if waiter.settled:  # its task was cancelled
            return
        if slot.state is not SlotState.LEASED or not (
            isinstance(instance, DrivenInstance) and waiter.finish_in_worker(instance)
        ):
            waiter.settle(slot)
            return
        waiter.settle(None)
        self.give_back(slot)

    # --- starts and checks ---

    def begin_start(self, generation: Generation) -> Slot:
        """Take the room for a new instance. The caller begins the start itself."""
        self._last_number += 1
        slot = Slot(self._last_number, generation, self.now())
        slot.round = self._backoff.round
        self._starting[slot] = None
        generation.live += 1
        generation.starting += 1
        self._counters.started += 1
        return slot

    def instantiated(self, slot: Slot, instance: Instance) -> None:
        """Note the instance that a start has made; its setup may follow."""
        slot.instance = instance

    def prepared(self, slot: Slot) -> float:
        """Note how long start, setup and check took, which have ended; return the time."""
        now = self.now()
        slot.took = now - slot.began
        return now

    def started(self, slot: Slot, now: float) -> None:
        """Let a prepared instance serve, unless it is unfit or not wanted any more."""
        if slot.instance.poisoned is not None and self._why_unwanted(slot) is None:
            unfit = why_unfit(self._name, slot)
            assert unfit is not None
            self.start_failed(slot, unfit)
            return
        self._counters.start_seconds.record(slot.took)
        if self._has_limits:
            self._draw_limits(slot)
        if slot.generation is self._current and self._backoff.round:
            self._backoff.reset()
            self._deadlines.clear_backoff()
        if self.hooks.active:
            self.hooks.call("instance_started", slot.number, slot.generation.number, slot.took)
        self._arrive(slot, now)

    def checked(self, slot: Slot) -> None:
        """Let an instance that was found healthy serve, unless it became too old meanwhile."""
        now = self.now()
        if now >= slot.expires:
            self.start_abandoned(slot, RetireReason.AGE)
        else:
            self._arrive(slot, now)

    def start_failed(self, slot: Slot, error: Exception) -> None:
        """Retire an instance whose start or setup failed or took too long; pause starts."""
        if slot.generation is self._current:
            pause = self._backoff.failed(slot.round, error)
            if pause is not None:
                self._deadlines.set_backoff(self.now() + pause)
        self.start_abandoned(slot, RetireReason.FAILED_START)

    def end_backoff(self) -> None:
        """The pause after a failed start is over."""
        self._backoff.holds = False
        self._assign()

    def start_abandoned(self, slot: Slot, reason: str | None = None) -> None:
        """Retire an instance that is being started or checked; without a reason, as unwanted."""
        self._leave_starting(slot)
        self._retire(slot, reason or self._why_unwanted(slot) or RetireReason.CLOSED)
        self._assign()

    def _arrive(self, slot: Slot, now: float) -> None:
        reason = self._why_unwanted(slot)
        if reason is None:
            self._leave_starting(slot)
            self._hand_over_or_idle(slot, now)
            self._assign()
        else:
            self.start_abandoned(slot, reason)

    def _leave_starting(self, slot: Slot) -> None:
        del self._starting[slot]
        generation = slot.generation
        generation.starting -= 1
        if slot.checking:
            slot.checking = False
            generation.checking -= 1

    def _begin_check(self, slot: Slot) -> None:
        """Begin to check an instance that was idle and is in no table."""
        slot.state = SlotState.STARTING
        slot.new_scope()
        slot.checking = True
        self._starting[slot] = None
        slot.generation.starting += 1
        slot.generation.checking += 1
        self._maintenance.check(slot)

    def _draw_limits(self, slot: Slot) -> None:
        uses, age = self.options.max_uses, self.options.max_age
        if uses is not None:
            jitter = 0 if uses < _FEW else int(uses * _JITTER * self._random.random())
            slot.last_use = uses - jitter
        if age is not None:
            slot.expires = slot.began + age * (1 - _JITTER * self._random.random())
            self._deadlines.watch_age(slot.expires)

    # --- name and bounds ---

    def rename(self, name: str) -> None:
        """Set what messages and logs call the pool."""
        self._name = name

    def resize(self, size: int, min_size: int) -> None:
        """Set the bounds. Idle instances above them retire now, others when they arrive."""
        self._size = size
        self._min_size = min_size
        while self._idle and self._current.active > size:
            self._retire_idle(next(iter(self._idle)), RetireReason.SHRUNK)
        self._deadlines.watch_idle()
        self.room_freed.unpark_all()
        self._assign()

    # --- reload ---

    def begin_reload(self, scope: trio.CancelScope) -> None:
        """Have a close cancel the scope of a reload; at once, if the pool closes already."""
        self._reload_scopes.add(scope)
        if self._state is not PoolState.OPEN:
            scope.cancel()

    def end_reload(self, scope: trio.CancelScope) -> None:
        """Forget the scope of a reload that has ended."""
        self._reload_scopes.discard(scope)

    def add_generation(self, new: Generation) -> None:
        """Add a generation that is being prepared; its canary has the next free room."""
        self._generations.append(new)
        self._canary_waits = True

    def start_canary(self, new: Generation) -> Slot:
        """Take the room for its first instance; from now on the pool may grow again."""
        self._canary_waits = False
        slot = self.begin_start(new)
        self._assign()
        return slot

    def withdraw_generation(self, new: Generation) -> None:
        """Close all instances of a generation that is not put in service."""
        new.replaced = True
        self._canary_waits = False
        reason = RetireReason.DISCARDED if self._state is PoolState.OPEN else RetireReason.CLOSED
        for slot in tuple(self._starting):
            if slot.generation is new:
                self.start_abandoned(slot, reason)
        self._drop_if_gone(new)
        self._assign()

    def switch(self, new: Generation, ready: Sequence[Slot], grace: float) -> None:
        """Put a prepared generation in service instead of the current one, with its instances."""
        # 1. From here on no instance of the old one is granted.
        old, self._current = self._current, new
        old.replaced = True
        old.closing.set()
        for slot in tuple(self._idle):
            self._retire_idle(slot, RetireReason.REPLACED)
        # 2. The new one serves.
        for slot in ready:
            self.started(slot, self.now())
        self._counters.reloads += 1
        if self.hooks.active:
            self.hooks.call("reloaded", new.number)
        # 3. What the old one has left ends within the grace.
        self._drop_if_gone(old)
        if not old.gone.is_set():
            if grace > 0:
                self._deadlines.set_generation_grace(old, self.now() + grace)
            else:
                self.end_generation(old)
        self._assign()

    def end_generation(self, generation: Generation) -> None:
        """End the grace of a generation that was replaced."""
        for slot in self._starting:
            if slot.generation is generation:
                slot.scope.cancel()
        leased = tuple(slot for slot in self._leased if slot.generation is generation)
        self._revoke(leased, RetireReason.REPLACED)

    def _drop_if_gone(self, generation: Generation) -> None:
        """Drop a replaced generation if it has no live instance."""
        if generation.replaced and not generation.live and generation in self._generations:
            self._generations.remove(generation)
            generation.gone.set()
            self._deadlines.clear_generation_grace(generation)

    # --- close ---

    def close(self, grace: float) -> bool:
        """Begin to close, or bring the end of the grace forward. Return True if it was open.

        New asks are refused first, then the leases are told, and only the end of the grace
        touches a call under way.
        """
        first = self._state is PoolState.OPEN
        if first:
            self._state = PoolState.CLOSING
            if self.hooks.active:
                self.hooks.call("closing")
            for generation in self._generations:
                generation.closing.set()
            for scope in self._reload_scopes:
                scope.cancel()
            if self.options.queue_on_close == "fail":
                self._refuse_waiters()
        if self._state is PoolState.CLOSING:
            if grace > 0:
                self._deadlines.set_grace(self.now() + grace)
            else:
                self.cut_grace()
            self._assign()
        return first

    def cut_grace(self) -> None:
        """End the grace of the close: waiters fail, leases are revoked."""
        self._deadlines.clear_grace()
        self._refuse_waiters()
        self._revoke(tuple(self._leased), RetireReason.CLOSED)

    def revoke_held_by(self, task: trio.lowlevel.Task) -> None:
        """Revoke the leases of a task that leaves the pool's block and cannot give them back."""
        leased = tuple(slot for slot in self._leased if slot.holder is task)
        self._revoke(leased, RetireReason.CLOSED)

    def _revoke(self, slots: Iterable[Slot], reason: RetireReason) -> None:
        """Take leases from their holders.

        A call under way raises `LeaseRevoked`; without one, the next use does.
        """
        now = self.now()
        why = "it closed" if reason is RetireReason.CLOSED else "its generation was replaced"
        for slot in slots:
            slot.revoked = (
                f"the lease of instance {slot.number} of pool {self._name!r} was revoked after"
                f" {now - slot.since:.1f} s: {why}, and the grace is over"
            )
            self._end_lease(slot, now)
            slot.instance.interrupt(LeaseRevoked(slot.revoked))
            self._retire(slot, reason, busy=True)
        self._assign()

    # --- the end of an instance ---

    def end_idle(self, now: float) -> None:
        """Retire instances above ``min_size`` that have idled for ``max_idle``.

        It does not assign: with ``max_uses=1`` that would start a spare in place of each.
        """
        limit = self.options.max_idle
        assert limit is not None
        while self._idle and self._current.active > self._min_size:
            slot = next(iter(self._idle))  # idle for longest
            if slot.idle_since + limit > now:
                break
            self._retire_idle(slot, RetireReason.IDLE)

    def end_aged(self, now: float) -> None:
        """Retire idle instances that are too old; leased ones retire when they are given back."""
        for slot in tuple(self._idle):
            if slot.expires <= now:
                self._retire_idle(slot, RetireReason.AGE)
        self._assign()

    def _retire(self, slot: Slot, reason: str, *, busy: bool = False) -> None:
        """Have an instance that is in no table closed. The caller assigns.

        ``busy``: a call may be under way in it.
        """
        self._begin_retiring(slot, reason)
        if slot.instance is None:
            self._free(slot)
        else:
            self._maintenance.close(slot, busy=busy)

    def _begin_retiring(self, slot: Slot, reason: str) -> None:
        slot.state = SlotState.RETIRING
        if slot.finishing:
            slot.finishing = False
            slot.generation.finishing -= 1
        self._retiring[slot] = None
        slot.generation.retiring += 1
        self._counters.retired[reason] += 1
        if self.hooks.active:
            self.hooks.call("instance_retired", slot.number, slot.generation.number, str(reason))

    def _retire_idle(self, slot: Slot, reason: str) -> None:
        del self._idle[slot]
        self._retire(slot, reason)

    def instance_closed(self, slot: Slot) -> None:
        """Free the room of a retired instance that is closed now."""
        self._free(slot)
        self._assign()

    def _free(self, slot: Slot) -> None:
        del self._retiring[slot]
        slot.state = SlotState.CLOSED
        slot.instance = None  # type: ignore[assignment]  # see the invariant of Slot
        generation = slot.generation
        generation.live -= 1
        generation.retiring -= 1
        self._counters.closed += 1
        self._deadlines.watch_kept_memory()
        if generation.replaced:
            self._drop_if_gone(generation)
        if self._canary_waits:
            self.room_freed.unpark_all()

    # --- what next ---

    def _assign(self) -> None:
        """Begin what is needed now, and fail the tasks that wait in vain."""
        # 1. Use idle instances for waiters: a check is shorter than a start.
        while self._waiters and self._idle and self._current.checking < len(self._waiters):
            self._use_idle()
        # 2. Start as many as are wanted and the bounds allow.
        wanted = self._starts_wanted()
        while self._current.starting < wanted and self._may_start():
            self._maintenance.start(self.begin_start(self._current))
        # 3. Fail the waiters that nothing will serve.
        if self._waiters:
            self._fail_in_vain()
        # 4. Close what a closing pool does not need any more.
        if self._state is _CLOSING and not self._waiters:
            self._wind_down()

    def _fail_in_vain(self) -> None:
        """Fail the waiters that nothing will serve."""
        while self._waiters and self._is_hopeless():
            self._fail_unavailable()
        while self._waiters and self._is_deadlocked():
            self._fail_deadlocked()
        while self.options.max_wait == 0 and len(self._waiters) > self._coming():
            latest = next(reversed(self._waiters.values()))  # earlier ones were promised one
            self._time_out(latest)

    def _could_serve_or_fail_now(self) -> bool:
        """Return True if a new waiter would cause a check or a start, or fail at once.

        False: it would only lengthen the queue.
        """
        return bool(self._idle) or self._may_start() or self._is_hopeless()

    def _use_idle(self) -> None:
        """Give the instance that was used last to the first waiter, or check it first."""
        slot = next(reversed(self._idle))
        if slot.instance.poisoned is not None:
            self._retire_unfit()  # and `_assign` looks again
            return
        del self._idle[slot]
        now = self.now()
        if self._is_fresh(slot, now):
            self._hand_over_or_idle(slot, now)
        else:
            self._begin_check(slot)

    def _starts_wanted(self) -> int:
        """Return how many instances should be starting, if there were room."""
        waiting = len(self._waiters)
        if self._state is not _OPEN:
            return waiting
        if self._is_pristine:  # one for each waiter, and spares
            spares = self._min_size - len(self._idle)
            return waiting + spares if spares > 0 else waiting
        ready = self._current.active - self._current.starting - self._current.finishing
        return max(waiting, self._min_size - ready)

    def _may_start(self) -> bool:
        return (
            self._current.live < self._size
            and not self._canary_waits
            and not self._backoff.holds
            and (len(self._generations) == 1 or self.has_room())
        )

    def _is_hopeless(self) -> bool:
        """Return True if starts fail and there is no instance to wait for."""
        prepared = self._generations[-1]  # by a reload, if it is not the current one
        return self._backoff.holds and not self._current.active and not prepared.active

    def _fail_unavailable(self) -> None:
        cause = self._backoff.cause
        assert cause is not None  # starts are held back after a failure
        error = PoolUnavailable(
            f"pool {self._name!r}: no instance is alive, and none can be started"
            f" ({self._backoff.round} attempts failed): {as_one_line(cause)}"
        )
        error.__cause__ = cause
        self._counters.unavailable += 1
        self._fail(next(iter(self._waiters.values())), error)

    def _is_deadlocked(self) -> bool:
        """Return True if each live instance is leased by a waiter, and nothing will change that."""
        return (
            self._leases_of_waiters == self.live > 0
            and not self._backoff.holds
            and not (self._current.live < self._size and self.has_room())
        )

    def _fail_deadlocked(self) -> None:
        """Fail the latest asker: when the others asked, the wait could still end."""
        waiter = next(reversed(self._waiters.values()))
        error = LeaseDeadlock(
            f"pool {self._name!r}: task {waiter.task.name!r} would wait for ever, as each lease is"
            f" held by a task that waits for another: {describe(self)}. Give up one lease before"
            " asking for the next, or make size larger than the leases one task needs"
        )
        self._counters.deadlocked += 1
        self._fail(waiter, error)

    def _coming(self) -> int:
        """Return how many instances will soon be there without the end of a lease.

        With ``max_wait=0`` a task waits for one of these only. The room that a retiring instance
        or a start for a replaced generation takes is free as soon as that is closed.
        """
        prepared = self._generations[-1]  # by a reload, if it is neither in service nor replaced
        is_prepared = not prepared.replaced and prepared is not self._current
        for_reload = prepared.starting if is_prepared else 0
        return len(self._starting) - for_reload + len(self._retiring)

    def _wind_down(self) -> None:
        """Close what a closing pool has left when no task waits."""
        for slot in self._starting:
            slot.scope.cancel()
        for slot in tuple(self._idle):
            self._retire_idle(slot, RetireReason.CLOSED)
        if not self.live:
            self._state = PoolState.CLOSED
            for generation in self._generations:
                generation.gone.set()
            self._deadlines.stop()
            self.closed.set()
