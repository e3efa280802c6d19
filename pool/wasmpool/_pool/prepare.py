"""Instances made ready together, in the task that asks: when a pool opens, and on a reload."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import trio

from .fitness import why_unfit
from .maintenance import SLICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from .core import Core
    from .slot import Slot

__all__ = ["first_unfit", "prepare_all"]


@trio.lowlevel.enable_ki_protection
async def prepare_all(
    core: Core, slots: Sequence[Slot], *, check: bool
) -> tuple[Slot, Exception] | None:
    """Start them all, or stop at the first that fails and return it with its error."""
    failures: list[tuple[Slot, BaseException]] = []

    def fail(slot: Slot, error: BaseException) -> None:
        failures.append((slot, error))  # raised below, where it is in no group
        nursery.cancel_scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def finish(slot: Slot, rest: Awaitable[object] | None) -> None:
        try:
            await core.work.finish(slot, rest, check=check)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - see `fail`
            fail(slot, error)

    async with trio.open_nursery() as nursery:
        until = perf_counter() + SLICE
        for slot in slots:
            if perf_counter() > until:
                await trio.lowlevel.checkpoint()
                until = perf_counter() + SLICE
            try:
                rest = core.work.begin(slot)
            except BaseException as error:  # noqa: BLE001 - see `fail`
                fail(slot, error)
                break
            nursery.start_soon(finish, slot, rest)
    if not failures:
        return first_unfit(core, slots)
    slot, failure = failures[0]
    failures.clear()  # the tracebacks have them, by way of `fail`
    if not isinstance(failure, Exception):
        raise failure
    return slot, failure


def first_unfit(core: Core, slots: Sequence[Slot]) -> tuple[Slot, Exception] | None:
    """The first that was ready, but was poisoned or closed while others were made ready."""
    for slot in slots:
        unfit = why_unfit(core.name, slot)
        if unfit is not None:
            return slot, unfit
    return None
