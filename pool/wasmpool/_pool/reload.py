"""Putting another module in service while calls run.

A reload has three parts. 1. The new generation is prepared beside the old one, in room that only a
reload may use (the surge), so that a module that does not start harms no caller. 2. The switch is
one synchronous step, `Core.switch`: before it, every task gets the old generation, after it none
does. 3. The old generation drains like a pool that closes: its leases are told, have the grace, and
are revoked.

Reloads are prepared one after another, in the order of their calls; any number of old generations
may drain meanwhile, up to ``max_generations`` in all.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final

import trio

from wasmpool._errors import PoolClosed, ReloadFailed

from .fitness import first_unfit
from .generation import Generation
from .maintenance import Unhealthy
from .pool_state import PoolState
from .retire_reason import RetireReason

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .core import Core
    from .maintenance import Maintenance
    from .protocols import Module, Setup
    from .slot import Slot

__all__ = ["KEEP", "Keep", "Reloads"]


class _Keep(Enum):
    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = _Keep.KEEP
"""As ``setup`` of a reload: the one in service."""

Keep: TypeAlias = Literal[_Keep.KEEP]


@final
class Reloads:
    """The reloads of one pool."""

    __slots__ = ("_core", "_lock", "_maintenance")

    def __init__(self, core: Core, maintenance: Maintenance) -> None:
        self._core = core
        self._maintenance = maintenance
        self._lock = trio.Lock()
        """Held while a reload is prepared."""

    @trio.lowlevel.enable_ki_protection
    async def reload(  # noqa: PLR0913 - as `Pool.reload`
        self,
        module: Module,
        setup: Setup | Keep | None,
        grace: float,
        task_status: trio.TaskStatus[int],
        *,
        force: bool,
        admit: Callable[[], object] | None = None,
    ) -> int:
        """`Pool.reload`, with arguments that were checked.

        ``admit`` is called in the step of the switch, just before it. What it raises leaves the old
        generation in service, and is the cause of `ReloadFailed`.
        """
        core = self._core
        with self._until_it_closes():
            async with self._lock:
                old = core.current
                wanted = old.setup if setup is KEEP else setup
                if not force and module.identity == old.module.identity and wanted is old.setup:
                    task_status.started(old.number)
                    return old.number
                new = Generation(old.number + 1, module, wanted)
                core.switch(new, await self._prepare(new, admit), grace)
            task_status.started(new.number)
            await self._until_gone(old)
            return new.number
        raise PoolClosed(f"pool {core.name!r} closed during a reload")

    @contextmanager
    def _until_it_closes(self) -> Generator[None]:
        """A block that is cancelled when the pool begins to close."""
        with trio.CancelScope() as scope:
            self._core.begin_reload(scope)
            try:
                yield
            finally:
                self._core.end_reload(scope)

    async def _prepare(self, new: Generation, admit: Callable[[], object] | None) -> list[Slot]:
        """Start, set up and check instances of the new generation, and return them.

        Raises:
            ReloadFailed: one of them failed, or ``admit`` did. Everything new is being closed.
        """
        core = self._core
        while len(core.generations) >= core.options.max_generations:
            going = next(each for each in core.generations if each.replaced)
            await going.gone.wait()
        slots: list[Slot] = []
        core.add_generation(new)
        try:
            # 1. Start one instance, the canary, once there is room: old leases take some, too.
            while not core.has_room():
                await core.room_freed.park()
            await trio.lowlevel.checkpoint_if_cancelled()  # in a closed pool nothing may start
            slots.append(core.start_canary(new))
            failure = await self._maintenance.start_all(slots, check=True)
            # 2. It serves: start the others.
            if failure is None:
                while len(slots) < core.min_size and core.has_room():
                    slots.append(core.begin_start(new))
                failure = await self._maintenance.start_all(slots[1:], check=True)
                failure = failure or first_unfit(core.name, slots)
            if failure is not None:
                raise self._failed(*failure)  # noqa: TRY301 - cleaned up like any other end
            # 3. The last checkpoint before the switch.
            await trio.lowlevel.checkpoint_if_cancelled()
            if admit is not None:
                self._ask(admit)
        except BaseException:
            core.withdraw_generation(new)
            raise
        return slots

    def _ask(self, admit: Callable[[], object]) -> None:
        try:
            admit()
        except Exception as refused:
            core = self._core
            message = (
                f"pool {core.name!r} goes on with generation {core.current.number}: the new module"
                f" is refused: {refused}"
            )
            raise ReloadFailed(message) from refused

    def _failed(self, slot: Slot, error: Exception) -> ReloadFailed:
        """Retire the instance that failed, and return the error of the reload."""
        unhealthy = isinstance(error, Unhealthy)
        reason = RetireReason.UNHEALTHY if unhealthy else RetireReason.FAILED_START
        core = self._core
        core.start_abandoned(slot, reason)
        failed = ReloadFailed(
            f"pool {core.name!r} goes on with generation {core.current.number}: the new module"
            f" {'is not healthy' if unhealthy else 'could not be started'}: {error}"
        )
        failed.__cause__ = error.__cause__ or error if unhealthy else error
        return failed

    async def _until_gone(self, old: Generation) -> None:
        """Wait until the old generation is gone. A cancel ends its grace."""
        try:
            await old.gone.wait()
        except BaseException:
            if self._core.state is PoolState.OPEN:  # else the grace of the close counts
                self._core.end_generation(old)
            raise
