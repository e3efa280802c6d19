"""Drives steps that would share a loop with other tasks, where there is no loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from wasmpool._json_pieces import Cooperative

    T = TypeVar("T")

__all__ = ["count_turns", "finish"]


def finish(steps: Cooperative[T]) -> T:
    """What the steps return."""
    return count_turns(steps)[0]


def count_turns(steps: Cooperative[T]) -> tuple[T, int]:
    """What the steps return, and how many turns they left to others."""
    turns = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value, turns
        turns += 1
