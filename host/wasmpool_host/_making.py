"""A call that makes an instance, rather than calling an export of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from ._pace import Pace

if TYPE_CHECKING:
    from functools import partial

__all__ = ["Making"]


@final
class Making:
    """What a `Fiber` needs to run a start function: once, so there is no pace to learn."""

    __slots__ = ("begin", "label", "pace")

    def __init__(self, begin: partial[int], label: str) -> None:
        self.begin: partial[int] = begin
        self.label: str = label
        self.pace: Pace = Pace()
