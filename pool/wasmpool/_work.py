"""The pool's own tasks: starting instances, checking them, closing them.

They run in the pool's nursery, so an asker that gives up wastes no start, and report each end to
the core with one synchronous call. The user's ``setup`` and ``check`` run here.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, final

import trio

from ._retire import RetireReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import Core
    from ._slot import Slot

__all__ = ["Unhealthy", "Work"]

_LOGGER: Final = logging.getLogger("wasmpool")

_CLOSERS: Final = 16


class Unhealthy(Exception):
    """``check`` said that an instance may not serve."""


@final
class Work:
    """What a pool does in tasks of its own."""

    __slots__ = ("_body", "_closers", "_core", "_nursery", "_retired", "crash")

    def __init__(self, core: Core, nursery: trio.Nursery, body: trio.CancelScope) -> None:
        self._core = core
        self._nursery = nursery
        self._body = body
        self._retired: deque[Slot] = deque()
        self._closers = 0
        self.crash: BaseException | None = None
        """What a task of the pool ended with that ends the block."""
        core.work = self

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
            self.crash = error
            self._body.cancel()

    def start(self, slot: Slot) -> None:
        """Prepare an instance for service."""
        self.spawn(self._start, slot)

    def check(self, slot: Slot) -> None:
        """See whether an idle instance may serve again."""
        self.spawn(self._check, slot)

    def close(self, slot: Slot) -> None:
        """Close a retired instance that nobody is in, in its turn."""
        self._retired.append(slot)
        if self._closers < _CLOSERS:
            self._closers += 1
            self.spawn(self._close_retired)

    def close_apart(self, slot: Slot) -> None:
        """Close a retired instance that a call is under way in: it takes its time to end."""
        self.spawn(self._close, slot)

    @trio.lowlevel.enable_ki_protection
    async def _close_retired(self) -> None:
        """Close one instance after the other.

        To free the memory of one takes some 60 us, and a reload retires many at once. So only
        so many are closed side by side as take about a millisecond of the loop.
        """
        while self._retired:
            await self._guard(self._close, (self._retired.popleft(),))
        self._closers -= 1

    @trio.lowlevel.enable_ki_protection
    async def _start(self, slot: Slot) -> None:
        try:
            with slot.scope:
                await self.prepare(slot, check=False)
        except Exception as error:  # noqa: BLE001 - whatever a start ends with, it has failed
            self._core.start_failed(slot, error)
        except BaseException:
            self._core.start_abandoned(slot)
            raise
        else:
            if slot.scope.cancelled_caught:
                self._core.start_abandoned(slot)
            else:
                self._core.started(slot)

    @trio.lowlevel.enable_ki_protection
    async def prepare(self, slot: Slot, *, check: bool) -> None:
        """Start an instance, set it up, and check it if that is asked for.

        Raises:
            trio.TooSlowError: it took longer than ``start_timeout``.
            Exception: as start, setup or check failed.
        """
        limit = self._core.options.start_timeout
        with trio.move_on_after(limit) as scope:
            generation = slot.generation
            slot.instance = await _unprotected(generation.module.instantiate)
            if generation.replaced or slot.scope.cancel_called:
                return  # it comes too late: no use to set it up
            if generation.setup is not None:
                await _unprotected(generation.setup, slot.instance)
            if check:
                await self._look_at(slot)
        slot.took = trio.current_time() - slot.began
        if scope.cancelled_caught:
            raise trio.TooSlowError(
                f"pool {self._core.name!r}: starting instance {slot.number} took longer than"
                f" start_timeout={limit} s"
            )

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

    @trio.lowlevel.enable_ki_protection
    async def _check(self, slot: Slot) -> None:
        healthy = False
        try:
            with slot.scope, trio.fail_after(self._core.options.start_timeout):
                await self._look_at(slot)
                healthy = True
        except Exception as error:  # noqa: BLE001 - whatever a check raises, it says no
            _LOGGER.info(
                "pool %r: instance %d is not healthy: %r", self._core.name, slot.number, error
            )
        except BaseException:
            self._core.start_abandoned(slot)
            raise
        if healthy:
            self._core.checked(slot)
        elif slot.scope.cancelled_caught:
            self._core.start_abandoned(slot)
        else:
            self._core.start_abandoned(slot, RetireReason.UNHEALTHY)

    @trio.lowlevel.enable_ki_protection
    async def _close(self, slot: Slot) -> None:
        try:
            with trio.CancelScope(shield=True):
                await slot.instance.aclose()
        except Exception:
            _LOGGER.exception("pool %r: closing instance %d failed", self._core.name, slot.number)
        finally:
            self._core.freed_by(slot)


@trio.lowlevel.disable_ki_protection
async def _unprotected(function: Callable[..., Any], *args: Any) -> Any:
    """Call the user's code, plain or async: Ctrl-C may end it anywhere."""
    result = function(*args)
    if inspect.isawaitable(result):
        return await result
    return result
