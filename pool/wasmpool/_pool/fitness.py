"""An instance that its setup, its check or other code has poisoned or closed cannot serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmpool_host import InstanceClosed, InstancePoisoned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .slot import Slot

__all__ = ["condition", "first_unfit", "why_unfit"]


def condition(slot: Slot) -> str | None:
    """Return what is wrong with an instance, in words, or None if it can serve."""
    poisoned = slot.instance.poisoned
    if poisoned is None:
        return None
    return "closed" if poisoned == "closed" else f"poisoned ({poisoned})"


def why_unfit(pool: str, slot: Slot) -> Exception | None:
    """Return the error for a start that leaves an instance unable to serve, or None if it can."""
    wrong = condition(slot)
    if wrong is None:
        return None
    step = "start" if slot.generation.setup is None else "setup"
    message = f"pool {pool!r}: instance {slot.number} is {wrong} after its {step} and cannot serve"
    if wrong == "closed":
        return InstanceClosed(f"{message}: leave it to the pool to close its instances")
    return InstancePoisoned(f"{message}: have the {step} raise the error of the call that failed")


def first_unfit(pool: str, slots: Iterable[Slot]) -> tuple[Slot, Exception] | None:
    """Return the first that was ready but became unfit while others were started."""
    for slot in slots:
        unfit = why_unfit(pool, slot)
        if unfit is not None:
            return slot, unfit
    return None
