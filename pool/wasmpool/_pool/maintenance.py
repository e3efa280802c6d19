"""The pool's own tasks: they start, check and close instances.

They run in the pool's nursery, so that a start goes on when the task that asked gives up, and
report each end to the core with one synchronous call. The user's ``setup`` and ``check`` run here.

To start or close an instance takes microseconds for most modules: much less than a task of its own
with its cancel scopes. So one task does this, one instance after the other, and lets the loop run
after each slice of its time. What takes longer than a step then gets a task of its own.

A call that uses up its instance has it replaced at once, in its own task, as long as starts are
short: to wake another task for that would take a good part of the time that it takes to do it.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from contextvars import copy_context
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, final

import trio

from wasmpool_host.lowlevel import PENDING, DrivenInstance

from .fitness import condition, first_unfit, why_unfit
from .log_extra import LogExtra
from .retire_reason import RetireReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wasmpool_host.lowlevel import Pending

    from .core import Core
    from .protocols import Instance
    from .slot import Slot

__all__ = ["Maintenance", "Unhealthy"]

_LOGGER: Final = logging.getLogger("wasmpool")

_CLOSE_FAILED: Final = "pool %r: closing instance %d failed"

_SLICE: Final = 0.0005
"""Seconds of the loop that starts and closes take at once."""

_SHORT: Final = 0.0002
"""Seconds of a start that the task of a call may do: some ten times what a task takes to wake."""


class Unhealthy(Exception):
    """``check`` has found that an instance may not serve."""


@final
class Maintenance:
    """What a pool does in tasks of its own."""

    __slots__ = (
        "_body", "_context", "_core", "_held", "_idle_task", "_nursery", "_retired", "_starts",
        "_unfinished", "crash", "is_short",
    )  # fmt: skip

    def __init__(self, core: Core, nursery: trio.Nursery, body: trio.CancelScope) -> None:
        """Run in a nursery; what ends a task there that should not end cancels ``body``."""
        self._core = core
        self._nursery = nursery
        self._body = body
        self._retired: deque[Slot] = deque()
        """To be closed by `_run`."""
        self._starts: deque[Slot] = deque()
        """To be started by it."""
        self._unfinished: dict[Slot, Awaitable[object]] = {}
        """The rest of the starts that are pending."""
        self._held = False
        """Whether `replace` is under way, which wakes `_run` at its end."""
        self.is_short: bool = False
        """Whether the last start was over in one short step."""
        self._context = copy_context()
        """The pool's, for what begins in the task of a call."""
        self._idle_task: trio.lowlevel.Task | None = None
        """The task of `_run`, while it has nothing to do."""
        self.crash: BaseException | None = None
        """The error of a task of the pool that ends the block."""
        self.spawn(self._run)

    def spawn(self, function: Callable[..., Any], *args: Any) -> None:
        """Run an async function in a task of the pool."""
        name = f"{function.__qualname__} of pool {self._core.name!r}"
        self._nursery.start_soon(self._guard, function, args, name=name)

    @trio.lowlevel.enable_ki_protection
    async def _guard(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Have an error that ends a program (Ctrl-C in a setup, say) close the pool first."""
        try:
            await function(*args)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - the block raises it
            self._end_with(error)

    def _end_with(self, error: BaseException) -> None:
        self.crash = error
        self._body.cancel()

    # --- what the core asks for ---

    def start(self, slot: Slot) -> None:
        """Begin to start an instance and to set it up."""
        self._starts.append(slot)
        self._wake()

    def check(self, slot: Slot) -> None:
        """Begin to check if an idle instance may serve again."""
        self.spawn(self._check, slot)

    def close(self, slot: Slot, *, busy: bool) -> None:
        """Begin to close a retired instance; ``busy`` if a call may be under way in it."""
        if busy:
            self.spawn(self._close, slot)
        else:
            self._retired.append(slot)
            self._wake()

    @trio.lowlevel.enable_ki_protection
    def replace(self, slot: Slot) -> None:
        """Close one instance and start another, in the task of a call; `_run` does the rest.

        The caller has checked its headroom, before the call. No task waits: a call that ends so has
        found an idle instance. So this is one step, whatever the pool's size.
        """
        self._held = True
        try:
            self._context.run(self._replace, slot)
        except BaseException as error:  # noqa: BLE001 - the block raises it
            self._end_with(error)
        finally:
            self._held = False
            if self._starts or self._retired:
                self._wake()

    def _replace(self, slot: Slot) -> None:
        self._close_now(slot)  # first: the processor's cache still has its memory
        if self._starts:
            self._start_now(self._starts.popleft())

    # --- one step each ---

    def _wake(self) -> None:
        if self._held:
            return
        task, self._idle_task = self._idle_task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        """Start and close instances when there are any, until the nursery is cancelled."""
        while True:
            until = perf_counter() + _SLICE
            while self._starts or self._retired:
                if perf_counter() > until:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    until = perf_counter() + _SLICE
                    continue  # `replace` may have begun the last start meanwhile
                try:
                    if self._starts:  # first: a task may wait for them
                        self._start_now(self._starts.popleft())
                    else:
                        self._close_now(self._retired.popleft())
                except BaseException as error:  # noqa: BLE001 - the block raises it
                    self._end_with(error)
            self._idle_task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    def _start_now(self, slot: Slot) -> None:
        if slot.unwanted:
            self._core.start_abandoned(slot)
            return
        began = perf_counter()
        try:
            pending = self._start_instance(slot)
        except Exception as error:  # noqa: BLE001 - as in `_start`
            if self._held and isinstance(error, RecursionError) and slot.instance is None:
                self._starts.append(slot)  # not in this task: `_run` has a stack of its own
            else:
                self._core.start_failed(slot, error)
        except BaseException:
            self._core.start_abandoned(slot)
            raise
        else:
            if pending is PENDING:
                self.is_short = False
                self.spawn(self._start, slot)
            else:
                self.is_short = perf_counter() - began < _SHORT
                self._core.started(slot, self._core.prepared(slot))

    def _close_now(self, slot: Slot) -> None:
        closed = True
        try:
            closed = slot.instance.close_now()
        except Exception:
            extra = LogExtra(self._core, slot)
            _LOGGER.exception(_CLOSE_FAILED, self._core.name, slot.number, extra=extra)
        finally:
            if closed:
                self._core.instance_closed(slot)
            else:
                self.spawn(self._close, slot)

    # --- what takes longer ---

    @trio.lowlevel.enable_ki_protection
    async def _start(self, slot: Slot) -> None:
        """Finish a start that `_start_instance` has begun."""
        try:
            with slot.scope:
                await self._finish_start(slot, check=False)
        except Exception as error:  # noqa: BLE001 - whatever a start raises, it has failed
            self._core.start_failed(slot, error)
        except BaseException:
            self._core.start_abandoned(slot)
            raise
        else:
            if slot.scope.cancelled_caught:
                self._core.start_abandoned(slot)
            else:
                self._core.started(slot, self._core.now())

    @trio.lowlevel.enable_ki_protection
    def _start_instance(self, slot: Slot) -> Pending | None:
        """Do the first step of a start. Return PENDING if `_finish_start` has to do the rest."""
        instance = slot.generation.module.new_instance()
        if isinstance(instance, DrivenInstance):  # no other logs what its guest says
            instance.log_extra = LogExtra(self._core, slot)
        if instance.start() is PENDING:
            rest: Awaitable[object] | None = self._finish_instance(slot, instance)
        else:
            self._core.instantiated(slot, instance)
            rest = self._set_up(slot)
        if rest is None:
            return None
        self._unfinished[slot] = rest
        return PENDING

    @trio.lowlevel.enable_ki_protection
    async def _finish_instance(self, slot: Slot, instance: Instance) -> None:
        await instance.finish()
        self._core.instantiated(slot, instance)
        rest = self._set_up(slot)
        if rest is not None:
            await rest

    def _set_up(self, slot: Slot) -> Awaitable[object] | None:
        """Call the setup. Return what must be awaited for the rest of it, or None."""
        setup = slot.generation.setup
        if setup is None or slot.unwanted:
            return None
        result = copy_context().run(_unprotected_call, setup, slot.instance)
        return _unprotected_rest(result) if inspect.isawaitable(result) else None

    @trio.lowlevel.enable_ki_protection
    async def _finish_start(self, slot: Slot, *, check: bool) -> None:
        """Finish what `_start_instance` has begun, and check the instance if ``check``.

        Raises:
            trio.TooSlowError: it took longer than ``start_timeout``.
            InstancePoisoned, InstanceClosed: the setup ended well, but the instance cannot serve.
            Exception: what start, setup or check raised.
        """
        rest = self._unfinished.pop(slot, None)
        limit = self._core.options.start_timeout
        with trio.move_on_after(limit) as scope:
            if rest is not None:
                await rest
            if not (scope.cancel_called or slot.unwanted):
                unfit = why_unfit(self._core.name, slot)
                if unfit is not None:
                    raise unfit
                if check:
                    await self._run_check(slot)
        self._core.prepared(slot)
        if scope.cancel_called:  # also if the setup has caught the cancel
            raise trio.TooSlowError(
                f"pool {self._core.name!r}: starting instance {slot.number} took longer than"
                f" start_timeout={limit} s"
            )

    @trio.lowlevel.enable_ki_protection
    async def _run_check(self, slot: Slot) -> None:
        """Run the user's check.

        Raises:
            Unhealthy: it returned False, raised, or left the instance poisoned or closed.
        """
        check = self._core.options.check
        if check is None:
            return
        try:
            answer = await _unprotected(check, slot.instance)
        except Exception as error:
            raise Unhealthy(f"check raised {error!r} for instance {slot.number}") from error
        if answer is not None and not answer:
            raise Unhealthy(f"check returned {answer!r} for instance {slot.number}")
        wrong = condition(slot)
        if wrong is not None:
            raise Unhealthy(f"check returned {answer!r}, but instance {slot.number} is {wrong}")

    @trio.lowlevel.enable_ki_protection
    async def _check(self, slot: Slot) -> None:
        healthy = False
        try:
            with slot.scope, trio.fail_after(self._core.options.start_timeout) as limit:
                await self._run_check(slot)
                healthy = not limit.cancel_called
        except Exception as error:  # noqa: BLE001 - whatever a check raises, it has failed
            _LOGGER.info(
                "pool %r: instance %d is not healthy: %r", self._core.name, slot.number, error,
                extra=LogExtra(self._core, slot),
            )  # fmt: skip
        except BaseException:
            self._core.start_abandoned(slot)
            raise
        if healthy:
            self._core.checked(slot)
        elif slot.scope.cancel_called:
            self._core.start_abandoned(slot)
        else:
            self._core.start_abandoned(slot, RetireReason.UNHEALTHY)

    @trio.lowlevel.enable_ki_protection
    async def _close(self, slot: Slot) -> None:
        try:
            with trio.CancelScope(shield=True):
                await slot.instance.aclose()
        except Exception:
            extra = LogExtra(self._core, slot)
            _LOGGER.exception(_CLOSE_FAILED, self._core.name, slot.number, extra=extra)
        finally:
            self._core.instance_closed(slot)

    # --- several, in the task that asks ---

    @trio.lowlevel.enable_ki_protection
    async def start_all(
        self, slots: Sequence[Slot], *, check: bool
    ) -> tuple[Slot, Exception] | None:
        """Start instances together, when a pool opens or reloads.

        Returns:
            None once all are prepared; else the first that failed, with its error. The others are
            cancelled then.
        """
        failures: list[tuple[Slot, BaseException]] = []

        def fail(slot: Slot, error: BaseException) -> None:
            failures.append((slot, error))  # raised below, outside of the nursery's group
            nursery.cancel_scope.cancel()

        @trio.lowlevel.enable_ki_protection
        async def finish(slot: Slot) -> None:
            try:
                await self._finish_start(slot, check=check)
            except trio.Cancelled:
                raise
            except BaseException as error:  # noqa: BLE001 - raised or returned below
                fail(slot, error)

        async with trio.open_nursery() as nursery:
            until = perf_counter() + _SLICE
            for slot in slots:
                if perf_counter() > until:
                    await trio.lowlevel.checkpoint()
                    until = perf_counter() + _SLICE
                try:
                    self._start_instance(slot)
                except BaseException as error:  # noqa: BLE001 - raised or returned below
                    fail(slot, error)
                    break
                nursery.start_soon(finish, slot)
        if not failures:
            return first_unfit(self._core.name, slots)
        slot, failure = failures[0]
        failures.clear()  # the errors' tracebacks refer to it, by way of `fail`
        if not isinstance(failure, Exception):
            raise failure
        return slot, failure


# The user's code runs without protection: Ctrl-C may end it anywhere.


@trio.lowlevel.disable_ki_protection
def _unprotected_call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


@trio.lowlevel.disable_ki_protection
async def _unprotected_rest(rest: Awaitable[Any]) -> Any:
    return await rest


@trio.lowlevel.disable_ki_protection
async def _unprotected(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that is plain or async."""
    result = function(*args)
    if inspect.isawaitable(result):
        return await result
    return result
