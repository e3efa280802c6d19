"""A call is a fiber, driven by the trio task that makes it.

Wasmtime can run a guest on a stack of its own and return from the middle of it: at an epoch, or
when the guest calls a host function. `wasmtime_func_call_async` makes such a fiber, and each
`wasmtime_call_future_poll` runs it up to the next of these moments. Wasmtime does no more than
that. This file adds which thread polls, and when.

**The task polls, on the trio thread.** A short call is done at the first poll: no thread, no
queue, microseconds. `loop_budget` keeps many of them from adding up in one pass of the scheduler.

**A guest that is not done after a slice moves to a worker thread** (`ready_queue`), and its task
is parked until the fiber needs it again. A slice ends with a tick of `epoch_ticker`. Where a tick
comes right after the start, the guest gets a second slice; otherwise short calls would move to
threads by chance. An export whose last calls were long starts in a thread: on the trio thread it
would only delay the loop, while the other CPUs are idle (`CallHistory`). One whose calls were of
medium length does so if that pays (`Placement`), and else goes on here, with a pass of the loop
after each slice. What starts in a thread does so in `start`, before any task waits for it.

**A host function runs in the task**, between two polls, while the fiber is suspended. The two
callbacks that Wasmtime calls (`host_call`) run on the fiber's stack. They only take notes:

* The entry callback notes which function the guest calls, and where its arguments and results
  are, in a `HostCall` that was made before. Then the poll returns, because
* the continuation callback, which each poll asks if the host call is done, says no until the task
  has written the results.

So cancel scopes, context variables and nurseries work through the guest as if it were Python. A
host function may call back into the guest. The continuation callback polls this nested call, for
it has to run on top of the suspended one: each poll of the outermost future thus goes down
through all levels to the innermost guest. The depth is bounded (`NESTING`), because each level
takes stack; one level more is a trap.

**To stop a guest is to delete its future.** That unwinds this fiber and no other, wherever it is
suspended. It must be suspended: a guest in a thread is asked to yield first, and does so at a
tick that comes at once. Inner futures are deleted before outer ones. And a guest may not continue
below a nested call that is still alive: if a host function ends while another task is in such a
call, the guest is ended (`_end_stray`). The error of an interrupt stays with the fiber for as
long as a task may still look for it.

What must not happen is an exception in a callback. In the entry callback it aborts the process.
So the callbacks make no calls; then no signal handler runs in the middle of them (`unchecked`).
There is headroom on the Python stack before a guest with imports runs (`headroom`), so that
RecursionError is raised in the task. What still goes wrong in the continuation is kept for the
task. A signal handler of the program's own that raises may still lose a future in the middle of
the driver: such handlers and guests do not work together.

The driver itself is protected from KeyboardInterrupt too, since it must not lose a future half
way; host functions, being the user's code, are not. Trio delivers the interrupt at the next
checkpoint, and a guest in a thread is stopped for it as for a cancel.

Rejected: a thread for each call (120 to 300 us for the hand-over, and no way to await in host
functions); an epoch that traps (it ends all the guests of an engine instead of one, and none can
continue); Wasmtime's blocking call with a callback at the epoch (ctypes would run Python on the
guest's stack at each tick, and could not suspend there).
"""

from __future__ import annotations

import contextlib
import inspect
import os
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any, Final, Protocol, final

import trio
from trio.lowlevel import disable_ki_protection, enable_ki_protection

from wasmpool_host import _capi
from wasmpool_host._errors import CallTimeout, GuestTrap
from wasmpool_host._scheduling.headroom import (
    FRAMES,
    FRAMES_A_LEVEL,
    FRAMES_TO_START,
    FRAMES_TO_START_WITHOUT_CALLBACKS,
    FRAMES_WITHOUT_CALLBACKS,
    headroom,
    prober,
)
from wasmpool_host._scheduling.loop_budget import SOFT_LIMIT
from wasmpool_host._scheduling.ready_queue import Job

from .call_history import LONG, MEDIUM
from .host_call import HostCall, fibers, new_key
from .poison import poison_reason, trapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from functools import partial

    from wasmpool_host._engine import Engine
    from wasmpool_host._scheduling.loop_budget import LoopBudget
    from wasmpool_host._scheduling.run_scheduling import RunScheduling

    from .call_history import CallHistory
    from .host_call import NestedCall
    from .host_function import Imported
    from .linked_module import LinkedModule
    from .signature import Results

