"""The life of one instance in a pool, from the beginning of its start until it is closed."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import trio

    from .call_site import Place
    from .generation import Generation
    from .protocols import Instance
    from .statistics import LeaseInfo

__all__ = ["Slot", "SlotState"]


class SlotState(Enum):
    """Where an instance is in its life; it only goes on, but for IDLE <-> LEASED and the checks."""

    STARTING = "starting"
    """Being instantiated, set up or checked by the pool, or about to be."""
    IDLE = "idle"
    """Ready; nobody has it."""
    LEASED = "leased"
    """One task has the exclusive right to it."""
    RETIRING = "retiring"
    """It does not serve again; it is being closed, and still counts as live."""
    CLOSED = "closed"
    """Its store is gone, its place is free."""


@final
class Slot:
    """One instance's place in the pool.

    Invariants:
        It is in the pool's table of its ``state``, and in no other.
        ``holder`` is a task if and only if the state is LEASED (an instance has at most one
        lease, a lease exactly one instance).
        ``generation`` never changes: it is the stamp of when the start began.
        ``instance`` is None only while STARTING, if a start failed, and when CLOSED.
    """

    __slots__ = (
        "began", "calls", "checking", "discarded", "expires", "generation", "holder", "idle_since",
        "info", "instance", "last_use", "number", "place", "reported", "revoked", "round", "scope",
        "since", "state", "took", "uses",
    )  # fmt: skip

    def __init__(
        self, number: int, generation: Generation, began: float, scope: trio.CancelScope
    ) -> None:
        self.number = number
        self.generation = generation
        self.state = SlotState.STARTING
        self.instance: Instance = None  # type: ignore[assignment]  # see the invariant
        self.began = began
        self.scope = scope
        """What ends its start."""
        self.checking = False
        """Whether it is STARTING for a check, having been idle."""
        self.took = 0.0
        """How long its start took, in seconds."""
        self.round = 0
        """The back-off's round that the start is of."""
        self.uses = 0
        """Leases so far."""
        self.last_use: float = inf
        """The number of the lease after which it retires."""
        self.expires = inf
        """When it is too old, in trio's time."""
        self.idle_since = 0.0

        # Of the lease:
        self.holder: trio.lowlevel.Task | None = None
        self.since = 0.0
        self.place: Place | None = None
        self.info: LeaseInfo | None = None
        """What instruments are told of it, where there are any."""
        self.calls = 0
        """Calls under way through a `Lease`; above 1 for the moment of a BusyResourceError."""
        self.discarded = False
        self.reported = False
        """Whether it was logged as a leak."""
        self.revoked: str | None = None
        """Why the lease was taken away from its holder."""

    def __repr__(self) -> str:
        return f"<Slot {self.number} of generation {self.generation.number}: {self.state.value}>"
