"""The variables of one instance: what a guest keeps from call to call."""

from __future__ import annotations

from typing import Final, final

__all__ = ["StoreIsFull", "Variables"]

_OVERHEAD: Final = 48
"""Bytes that Extism counts for each variable beside its name and its value."""


class StoreIsFull(Exception):
    """A variable would make them larger than they may be."""


@final
class Variables:
    """Values by name, bounded by ``max_var_bytes`` of the manifest as Extism counts them."""

    # Invariants:
    # - `_size` is the sum over all variables of name, value and `_OVERHEAD`

    __slots__ = ("_most", "_size", "_values")

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[str, bytes] = {}
        self._size = 0

    def get(self, name: str) -> bytes | None:
        """Return a variable, or None."""
        return self._values.get(name)

    def check_room(self, name: str, length: int) -> None:
        """Refuse a value of this length. As in Extism, one that it replaces counts as well.

        Raises:
            StoreIsFull: there is no room for it.
        """
        if self._size + len(name.encode()) + length + _OVERHEAD > self._most:
            raise StoreIsFull

    def set(self, name: str, value: bytes) -> None:
        """Set a variable, for which there is room."""
        self.remove(name)
        self._values[name] = value
        self._size += len(name.encode()) + len(value) + _OVERHEAD

    def remove(self, name: str) -> None:
        """Remove a variable, if there is one."""
        value = self._values.pop(name, None)
        if value is not None:
            self._size -= len(name.encode()) + len(value) + _OVERHEAD
