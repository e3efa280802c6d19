"""One module with its setup, in service: what its instances have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from .protocols import Module, Setup

__all__ = ["Generation"]


@final
class Generation:
    """A module and its setup, from the first start to the last close.

    Only `Core` changes it.

    Invariants:
        ``live`` counts its instances in all states but CLOSED; ``starting`` and ``retiring``
        are among them, and ``checking`` among those starting. ``finishing`` counts those leased
        that run a program, and retire after that.
        ``gone`` is set once nothing is live and nothing will be: the pool has dropped it.
    """

    __slots__ = (
        "checking", "closing", "finishing", "gone", "live", "module", "number", "replaced",
        "retiring", "setup", "starting",
    )  # fmt: skip

    def __init__(self, number: int, module: Module, setup: Setup | None) -> None:
        self.number: int = number
        self.module: Module = module
        self.setup: Setup | None = setup
        self.live: int = 0
        self.starting: int = 0
        self.checking: int = 0
        self.retiring: int = 0
        self.finishing: int = 0
        self.replaced: bool = False
        """Whether another one is in service instead, or it was given up before it served."""
        self.closing: trio.Event = trio.Event()
        """Set when its leases should end: the pool closes, or it was replaced."""
        self.gone: trio.Event = trio.Event()

    @property
    def active(self) -> int:
        """Instances that serve, or will soon."""
        return self.live - self.retiring

    def __repr__(self) -> str:
        return f"<Generation {self.number}: {self.live} live>"
