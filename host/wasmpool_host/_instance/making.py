"""A call that makes an instance, rather than calling an export of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from functools import partial

    from .call_history import Pace

__all__ = ["Making"]


@final
class Making:
    """What a `Fiber` needs to run a start function."""

    __slots__ = ("begin", "label", "pace")

    def __init__(self, begin: partial[int], label: str, pace: Pace) -> None:
        self.begin: partial[int] = begin
        self.label: str = label
        self.pace: Pace = pace
