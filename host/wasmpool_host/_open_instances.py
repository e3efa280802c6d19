"""The count of open instances in the process, whose memory maps the kernel limits."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from ._engine import SLOTS, WIDE_SLOTS

if TYPE_CHECKING:
    from ._engine import Engine
    from ._scheduling.epoch_ticker import Ticker

__all__ = ["MAPS_OF_AN_INSTANCE", "MAPS_OF_A_MEMORY", "open_instances"]

MAPS_OF_AN_INSTANCE: Final = 5
"""Memory maps of an instance in a call: memory and stack with their guards, and one spare."""

MAPS_OF_A_MEMORY: Final = 2
"""Memory maps of each further memory: itself and its guard."""

MAPS_KEPT: Final = 2_000 + 2 * (SLOTS.stacks + WIDE_SLOTS.stacks)
"""Memory maps that are left for the rest of the process, and for the stacks of pooled engines."""

_MAP_LIMIT: Final = Path("/proc/sys/vm/max_map_count")


@final
class OpenInstances:
    """Counts the instances of all engines, and the memory maps that they may have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forgotten: deque[tuple[Ticker, int, Engine]] = deque()
        # The numbers change under `_lock`, those of an engine, too. They are read without it for
        # statistics, and where an old one does no harm.
        self.count: int = 0
        self.opened: int = 0
        """How many were opened so far."""
        self.in_slots: int = 0
        """How many of them are in slots of pooled engines."""
        self._maps = 0

    def open(self, maps: int, pooled: Engine | None) -> bool:
        """Count an instance, before it maps memory, and take a slot for it if one is free.

        Args:
            maps: how many memory maps it may have.
            pooled: the engine that it would have a slot of, if its module fits into one.

        Returns:
            Whether it has a slot.

        Raises:
            MemoryError: the kernel's limit of maps is near; beyond it Wasmtime fails in ways
                that cannot be told apart.
        """
        while self._forgotten:
            with suppress(IndexError):  # another thread has taken it
                ticker, its_maps, engine = self._forgotten.pop()
                self.close(its_maps, engine)
                ticker.close()
        with self._lock:
            most = _most_maps()
            if most is not None and self._maps + maps > most:
                message = (
                    f"{self.count:,} instances are open, which may have {self._maps:,} memory"
                    f" maps, all that {_MAP_LIMIT} allows: close some, or raise the limit, as in"
                    " `sysctl -w vm.max_map_count=1048576`"
                )
                raise MemoryError(message)
            self.count += 1
            self.opened += 1
            self._maps += maps
            has_slot = False
            if pooled is not None and pooled.free_slots:
                has_slot = True
                pooled.free_slots -= 1
                self.in_slots += 1
                used = pooled.slots.instances - pooled.free_slots
                pooled.kept_slots = max(pooled.kept_slots, used)
        return has_slot

    def __bool__(self) -> bool:
        """True if there are open instances, which may be in use."""
        return self.count > len(self._forgotten)

    def close(self, maps: int, engine: Engine) -> None:
        """Count an instance as closed, once its store is gone."""
        with self._lock:
            self.count -= 1
            self._maps -= maps
            self.in_slots -= engine.is_pooled
            engine.free_slots += engine.is_pooled

    def take_free_slots(self, engine: Engine) -> int:
        """Take all free slots of a pooled engine. Return how many these are."""
        with self._lock:
            count, engine.free_slots = engine.free_slots, 0
        return count

    def return_free_slots(self, engine: Engine, count: int) -> None:
        """Undo `take_free_slots`."""
        with self._lock:
            engine.free_slots += count

    def forget(self, ticker: Ticker, maps: int, engine: Engine) -> None:
        """Do `close`, and the ticker's, for a finalizer.

        It may run anywhere, even where a lock is held.

        The count changes when the next instance is opened.
        """
        self._forgotten.append((ticker, maps, engine))


@cache
def _most_maps() -> int | None:
    try:
        limit = int(_MAP_LIMIT.read_text())
    except (OSError, ValueError):
        return None
    return max(MAPS_OF_AN_INSTANCE, limit - MAPS_KEPT)


open_instances: Final = OpenInstances()
