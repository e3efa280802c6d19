"""Instances made ready together, in the task that asks: when a pool opens, and on a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._core import Core
    from ._slot import Slot

__all__ = ["prepare_all"]


async def prepare_all(
    core: Core, slots: Iterable[Slot], *, check: bool
) -> tuple[Slot, Exception] | None:
    """Start them all, or stop at the first that fails and return it with its error."""
    failures: list[tuple[Slot, BaseException]] = []

    async def one(slot: Slot) -> None:
        try:
            await core.work.prepare(slot, check=check)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - raised below, where it is in no group
            failures.append((slot, error))
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for slot in slots:
            nursery.start_soon(one, slot)
    if not failures:
        return None
    slot, error = failures[0]
    if not isinstance(error, Exception):
        raise error
    return slot, error