__all__ = ["Fiber"]

NESTING: Final = 64
"""Levels of guest in host in guest: without a bound the process aborts at about 450."""

SHORT_SLICE: Final = 0.0005
"""Seconds, half a slice: a shorter one was cut by a tick that happened to come."""

_PASSES: Final = 3
"""Passes in which a task wakes whose guest has returned in a worker, and the next one starts its
guest there."""

_RAISED_IN: Final = "raised in guest"

_poll: Final = _capi.poll
_delete_finished_future: Final = _capi.delete_finished_future
_NO_ERRORS: Final = _capi.NO_ERRORS
_PROBE: Final = prober(FRAMES_TO_START)
_PROBE_WITHOUT_CALLBACKS: Final = prober(FRAMES_TO_START_WITHOUT_CALLBACKS)


class Crossing(Protocol):
    """What a fiber runs: a call of an export, or a start."""

    @property
    def begin(self) -> partial[int]:
        """Makes the future."""
        ...

    @property
    def history(self) -> CallHistory:
        """The export's."""
        ...

    @property
    def label(self) -> str:
        """Its name in messages."""
        ...


class Level(Protocol):
    """A call into the guest, outermost or nested, as the driver sees it."""

    finished: bool


@disable_ki_protection
def _call_plain(function: Callable[..., Any], caller: object, args: Sequence[object]) -> Any:
    return function(caller, *args)


@disable_ki_protection
async def _await(value: Awaitable[Any]) -> Any:
    return await value


@final
class _NoLevel:
    """Stands for the level while there is none."""

    finished: bool = True


_NO_LEVEL: Final = _NoLevel()


