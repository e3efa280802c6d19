"""Putting another module in service while calls run.

A reload is three acts. The new generation is made ready beside the old one, in places that it
alone may use (the surge), so that a module that does not start harms nobody. The switch is one
synchronous step, `Core.switch`: before it, everybody has the old generation, after it nobody is
granted it. Then the old generation drains like a pool that closes: its leases are told, have the
grace, and are revoked.

Reloads are made ready one after another, in the order they were asked for; any number of old
generations may drain meanwhile, up to ``max_generations`` in all.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import trio

from wasmpool._errors import PoolClosed, ReloadFailed

from .closing import end_generation
from .generation import Generation
from .maintenance import Unhealthy
from .pool_state import PoolState
from .prepare import first_unfit, prepare_all
from .retire_reason import RetireReason

if TYPE_CHECKING:
    from collections.abc import Generator

    from .core import Core
    from .protocols import Module, Setup
    from .slot import Slot

__all__ = ["KEEP", "Keep", "reload"]


class _Keep(Enum):
    KEEP = "keep"

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = _Keep.KEEP
"""As ``setup`` of a reload: the one in service."""

Keep: TypeAlias = Literal[_Keep.KEEP]


@trio.lowlevel.enable_ki_protection
async def reload(  # noqa: PLR0913 - the pool and what `Pool.reload` was given
    core: Core,
    module: Module,
    setup: Setup | Keep | None,
    grace: float,
    task_status: trio.TaskStatus[int],
    *,
    force: bool,
) -> int:
    """`Pool.reload`, for arguments that were looked at."""
    with _until_it_closes(core):
        async with core.reload_lock:
            old = core.current
            wanted = old.setup if setup is KEEP else setup
            if not force and module.identity == old.module.identity and wanted is old.setup:
                task_status.started(old.number)
                return old.number
            new = Generation(old.number + 1, module, wanted)
            core.switch(new, await _make_ready(core, new), grace)
        task_status.started(new.number)
        await _until_gone(core, old)
        return new.number
    raise PoolClosed(f"pool {core.name!r} closed during a reload")


@contextmanager
def _until_it_closes(core: Core) -> Generator[None, None, None]:
    """A block that ends when the pool begins to close."""
    with trio.CancelScope() as scope:
        core.reloading.add(scope)
        if core.state is not PoolState.OPEN:
            scope.cancel()
        try:
            yield
        finally:
            core.reloading.discard(scope)


async def _make_ready(core: Core, new: Generation) -> list[Slot]:
    """Instances of the new generation that have been started, set up and checked.

    Raises:
        ReloadFailed: the first that could not be. Everything new is being closed.
    """
    while len(core.generations) >= core.options.max_generations:
        going = next(each for each in core.generations if each.replaced)
        await going.gone.wait()
    slots: list[Slot] = []
    core.generations.append(new)
    try:
        await _wait_for_room(core)
        await trio.lowlevel.checkpoint_if_cancelled()  # in a pool that has closed nothing starts
        slots.append(core.begin_start(new))
        core.advance()  # growth that waited for the canary may go on
        failure = await prepare_all(core, slots, check=True)
        if failure is None:
            while len(slots) < core.min_size and core.has_room():
                slots.append(core.begin_start(new))
            failure = await prepare_all(core, slots[1:], check=True) or first_unfit(core, slots)
        if failure is not None:
            raise _failed(core, *failure)  # noqa: TRY301 - cleaned up like any other end
        await trio.lowlevel.checkpoint_if_cancelled()  # from here to the switch nothing is
    except BaseException:
        _give_up(core, new, slots)
        raise
    return slots


async def _wait_for_room(core: Core) -> None:
    """Wait until the bound on live instances allows a canary: old leases count towards it."""
    core.canary_waits = True
    try:
        while not core.has_room():
            await core.freed.park()
    finally:
        core.canary_waits = False


def _failed(core: Core, slot: Slot, error: Exception) -> ReloadFailed:
    """Retire the one that failed, and say why."""
    unhealthy = isinstance(error, Unhealthy)
    reason = RetireReason.UNHEALTHY if unhealthy else RetireReason.FAILED_START
    core.start_abandoned(slot, reason)
    failed = ReloadFailed(
        f"pool {core.name!r} goes on with generation {core.current.number}: the new module"
        f" {'is not healthy' if unhealthy else 'could not be started'}: {error}"
    )
    failed.__cause__ = error.__cause__ or error if unhealthy else error
    return failed


def _give_up(core: Core, new: Generation, slots: list[Slot]) -> None:
    """Close everything new."""
    new.replaced = True
    reason = RetireReason.DISCARDED if core.state is PoolState.OPEN else RetireReason.CLOSED
    for slot in slots:
        if slot in core.starting:
            core.start_abandoned(slot, reason)
    core.bury(new)
    core.advance()


async def _until_gone(core: Core, old: Generation) -> None:
    """Wait for the old generation's end, and bring it about when that is cancelled."""
    try:
        await old.gone.wait()
    except BaseException:
        if core.state is PoolState.OPEN:  # else the grace of the close counts
            end_generation(core, old)
        raise
