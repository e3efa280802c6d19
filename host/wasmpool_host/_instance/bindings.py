"""What an instance needs at fixed addresses, and leaves to the next one of its module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

if TYPE_CHECKING:
    from wasmpool_host import _capi

Crossing = TypeVar("Crossing")
HostCall = TypeVar("HostCall")

__all__ = ["MOST_SPARE", "Bindings"]

MOST_SPARE: Final = 256
"""Bindings without an instance that a module keeps: as many as there are slots. One takes 2 kB."""


@final
class Bindings(Generic[Crossing, HostCall]):
    """The buffers of one instance, and its exports that were called.

    They hold nothing of the guest: each look-up and each call writes them anew. To make them takes
    longer than to make the instance, so the next instance takes them over. Only an instance that
    ended between two calls leaves them: no task can come back to it.
    """

    __slots__ = ("arena", "crossings", "host_call")

    def __init__(self, arena: _capi.Arena) -> None:
        self.arena: _capi.Arena = arena
        self.crossings: dict[str, Crossing] = {}
        """Of other instances, by the export's name. One that is called goes to its instance."""
        self.host_call: HostCall | None = None
        """One that was prepared, and that no guest has made."""
