"""The state of a pool at one moment: its bounds, tables and counts.

Only `Core` changes them. All other code reads them, by the properties here.

Waiting tasks are in an ordered dict by task, since a task waits once at a time: to join, to be
granted an instance and to give up in the middle take the same time at any length. Idle instances
are a dict whose end is the one used most recently: last in, first out, so that caches are warm
and instances that are not needed can retire.
"""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING

import trio

from .backoff import Backoff
from .counters import Counters
from .pool_state import PoolState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from .generation import Generation
    from .hooks import Hooks
    from .options import Options
    from .slot import Slot
    from .waiter import Waiter

__all__ = ["CoreState"]


class CoreState:
    """A pool's state, which `Core` changes and everything else reads.

    Attributes without an underscore are set once, when the pool is made.
    """

    __slots__ = (
        "_backoff", "_canary_waits", "_counters", "_current", "_generations", "_idle", "_leased",
        "_leases_by_task", "_leases_of_waiters", "_min_size", "_name", "_retiring", "_size",
        "_starting", "_state", "_waiters", "closed", "hooks", "now", "options", "room_freed",
        "run",
    )  # fmt: skip

    def __init__(
        self, name: str, options: Options, first: Generation, random: Random, hooks: Hooks
    ) -> None:
        self.options: Options = options
        self.hooks: Hooks = hooks
        self.run: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        """The trio run that the pool belongs to."""
        self.now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        """The time of that run, as `trio.current_time` has it."""
        self.closed: trio.Event = trio.Event()
        """Set with the state CLOSED."""
        self.room_freed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        """A reload waits here for room for its first instance, the canary."""

        self._name = name
        self._state = PoolState.OPEN
        self._size = options.size
        self._min_size = options.min_size
        self._current = first
        self._generations = [first]
        self._idle: dict[Slot, None] = {}
        self._leased: dict[Slot, None] = {}
        self._starting: dict[Slot, None] = {}
        self._retiring: dict[Slot, None] = {}
        self._waiters: OrderedDict[trio.lowlevel.Task, Waiter] = OrderedDict()
        self._leases_by_task: dict[trio.lowlevel.Task, int] = {}
        self._leases_of_waiters = 0
        self._canary_waits = False
        self._backoff = Backoff(random)
        self._counters = Counters()

    @property
    def name(self) -> str:
        """What messages and logs call the pool."""
        return self._name

    @property
    def state(self) -> PoolState:
        """Open, closing or closed."""
        return self._state

    @property
    def size(self) -> int:
        """How many instances may be alive at once."""
        return self._size

    @property
    def min_size(self) -> int:
        """How many instances are kept warm."""
        return self._min_size

    @property
    def current(self) -> Generation:
        """The generation in service."""
        return self._current

    @property
    def generations(self) -> Sequence[Generation]:
        """All that are alive, oldest first: replaced ones, the current one, one being prepared."""
        return tuple(self._generations)

    @property
    def idle(self) -> MappingProxyType[Slot, None]:
        """Of the current generation only; the last was used most recently."""
        return MappingProxyType(self._idle)

    @property
    def leased(self) -> MappingProxyType[Slot, None]:
        """In the order of their grants."""
        return MappingProxyType(self._leased)

    @property
    def starting(self) -> MappingProxyType[Slot, None]:
        """Being started, set up or checked."""
        return MappingProxyType(self._starting)

    @property
    def retiring(self) -> MappingProxyType[Slot, None]:
        """Being closed."""
        return MappingProxyType(self._retiring)

    @property
    def waiters(self) -> MappingProxyType[trio.lowlevel.Task, Waiter]:
        """The queue: tasks that wait for an instance, first come first."""
        return MappingProxyType(self._waiters)

    @property
    def leases_by_task(self) -> Mapping[trio.lowlevel.Task, int]:
        """How many leases a task holds; no zeros."""
        return MappingProxyType(self._leases_by_task)

    @property
    def leases_of_waiters(self) -> int:
        """How many leases are held by tasks that wait in the queue themselves."""
        return self._leases_of_waiters

    @property
    def canary_waits(self) -> bool:
        """A reload waits for room: it comes first, or growth would starve it."""
        return self._canary_waits

    @property
    def backoff(self) -> Backoff:
        """The pause after failed starts."""
        return self._backoff

    @property
    def counters(self) -> Counters:
        """What has happened so far."""
        return self._counters

    @property
    def live(self) -> int:
        """Instances in all states but CLOSED."""
        return len(self._idle) + len(self._leased) + len(self._starting) + len(self._retiring)

    @property
    def surge(self) -> int:
        """How many instances more than ``size`` a reload may use."""
        return max(1, self._min_size)

    def has_room(self) -> bool:
        """Return True if the bounds allow one more instance, of whatever generation."""
        surge = self.surge if len(self._generations) > 1 else 0
        return self.live < self._size + surge
