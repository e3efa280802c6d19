"""A call that makes an instance, rather than calling an export of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from functools import partial

    from .call_history import CallHistory

__all__ = ["Making"]


@final
class Making:
    """What a `Fiber` needs to run a start function."""

    __slots__ = ("begin", "history", "label")

    def __init__(self, begin: partial[int], label: str, history: CallHistory) -> None:
        self.begin: partial[int] = begin
        self.label: str = label
        self.history: CallHistory = history
