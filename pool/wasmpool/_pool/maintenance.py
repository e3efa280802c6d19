"""The pool's own tasks: starting instances, checking them, closing them.

They run in the pool's nursery, so an asker that gives up wastes no start, and report each end to
the core with one synchronous call. The user's ``setup`` and ``check`` run here.

To start an instance, or to close one, is a matter of microseconds for most modules: much less
than a task of its own with its cancel scopes. So one task, the housekeeper, does that for modules
that can do it in one step, one instance after the other, and lets the loop go on after each slice
of its time. What takes longer than a step is then given a task of its own.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from contextvars import copy_context
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, cast, final

import trio

from .fitness import condition, why_unfit
from .retire_reason import RetireReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .core import Core
    from .protocols import SyncInstance, SyncModule
    from .slot import Slot

__all__ = ["SLICE", "Unhealthy", "Work"]

_LOGGER: Final = logging.getLogger("wasmpool")

_CLOSE_FAILED: Final = "pool %r: closing instance %d failed"

SLICE: Final = 0.0005
"""Seconds of the loop that starts and closes take at once."""


class Unhealthy(Exception):
    """``check`` said that an instance may not serve."""


@final
class Work:
    """What a pool does in tasks of its own."""

    __slots__ = (
        "_body", "_core", "_housekeeper", "_nursery", "_retired", "_starts", "crash",
    )  # fmt: skip

    def __init__(self, core: Core, nursery: trio.Nursery, body: trio.CancelScope) -> None:
        self._core = core
        self._nursery = nursery
        self._body = body
        self._retired: deque[Slot] = deque()
        """To be closed by the housekeeper."""
        self._starts: deque[Slot] = deque()
        """To be started by it."""
        self._housekeeper: trio.lowlevel.Task | None = None
        """While it has nothing to do."""
        self.crash: BaseException | None = None
        """What a task of the pool ended with that ends the block."""
        core.work = self
        self.spawn(self._keep_house)

    def spawn(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function in a task of the pool."""
        name = f"{function.__qualname__} of pool {self._core.name!r}"
        self._nursery.start_soon(self._guard, function, args, name=name)

    @trio.lowlevel.enable_ki_protection
    async def _guard(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Let what ends a program (Ctrl-C in a setup, say) end the block: the pool closes first."""
        try:
            await function(*args)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - it comes out of the block
            self._end_with(error)

    def _end_with(self, error: BaseException) -> None:
        self.crash = error
        self._body.cancel()

    def start(self, slot: Slot) -> None:
        """Prepare an instance for service."""
        if slot.generation.in_one_step:
            self._starts.append(slot)
            self._call_housekeeper()
        else:
            self.spawn(self._start, slot, None)

    def check(self, slot: Slot) -> None:
        """See whether an idle instance may serve again."""
        self.spawn(self._check, slot)

    def close(self, slot: Slot) -> None:
        """Close a retired instance that nobody is in."""
        if slot.generation.in_one_step:
            self._retired.append(slot)
            self._call_housekeeper()
        else:
            self.close_apart(slot)

    def close_apart(self, slot: Slot) -> None:
        """Close a retired instance in a task of its own, as a call is under way in it, perhaps."""
        self.spawn(self._close, slot)

    # --- the housekeeper ---

    def _call_housekeeper(self) -> None:
        task, self._housekeeper = self._housekeeper, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    @trio.lowlevel.enable_ki_protection
    async def _keep_house(self) -> None:
        """Start and close instances, whenever there are any, until the pool is gone."""
        while True:
            until = perf_counter() + SLICE
            while self._starts or self._retired:
                if perf_counter() > until:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    until = perf_counter() + SLICE
                try:
                    if self._starts:  # first: somebody may wait for them
                        self._start_now(self._starts.popleft())
                    else:
                        self._close_now(self._retired.popleft())
                except BaseException as error:  # noqa: BLE001 - it comes out of the block
                    self._end_with(error)
            self._housekeeper = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    def _start_now(self, slot: Slot) -> None:
        if slot.generation.replaced or slot.scope.cancel_called:
            self._core.start_abandoned(slot)
            return
        try:
            rest = self.begin(slot)
        except Exception as error:  # noqa: BLE001 - as in `_start`
            self._core.start_failed(slot, error)
        except BaseException:
            self._core.start_abandoned(slot)
            raise
        else:
            if rest is None:
                self._has_started(slot)
            else:
                self.spawn(self._start, slot, rest)

    def _close_now(self, slot: Slot) -> None:
        closed = True
        try:
            closed = cast("SyncInstance", slot.instance).close_now()
        except Exception:
            _LOGGER.exception(_CLOSE_FAILED, self._core.name, slot.number)
        finally:
            if closed:
                self._core.freed_by(slot)
            else:
                self.close_apart(slot)

    # --- what takes its time ---

    @trio.lowlevel.enable_ki_protection
    async def _start(self, slot: Slot, rest: Awaitable[object] | None) -> None:
        """Prepare an instance; ``rest`` is what `begin` has left of it, None before that."""
        try:
            with slot.scope:
                await self.finish(slot, self.begin(slot) if rest is None else rest, check=False)
        except Exception as error:  # noqa: BLE001 - whatever a start ends with, it has failed
            self._core.start_failed(slot, error)
        except BaseException:
            self._core.start_abandoned(slot)
            raise
        else:
            if slot.scope.cancelled_caught:
                self._core.start_abandoned(slot)
            else:
                self._has_started(slot)

    def _has_started(self, slot: Slot) -> None:
        slot.took = trio.current_time() - slot.began
        self._core.started(slot)

    @trio.lowlevel.enable_ki_protection
    def begin(self, slot: Slot) -> Awaitable[object] | None:
        """The first step of a start; what is to be awaited for the rest, if anything is."""
        generation = slot.generation
        if not generation.in_one_step:
            return self._instantiate(slot, _unprotected(generation.module.instantiate))
        module = cast("SyncModule", generation.module)
        instance, ready = module.start_instance()
        if not ready:
            return self._instantiate(slot, _rest_of_start(module, instance))
        slot.instance = instance
        return self._set_up(slot)

    @trio.lowlevel.enable_ki_protection
    async def _instantiate(self, slot: Slot, making: Awaitable[Any]) -> None:
        slot.instance = await making
        rest = self._set_up(slot)
        if rest is not None:
            await rest

    def _set_up(self, slot: Slot) -> Awaitable[object] | None:
        setup = slot.generation.setup
        if setup is None or slot.generation.replaced or slot.scope.cancel_called:
            return None  # the last two: it comes too late
        result = copy_context().run(_unprotected_call, setup, slot.instance)
        return _unprotected_rest(result) if inspect.isawaitable(result) else None

    @trio.lowlevel.enable_ki_protection
    async def finish(self, slot: Slot, rest: Awaitable[object] | None, *, check: bool) -> None:
        """What `begin` has left of a start, and a check if that is asked for.

        Raises:
            trio.TooSlowError: it took longer than ``start_timeout``.
            InstancePoisoned, InstanceClosed: the setup ended well, but the instance cannot serve.
            Exception: as start, setup or check failed.
        """
        limit = self._core.options.start_timeout
        with trio.move_on_after(limit) as scope:
            if rest is not None:
                await rest
            if not (scope.cancel_called or slot.generation.replaced or slot.scope.cancel_called):
                await self._look_at_new(slot, check=check)
        slot.took = trio.current_time() - slot.began
        if scope.cancel_called:  # also where the setup let the cancel end its own call only
            raise trio.TooSlowError(
                f"pool {self._core.name!r}: starting instance {slot.number} took longer than"
                f" start_timeout={limit} s"
            )

    @trio.lowlevel.enable_ki_protection
    async def _look_at_new(self, slot: Slot, *, check: bool) -> None:
        unfit = why_unfit(self._core.name, slot)
        if unfit is not None:
            raise unfit
        if check:
            await self._look_at(slot)

    @trio.lowlevel.enable_ki_protection
    async def _look_at(self, slot: Slot) -> None:
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
                await self._look_at(slot)
                healthy = not limit.cancel_called
        except Exception as error:  # noqa: BLE001 - whatever a check raises, it says no
            _LOGGER.info(
                "pool %r: instance %d is not healthy: %r", self._core.name, slot.number, error
            )
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
            _LOGGER.exception(_CLOSE_FAILED, self._core.name, slot.number)
        finally:
            self._core.freed_by(slot)


# The user's code: Ctrl-C may end it anywhere.


@trio.lowlevel.disable_ki_protection
def _unprotected_call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


@trio.lowlevel.disable_ki_protection
async def _unprotected_rest(rest: Awaitable[Any]) -> Any:
    return await rest


@trio.lowlevel.disable_ki_protection
async def _unprotected(function: Callable[..., Any], *args: Any) -> Any:
    """Plain or async."""
    result = function(*args)
    if inspect.isawaitable(result):
        return await result
    return result


@trio.lowlevel.enable_ki_protection  # nobody else has the instance yet
async def _rest_of_start(module: SyncModule, instance: SyncInstance) -> SyncInstance:
    await module.finish_start(instance)
    return instance