@final
class Fiber:
    """The calls of one instance: at most one from outside, and those nested in it."""

    # Invariants:
    # - `future` is not 0 exactly while there is a fiber. It is polled by one thread at a time:
    #   by the worker that has `_job`, else by the trio thread.
    # - `host_calls` are those whose continuation is alive, outermost first.
    # - `next_call` is not None whenever a guest that imports functions is polled: the entry
    #   callback takes it, and `_slice_in_budget` makes another before the guest continues.
    # - `busy` is set by the instance while a call is pending: it holds whenever `future` is not
    #   0 and another task runs.
    # - The store is deleted only while `future` is 0.
    # - The tasks in `_waiting_for_drop` are woken by `drop`: while there are any, `interrupted` is
    #   set and `future` is not 0.

    __slots__ = (
        "_computed",
        "_crossing",
        "_deadline",
        "_engine",
        "_job",
        "_level",
        "_new_host_call",
        "_on_loop_since",
        "_on_return",
        "_placement",
        "_probe",
        "_scope",
        "_strayed",
        "_ticker",
        "_waiting_for_drop",
        "budget",
        "budget_exempt_until",
        "busy",
        "call_seconds",
        "failure",
        "finished",
        "functions",
        "future",
        "guest",
        "host_calls",
        "interrupted",
        "key",
        "next_call",
        "only_trapped",
        "pending",
        "poisoned",
        "store",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - its parts, from one place
        self,
        module: LinkedModule,
        engine: Engine,
        guest: CallerMaker,
        scheduling: RunScheduling,
        arena: _capi.Arena,
        *,
        host_call: HostCall | None = None,
        new_host_call: Callable[[], HostCall] = HostCall,
    ) -> None:
        self.key: int = new_key()
        self.store: _capi.Store = module.new_store(engine, self.key, arena)
        self.functions: Sequence[Imported] = module.imported
        self.guest: CallerMaker = guest
        self.poisoned: str | None = None
        self.only_trapped: bool = False
        """True if the last trap of an outermost call is all that poisoned it."""
        self.busy: bool = False
        self.future: int = 0
        self.finished: bool = False
        self.host_calls: list[HostCall] = []
        self.pending: HostCall | None = None
        self.next_call: HostCall | None = host_call
        self._new_host_call = new_host_call
        if self.functions:
            self._prepare_host_call()
        self.failure: BaseException | None = None
        self.interrupted: BaseException | None = None
        self.call_seconds: float | None = module.limits.call_seconds
        self._engine = engine
        self._crossing: Crossing | None = None
        self._deadline: float | None = None
        self._waiting_for_drop: tuple[trio.lowlevel.Task, ...] = ()
        self._job: Job | None = None
        self._level: Level = _NO_LEVEL
        self._probe = _PROBE if self.functions else _PROBE_WITHOUT_CALLBACKS
        self._scope: trio.CancelScope | None = None
        self._strayed = False
        """True if a host function ended before a task in its call, which looks for the error."""
        self._computed = 0.0
        self._on_loop_since = 0.0
        """By `perf_counter`: since when this call has held the loop, without what is in the budget.

        That includes plain host functions, so a guest with many calls of a millisecond each uses up
        the budget by them.
        """
        self.budget_exempt_until: float = 0.0
        """Until this time, by `perf_counter`, follow-up crossings skip the budget."""
        self._ticker = scheduling.ticker
        self.budget: LoopBudget = scheduling.budget
        self._placement = scheduling.placement
        self._on_return: Callable[[], None] | None = None
        fibers[self.key] = self

    # --- a call from outside ---

    @enable_ki_protection
    def start(self, crossing: Crossing) -> bool:
        """Begin a call and run its first slice here; return True if the call is done.

        Otherwise `finish` must be called, which drives it to its end. Either the guest is not done
        yet, or it has not begun: because the loop's budget is spent, or because its calls are long.
        Most calls are done here, so this is written out in one function.

        Raises:
            GuestTrap: the guest trapped.
            RecursionError: there is too little left of the Python stack; nothing has begun.
        """
        self._probe()
        self._crossing = crossing
        budget, history = self.budget, crossing.history
        if history.seconds:
            return self._start_measured(crossing)
        if (
            budget.spent > SOFT_LIMIT
            and budget.is_exhausted()
            and perf_counter() > self.budget_exempt_until
        ):
            return False
        store = self.store
        store.has_run = True
        try:
            self.future = future = crossing.begin()
            began = perf_counter()
            if began > self._ticker.renew_at:
                self._ticker.renew(began)
            finished = _poll(future)
            took = perf_counter() - began
            budget.spent += took
            if not finished and not self._finish_slice(took):
                return False
            if took > MEDIUM:
                history.mark_suspect()
            _delete_finished_future(future)
            self.future = 0
        except BaseException as error:
            self._fail(error)
            self._end()
            raise
        if store.errors != _NO_ERRORS:
            self._raise_stop(crossing.label)
        return True

    def _start_measured(self, crossing: Crossing) -> bool:
        """Begin a call that is not short: in a worker, or measured here, or later in `finish`."""
        in_worker = self._starts_in_worker(crossing.history)
        if not in_worker and self._has_to_wait():
            return False
        headroom(FRAMES)
        try:
            self._begin(crossing)
            if in_worker:
                self._submit(self)
                return False
            self._compute_on_loop(self._first_slice, self)
            if not self.finished:
                return False
            self._judge(crossing.history, measured=True)
        except BaseException as error:
            self._fail(error)
            self._end()
            raise
        self._end()
        if self.store.errors != _NO_ERRORS:
            self._raise_stop(crossing.label)
        return True

    def _has_to_wait(self) -> bool:
        """Return True if the pass has no time left for another slice."""
        return (
            self.budget.spent > SOFT_LIMIT
            and self.budget.is_exhausted()
            and perf_counter() > self.budget_exempt_until
        )

    def _begin(self, crossing: Crossing) -> None:
        self._on_loop_since = perf_counter()
        self.store.has_run = True
        self.future = crossing.begin()

    def _finish_slice(self, took: float) -> bool:
        """Run a second slice, if a tick came right after the start; return True if done."""
        self._on_loop_since = perf_counter()
        if took < SHORT_SLICE and self.pending is None:
            self._slice(self)
        finished, self.finished = self.finished, False
        return finished

    def abandon(self, error: BaseException) -> None:
        """Drop the call that `start` has not finished: `finish` will not be called."""
        if self.future:
            self.poison(error)
        self._end()

    @enable_ki_protection
    async def finish(self) -> None:
        """Drive the call that `start` has not finished to its end.

        Nothing is raised for a cancel once the guest has returned.

        Raises:
            GuestTrap: the guest trapped.
            CallTimeout: it took too long.
            BaseException: what a host function raised, or what `interrupt` was given.
        """
        crossing = self._crossing
        assert crossing is not None
        try:
            headroom(FRAMES if self.functions else FRAMES_WITHOUT_CALLBACKS)
            measured = not self.future or self._computed > 0 or self._job is not None
            if self._job is None:
                self._check()
            if not self.future:
                await self._begin_in_budget(crossing)
            if self._job is not None or not self.finished:
                self._on_loop_since = perf_counter()
                if self._deadline is None:  # written out: a coroutine less for each that waits
                    if self._job is not None:
                        await self._await_job(self._job, self)
                    await self._drive(self)
                else:
                    await self._drive_in_time(self._deadline)
            if self._computed:
                self._judge(crossing.history, measured=measured)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._end()
        if self.store.errors != _NO_ERRORS:
            self._raise_stop(crossing.label)

    @enable_ki_protection
    async def run(self, crossing: Crossing) -> None:
        """Do `start` and `finish`."""
        if not self.start(crossing):
            await self.finish()

    def start_clock(self) -> None:
        """Begin the time limit: all crossings until the next call of this share it."""
        if self.call_seconds is not None:
            self._deadline = trio.current_time() + self.call_seconds

    async def _begin_in_budget(self, crossing: Crossing) -> None:
        """Begin a call that `start` has not begun, as it had to wait."""
        await self._wait_for_budget()
        self._begin(crossing)
        if self._starts_in_worker(crossing.history):
            self._submit(self)
        else:
            self._compute_on_loop(self._first_slice, self)

    def _starts_in_worker(self, history: CallHistory) -> bool:
        """Return True if a call runs no slice here, by the length of the last ones."""
        return history.long or self._placement.prefers_worker(history.seconds)

    async def _wait_for_budget(self) -> None:
        if self.budget.spent > SOFT_LIMIT and self.budget.is_exhausted():
            await self.budget.wait()
            self._check()
            self.budget_exempt_until = perf_counter() + SHORT_SLICE

    def _compute_on_loop(self, run: Callable[[Level], None], level: Level) -> None:
        """Run a slice here, measured; it ends early when a worker hands a job back."""
        queue = self._placement.queue
        queue.on_loop = self._ticker
        began = thread_time()
        try:
            run(level)
        finally:
            queue.on_loop = None
            self._computed += thread_time() - began
            self._placement.note_end(self._on_loop_since)

    def _judge(self, history: CallHistory, *, measured: bool) -> None:
        """Record a call that computed in the export's history; `start` does not measure it."""
        if measured:
            history.record(self._computed)
        else:
            history.mark_suspect(self._computed)

    def _fail(self, error: BaseException) -> None:
        """Poison the instance for the error that a call ends with, or raise the interrupt's."""
        if self.interrupted is not None:
            self._raise_interrupted(error)
        elif self.future:
            self.poison(error)

    def _raise_interrupted(self, error: BaseException) -> None:
        """Raise the interrupt's error in place of another one; a cancel stays a cancel."""
        if error is not self.interrupted and isinstance(error, Exception):
            raise self.interrupted or error from error

    def _raise_stop(self, label: str) -> None:
        """Raise the error of a guest that has ended without returning."""
        self.only_trapped = self.poisoned is None
        self.poisoned = self.poisoned or "trap"
        stop = self.store.take_failure()
        assert stop is not None
        raise trapped(stop, label)

    async def _drive_in_time(self, deadline: float) -> None:
        try:
            with trio.CancelScope(deadline=deadline):
                await self._drive_outermost()
        except ExceptionGroup as group:  # of nested calls, in a host function's nursery
            if group.split(CallTimeout)[1] is not None:
                raise
        if not self.finished:
            raise self._timeout()

    async def _drive_outermost(self) -> None:
        if self._job is not None:
            await self._await_job(self._job, self)
        await self._drive(self)

    def _reclaim(self) -> None:
        """Get the fiber back from a worker, if it is given up while no task waits for it."""
        job, self._job, self._on_return = self._job, None, None
        if job is not None and not job.returned:
            self._placement.queue.reclaim(job)

    def _end(self) -> None:
        self._reclaim()
        self._computed = 0.0
        if self.finished and self.future and not self.host_calls:
            _delete_finished_future(self.future)  # most calls: there is nothing to unwind
            self.future = 0
        else:
            self.drop()
            self._prepare_host_call()
        self.finished = False
        self.failure = None

    # --- driving, in the task ---

    async def _drive(self, level: Level) -> None:
        """Poll until ``level`` is finished, and serve the guest's host calls.

        The guest has had its first slice.
        """
        while not level.finished:
            if self.pending is not None:
                call, self.pending = self.pending, None
                await self._serve(call)
                await self._slice_in_budget(level)
            else:
                await self._compute(level)
            if not level.finished:
                self._check()

    async def _slice_in_budget(self, level: Level) -> None:
        self._prepare_host_call()
        if self.budget.spent > SOFT_LIMIT and self.budget.is_exhausted():
            await self.budget.wait()
            self._check()
            self._on_loop_since = perf_counter()
        self._first_slice(level)

    def _first_slice(self, level: Level) -> None:
        """Run a slice here, and a second one if a tick came right after the start.

        The guest begins, or goes on after a host call: its deadline was set before.
        """
        began = perf_counter()
        if began > self._ticker.renew_at:
            self._ticker.renew(began)
        self.finished = _poll(self.future)
        took = self._charge() - began
        if (
            took < SHORT_SLICE
            and not level.finished
            and self.pending is None
            and not self._placement.queue.has_returned
        ):
            self._slice(level)

    def _slice(self, _: Level) -> None:
        """Run a slice here, after one that a tick has ended."""
        self._ticker.enter()
        try:
            self.finished = _poll(self.future)
        finally:
            self._ticker.leave()
        self._charge()

    def _charge(self) -> float:
        """Take the time since the last time from the loop's budget; return what time it is."""
        now = perf_counter()
        self.budget.spent += now - self._on_loop_since
        self._on_loop_since = now
        return now

    async def _compute(self, level: Level) -> None:
        """Go on with a guest that has used up its slice: here, or in a worker thread."""
        if self._stays_on_loop():
            await self._go_on_here(level)
        else:
            await self._go_on_in_worker(level)

    def _stays_on_loop(self) -> bool:
        """Return True for a measured call that is not long, unless a CPU has been idle so far."""
        queue = self._placement.queue
        return 0 < self._computed < LONG and (queue.has_returned or not queue.has_idle_cpu)

    async def _go_on_here(self, level: Level) -> None:
        queue = self._placement.queue
        for _ in range(_PASSES if queue.has_returned else 1):
            queue.take_back()
            await trio.lowlevel.checkpoint()
        await self._wait_for_budget()
        self._check()
        self._on_loop_since = perf_counter()
        self._compute_on_loop(self._slice, level)

    async def _go_on_in_worker(self, level: Level) -> None:
        """Have a worker thread run the guest, until it is done or waits in a host function.

        Raises:
            trio.Cancelled: the guest is not done, and no thread runs it any more.
        """
        # A deadline may have passed during the slice: trio notes it in the next pass, and a thread
        # would be started only to be stopped.
        await trio.lowlevel.checkpoint()
        self._check()
        job = self._submit(level)
        await self._await_job(job, level)

    def _submit(self, level: Level) -> Job:
        self._level = level
        job = Job(self)
        self._placement.queue.submit(job)
        self._job = job
        return job

    async def _await_job(self, job: Job, level: Level) -> None:
        self._on_return = None
        try:
            await self._placement.queue.wait(job)
        finally:
            self._job = None
            if self.interrupted is not None:
                self.drop()
        self._on_loop_since = perf_counter()
        if not level.finished:
            if job.raise_cancel is not None:
                job.raise_cancel()
            self._check()

    def call_when_back(self, callback: Callable[[], None]) -> bool:
        """Have a function called once the worker hands the guest back, unless `finish` is called.

        Returns:
            False if that does not come about: no worker has the guest, or its time is limited.
        """
        if self._job is None or self.call_seconds is not None:
            return False
        self._on_return = callback
        return True

    def come_back(self) -> None:
        """Take note that the worker has handed back the fiber, and no task waits for it yet."""
        callback, self._on_return = self._on_return, None
        if self.interrupted is not None:
            self._job = None
            self.drop()
        if callback is not None:
            callback()

    @enable_ki_protection
    def finish_now(self) -> bool:
        """Do `finish` for a guest that returned in a worker; return False if there is more to do.

        Raises:
            GuestTrap: the guest trapped.
        """
        job, crossing = self._job, self._crossing
        if job is None or not job.is_unclaimed or job.error is not None or not self.finished:
            return False
        assert crossing is not None
        self._job = None
        self._judge(crossing.history, measured=True)
        self._end()
        if self.store.errors != _NO_ERRORS:
            self._raise_stop(crossing.label)
        return True

    def step(self) -> bool:
        """Run a slice, on a worker thread; return True if the task has to continue."""
        began = thread_time()
        self._ticker.enter()
        try:
            self.finished = _poll(self.future)
        finally:
            self._ticker.leave()
            self._computed += thread_time() - began
        return self._level.finished or self.pending is not None or self.failure is not None

    def hasten(self) -> None:
        """End the slice on a worker thread at once."""
        self._ticker.tick()

    def _check(self) -> None:
        """Raise the error for which the guest may not continue, if there is one."""
        if self.interrupted is not None:
            raise self.interrupted
        if self.failure is not None:
            raise self.failure
        if self._deadline is not None and trio.current_time() > self._deadline:
            raise self._timeout()

    def _timeout(self) -> CallTimeout:
        label = self._crossing.label if self._crossing is not None else ""
        return CallTimeout(f"{label} took longer than limits.call_seconds={self.call_seconds}")

    # --- host calls ---

    def _prepare_host_call(self) -> None:
        """Make a host call for the entry callback, which must not make one itself."""
        if self.next_call is None:
            self.next_call = self._new_host_call()

    async def _serve(self, call: HostCall) -> None:
        """Run the host function that the guest waits for, and give the guest its results."""
        caller = self.guest.make_caller(call)
        try:
            value = _call_plain(call.function.function, caller, call.args())
            if inspect.isawaitable(value):
                self._on_loop_since = 0.0  # keeps no float: many calls may wait, and for long
                value = await self._await_host(value)
                self._on_loop_since = perf_counter()
            if not call.dropped and call.nested is None:
                rest = call.answer(value)
                if rest is not None:
                    await rest
        except Exception as error:
            self._note_path(error, call)
            raise
        except BaseException as error:
            if call.nested is None:  # else `_end_stray` poisons it
                self.poison(error, by_host=True)
            raise
        finally:
            call.returned = True
            if call.nested is not None:
                await self._end_stray(call)
        self._check()

    async def _end_stray(self, call: HostCall) -> None:
        """End the guest: a task is in a nested call, and the host function below it has ended."""
        error = RuntimeError(
            f"host function {call.function} ended while another task was in a call by its caller:"
            " start such tasks in a nursery of the host function's own"
        )
        self._strayed = True
        self.poison(error)
        self.interrupt(error)
        await self.wait_dropped()

    async def _await_host(self, value: Awaitable[Any]) -> Any:
        """Await a host function's value; an interrupt cancels it."""
        if self._scope is not None:  # of an outer host function: an interrupt cancels that
            return await _await(value)
        with trio.CancelScope() as scope:
            self._scope = scope
            if self.interrupted is not None:  # by the host function itself
                scope.cancel()
            try:
                return await _await(value)
            finally:
                self._scope = None
        self._check()
        return None

    def _note_path(self, error: Exception, call: HostCall) -> None:
        """Add a note on where it was raised, once: it may pass through outer host functions."""
        outer = self.host_calls[: self.host_calls.index(call)] if call in self.host_calls else []
        path = "".join(f"host function {each.function} -> guest -> " for each in outer)
        with contextlib.suppress(Exception):  # it may be frozen, or have odd notes
            if not any(note.startswith(_RAISED_IN) for note in getattr(error, "__notes__", ())):
                error.add_note(f"{_RAISED_IN} -> {path}host function {call.function}")

    @enable_ki_protection
    async def call_back(self, call: HostCall, nested: NestedCall, label: str) -> Results:
        """Make a nested call for a host function and drive it to its end.

        Raises:
            GuestTrap: the nested call trapped, or the nesting is too deep.
            MemoryError: there is no stack for it.
            BaseException: as `run`.
        """
        depth = len(self.host_calls)
        if depth >= NESTING:
            self.poisoned = self.poisoned or "trap"
            message = f"{label}: guest and host have called each other {NESTING} levels deep"
            raise GuestTrap("stack-overflow", message)
        headroom(FRAMES + depth * FRAMES_A_LEVEL)
        with self._engine.deep_call() if depth > 1 else contextlib.nullcontext():
            await self._drive_nested(call, nested)
        stop = self.store.take_failure(nested.errors)
        if stop is not None:
            self.poisoned = self.poisoned or "trap"
            raise trapped(stop, label)
        return nested.take_results()

    async def _drive_nested(self, call: HostCall, nested: NestedCall) -> None:
        call.nested = nested
        self._on_loop_since = perf_counter()
        try:
            nested.begin(call.context)
            await self._slice_in_budget(nested)
            await self._drive(nested)
        except BaseException as error:
            self.poison(error)
            raise
        finally:
            self._drop_above(call)

    # --- ending a guest ---

    def interrupt(self, error: BaseException) -> None:
        """End the call under way, if there is one, with ``error`` in its task."""
        if not self.busy or self.interrupted is not None:
            return
        self.interrupted = error
        self.poisoned = self.poisoned or "cancelled"
        if self._scope is not None:
            self._scope.cancel()
        if self._job is not None and not self._job.is_unclaimed:
            self._placement.queue.stop(self._job)  # its task drops the fiber, or `come_back`
        else:
            self.drop()

    def forget_interrupt(self) -> None:
        """Drop the interrupt's error, whose traceback refers to this fiber.

        The store is gone, and no task is in a call that could look for it.
        """
        if not self._strayed:
            self.interrupted = None

    async def wait_dropped(self) -> None:
        """Wait until there is no fiber: a tick at most. It must have been interrupted.

        Neither a cancel nor a KeyboardInterrupt ends the wait: the caller frees the store next.
        """
        while self.future:
            self._waiting_for_drop += (trio.lowlevel.current_task(),)
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    def poison(self, error: BaseException, *, by_host: bool = False) -> None:
        """Note that the instance may not serve again; the first reason stays.

        One exception: a timeout replaces the cancel by which it first ends the nested calls.
        """
        reason = poison_reason(error, by_host=by_host)
        if self.poisoned is None or (self.poisoned == "cancelled" and reason == "timeout"):
            self.poisoned = reason

    @enable_ki_protection
    def drop(self) -> None:
        """Unwind the fiber, wherever it is suspended. Safe to call again."""
        self._reclaim()
        if self.host_calls:
            self._drop_from(0)
        if self.future:
            _capi.delete_future(self.future)
            self.future = 0
            waiting, self._waiting_for_drop = self._waiting_for_drop, ()
            for task in waiting:
                trio.lowlevel.reschedule(task)

    def _drop_above(self, call: HostCall) -> None:
        """Unwind the call nested in a host call, and all calls nested in that one."""
        nested, call.nested = call.nested, None
        if not call.dropped:
            self._drop_from(self.host_calls.index(call) + 1)
        if nested is not None:
            nested.drop()

    def _drop_from(self, level: int) -> None:
        self.pending = None
        while len(self.host_calls) > level:
            self.host_calls.pop().forget()

    @enable_ki_protection
    def close(self) -> None:
        """Free the store. Safe to call again."""
        if self.future or self.host_calls or self._job is not None:  # most end between two calls
            self.drop()
        self._crossing = None  # it refers to this fiber, and the level may, too
        self._level = _NO_LEVEL
        fibers.pop(self.key, None)
        self.store.delete()


def _after_fork() -> None:
    """Poison all instances in the child, where no guest can run: so no call checks for a fork."""
    for fiber in fibers.values():
        fiber.poisoned = "forked"


os.register_at_fork(after_in_child=_after_fork)


class CallerMaker(Protocol):
    """Makes what a host function is given: its guest, as host functions see it."""

    def make_caller(self, call: HostCall) -> object: ...
