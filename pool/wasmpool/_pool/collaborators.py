"""What `Core` needs of the pool's tasks: they do what takes time, and tell it when time is up.

Every method here only begins something and returns at once. The results come back to the core as
transitions of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .generation import Generation
    from .slot import Slot

__all__ = ["AbstractDeadlines", "AbstractMaintenance"]


class AbstractMaintenance(Protocol):
    """What `Core` needs of `Maintenance`; `Core.attach` takes it."""

    def start(self, slot: Slot, /) -> None:
        """Start an instance and set it up; `Core.started` or another end of a start follows."""
        ...

    def check(self, slot: Slot, /) -> None:
        """Check an idle instance; `Core.checked` or `Core.start_abandoned` follows."""
        ...

    def close(self, slot: Slot, /, *, busy: bool) -> None:
        """Close an instance, in which a call may be under way if ``busy``.

        `Core.instance_closed` follows.
        """
        ...

    @property
    def is_short(self) -> bool:
        """True if starts are so short that `replace` may be called instead of `close`."""
        ...

    def replace(self, slot: Slot, /) -> None:
        """Close an instance, and start one that `Core.instance_closed` asks for, if it does.

        Both are over when this returns, unless they take more than a step. The task that calls this
        has headroom on its stack (`check_headroom`).
        """
        ...


class AbstractDeadlines(Protocol):
    """What `Core` needs of `Deadlines`. Times are in trio's time; the earliest set counts."""

    def watch_waits(self) -> None:
        """Have `Core.end_waits` called when the first waiter has waited for ``max_wait``."""
        ...

    def watch_leases(self, now: float, /) -> None:
        """Have a lease that is granted now logged if it lasts for ``leak_after``."""
        ...

    def watch_idle(self) -> None:
        """Have `Core.end_idle` called when an instance has idled for ``max_idle``."""
        ...

    def watch_age(self, at: float, /) -> None:
        """Have `Core.end_aged` called at that time."""
        ...

    def watch_kept_memory(self) -> None:
        """Have the memory that free slots keep given back, once no instance is opened any more."""
        ...

    def set_backoff(self, at: float, /) -> None:
        """Have `Core.end_backoff` called at that time."""
        ...

    def clear_backoff(self) -> None:
        """Do not call it."""
        ...

    def set_grace(self, at: float, /) -> None:
        """Have `Core.cut_grace` called at that time."""
        ...

    def clear_grace(self) -> None:
        """Do not call it."""
        ...

    def set_generation_grace(self, generation: Generation, at: float, /) -> None:
        """Have `Core.end_generation` called at that time."""
        ...

    def clear_generation_grace(self, generation: Generation, /) -> None:
        """Do not call it."""
        ...

    def stop(self) -> None:
        """Call nothing any more."""
        ...

    def let_go(self) -> None:
        """Drop all references that would make a cycle."""
        ...
