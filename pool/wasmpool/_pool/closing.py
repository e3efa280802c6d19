"""The transitions that end leases from outside: close, and the end of a grace.

A close asks everybody to leave, waits for as long as the grace says, and then takes what is left
away. The order matters: first nobody new comes in, then the leases are told, and only the
deadline touches a call under way. Everything here is synchronous; `Pool.aclose` waits for
``core.closed``, which is set when the last instance is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wasmpool._errors import LeaseRevoked

from .pool_state import PoolState
from .retire_reason import RetireReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .core import Core
    from .generation import Generation
    from .slot import Slot

__all__ = ["close", "cut_grace", "end_generation", "revoke_held_by"]


def close(core: Core, grace: float) -> bool:
    """Begin to close, or bring the end of the grace forward; whether this was the first call."""
    first = core.state is PoolState.OPEN
    if first:
        core.state = PoolState.CLOSING
        if core.instruments.active:
            core.instruments.tell("closing")
        for generation in core.generations:
            generation.closing.set()
        for reload in core.reloading:
            reload.cancel()
        if core.options.queue_on_close == "fail":
            core.refuse_line()
    if core.state is PoolState.CLOSING:
        if grace > 0:
            core.timers.grace.set(trio.current_time() + grace)
        else:
            cut_grace(core)
        core.advance()
    return first


def cut_grace(core: Core) -> None:
    """The grace of the close is over."""
    core.timers.grace.stop()
    core.refuse_line()
    _revoke(core, tuple(core.leased), RetireReason.CLOSED)


def end_generation(core: Core, generation: Generation) -> None:
    """The grace of a reload is over for the generation that it replaced."""
    for slot in core.starting:
        if slot.generation is generation:
            slot.scope.cancel()
    leased = tuple(slot for slot in core.leased if slot.generation is generation)
    _revoke(core, leased, RetireReason.REPLACED)


def revoke_held_by(core: Core, task: trio.lowlevel.Task) -> None:
    """A task leaves the pool's block with leases: it cannot give them back while it waits there."""
    leased = tuple(slot for slot in core.leased if slot.holder is task)
    _revoke(core, leased, RetireReason.CLOSED)


def _revoke(core: Core, slots: Iterable[Slot], reason: RetireReason) -> None:
    """Take leases from their holders.

    Whoever is in a call has `LeaseRevoked` from it; whoever is not, from the next use.
    """
    now = trio.current_time()
    why = "it closed" if reason is RetireReason.CLOSED else "its generation was replaced"
    for slot in slots:
        slot.revoked = (
            f"the lease of instance {slot.number} of pool {core.name!r} was revoked after"
            f" {now - slot.since:.1f} s: {why}, and the grace is over"
        )
        core.end_lease(slot, now)
        slot.instance.interrupt(LeaseRevoked(slot.revoked))
        core.retire(slot, reason, busy=True)
    core.advance()
