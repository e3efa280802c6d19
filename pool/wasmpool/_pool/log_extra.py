"""Whose log record it is: ``pool``, ``plugin``, ``instance`` and ``tool`` as attributes of it.

A record may be made long after the pool knows of the instance, and a plugin's name may change with
a reload. So a guest has a mapping that looks the values up when a record is made, and costs no more
than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from .core_state import CoreState
    from .slot import Slot

__all__ = ["LogExtra"]

_KEYS: Final = ("pool", "plugin", "instance", "tool")


@final
class LogExtra(Mapping[str, object]):
    """The ``extra`` of log records about a pool, or about one of its instances."""

    __slots__ = ("_core", "_slot")

    def __init__(self, core: CoreState, slot: Slot | None = None) -> None:
        self._core = core
        self._slot = slot

    def __getitem__(self, key: str) -> object:
        if key == "pool":
            return self._core.name
        if key == "plugin":
            return self._core.name if self._core.options.of_plugin else None
        if key == "instance":
            return None if self._slot is None else self._slot.number
        if key == "tool":
            return None if self._slot is None else self._slot.tool
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)
