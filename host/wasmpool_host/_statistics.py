"""What the instances of the process take, at one moment."""

from __future__ import annotations

from typing import final

import attrs

from ._engine import free_slots
from ._open_instances import open_instances

__all__ = ["HostStatistics", "statistics"]


@final
@attrs.frozen(kw_only=True)
class HostStatistics:
    """The instances of this process, in all its pools and trio runs, at one moment.

    An instance in a slot costs less to make. One that finds no slot free, or whose module does not
    fit into one, maps memory of its own.
    """

    instances: int
    """That are open."""
    in_slots: int
    """How many of them are in slots."""
    free_slots: int
    """Slots for more; 0 before the first module, and where there is no address space for slots."""


def statistics() -> HostStatistics:
    """Count the instances that are open in this process."""
    return HostStatistics(
        instances=open_instances.count,
        in_slots=open_instances.in_slots,
        free_slots=free_slots(),
    )
