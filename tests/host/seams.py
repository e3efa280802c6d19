"""The ways from a test into an instance, for what no public name shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasmpool_host import _open_instances

if TYPE_CHECKING:
    from wasmpool_host import Module
    from wasmpool_host._scheduling.loop_budget import LoopBudget

__all__ = [
    "budget_of",
    "has_returned_in_thread",
    "has_steps_left",
    "is_in_call",
    "open_instances",
    "set_history",
    "spare_bindings",
    "starts_in_thread",
]


def open_instances() -> int:
    """How many instances of this process are open."""
    return _open_instances.open_instances.count


def set_history(instance: Any, export: str, seconds: float) -> None:
    """Set how long an export's calls have been lately: 0 is short, 1 starts in a thread."""
    instance._module.history(export).seconds = seconds


def spare_bindings(module: Module) -> int:
    """How many sets of buffers closed instances have left for the next ones."""
    return len(module._linked._spare)


def starts_in_thread(module: Module, export: str) -> bool:
    """Return True if an export was long lately, so that its next call starts in a thread."""
    return module._linked.history(export).long


def budget_of(instance: Any) -> LoopBudget:
    """The budget of the loop that the instance's calls take from."""
    budget: LoopBudget = instance._fiber.budget
    return budget


def is_in_call(instance: Any) -> bool:
    """Return True while a call runs, or waits for its task."""
    return bool(instance._fiber.busy)


def has_returned_in_thread(instance: Any) -> bool:
    """Return True if a thread is done with the guest, and the call's task has not seen it yet."""
    return bool(instance._fiber.busy and instance._fiber.finished)


def has_steps_left(instance: Any) -> bool:
    """Return True if an instance that has had exchanges keeps the steps of one, and its payload."""
    assert instance._exchange is not None
    return instance._exchange._steps is not None
