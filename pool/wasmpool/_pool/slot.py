"""The life of one instance in a pool, from the beginning of its start until it is closed."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from .call_site import CallSite
    from .generation import Generation
    from .protocols import Instance
    from .statistics import LeaseInfo

__all__ = ["Slot", "SlotState"]


class SlotState(Enum):
    """Where an instance is in its life.

    Transitions only move forward, except IDLE to LEASED and back, and IDLE to STARTING for a check.
    """

    STARTING = "starting"
    """The pool starts it, sets it up or checks it, or will soon."""
    IDLE = "idle"
    """Ready, and leased by no task."""
    LEASED = "leased"
    """One task has the exclusive right to it."""
    RETIRING = "retiring"
    """It will not serve again; it is being closed, and still counts as live."""
    CLOSED = "closed"
    """Its store is gone, its room is free."""


@final
class Slot:
    """One instance in the pool. Only `Core` changes it.

    Invariants:
        It is in the pool's table of its ``state``, and in no other.
        ``holder`` is a task if and only if the state is LEASED (an instance has at most one
        lease, a lease exactly one instance).
        ``generation`` never changes: it is the one that was current when the start began.
        ``instance`` is None only while STARTING, if a start failed, and when CLOSED.
    """

    __slots__ = (
        "_scope", "began", "call_site", "checking", "discarded", "expires", "finishing",
        "generation", "holder", "idle_since", "info", "instance", "last_use", "number", "reported",
        "revoked", "round", "since", "state", "took", "tool", "uses",
    )  # fmt: skip

    def __init__(self, number: int, generation: Generation, began: float) -> None:
        self.number: int = number
        self.generation: Generation = generation
        self.state: SlotState = SlotState.STARTING
        self.instance: Instance = None  # type: ignore[assignment]  # see the invariant
        self.began: float = began
        """When its start began, in trio's time."""
        self._scope: trio.CancelScope | None = None
        self.checking: bool = False
        """Whether it is STARTING for a check, after it was idle."""
        self.took: float = 0.0
        """How long its start took, in seconds."""
        self.round: int = 0
        """The round of the back-off in which its start began."""
        self.uses: int = 0
        """Leases so far."""
        self.last_use: float = inf
        """The number of the lease after which it retires."""
        self.expires: float = inf
        """When it is too old, in trio's time."""
        self.idle_since: float = 0.0
        """In trio's time."""

        # Of the lease:
        self.holder: trio.lowlevel.Task | None = None
        self.since: float = 0.0
        """When it was granted, in trio's time."""
        self.call_site: CallSite | None = None
        """Where it was asked for."""
        self.tool: str | None = None
        """The tool of a plugin that its call runs, once that takes more than a slice."""
        self.info: LeaseInfo | None = None
        """What instruments are given for it, if there are any."""
        self.discarded: bool = False
        """Whether the instance retires after it."""
        self.finishing: bool = False
        """Whether it runs a program, and retires after that."""
        self.reported: bool = False
        """Whether it was logged as a leak."""
        self.revoked: str | None = None
        """Why it was taken away from its holder."""

    @property
    def scope(self) -> trio.CancelScope:
        """Cancels its start or its check; made when needed, as most starts are one step."""
        if self._scope is None:
            self._scope = trio.CancelScope()
        return self._scope

    def new_scope(self) -> None:
        """Begin a check, after the start."""
        self._scope = None

    @property
    def unwanted(self) -> bool:
        """True if its start or its check need not go on."""
        scope = self._scope
        return self.generation.replaced or (scope is not None and scope.cancel_called)

    def __repr__(self) -> str:
        return f"<Slot {self.number} of generation {self.generation.number}: {self.state.value}>"
