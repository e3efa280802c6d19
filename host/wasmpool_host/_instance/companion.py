"""What a guest may have beside it in its store: an instance that it imports functions from.

The protocols here are all that an instance knows of it. `wasmpool_host._extism` has the one kind.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from functools import partial

    from wasmpool_host import _capi
    from wasmpool_host._engine import Engine
    from wasmpool_host._limits import Limits
    from wasmpool_host._types import ExternType, FunctionType

    from .crossing import ExportCrossing
    from .fiber import Fiber
    from .host_call import HostCall
    from .linked_module import LinkedModule
    from .stepped_exchange import SteppedExchange

__all__ = ["Companion", "CompanionKind"]


class Companion(Protocol):
    """The companion of one instance."""

    def begin(self) -> partial[int]:
        """A function that makes the future that creates it; it has no start function to run."""
        ...

    def link(self, guest: _capi.Linkable) -> partial[int]:
        """The same for the guest, linked to the companion, which was created."""
        ...

    def guest_started(self) -> None:
        """The guest exists now."""
        ...

    def new_exchange(
        self, fiber: Fiber, module: LinkedModule, resolve: Callable[[str], ExportCrossing]
    ) -> SteppedExchange:
        """Make what `Instance.exchange` is done by."""
        ...

    def read(self, owner: str, where: int) -> bytes:
        """Do `Caller.read`; ``owner`` begins an error's message."""
        ...

    async def swap(self, call: HostCall, freed: tuple[int, ...], data: bytes) -> int:
        """Free blocks, and make one of ``data``; return where it is, or 0 for no bytes."""
        ...

    def memory_size(self) -> int:
        """Bytes of its memories."""
        ...


class CompanionKind(Hashable, Protocol):
    """What the companions of a module's instances have in common; equal for the same."""

    @property
    def imports(self) -> Mapping[tuple[str, str], FunctionType]:
        """What a guest may import of it, by module and name."""
        ...

    def reserved(self, limit: int) -> int:
        """Bytes of memory, of a limit for both, that are for the companion."""
        ...

    @property
    def most_of_guest(self) -> int | None:
        """Bytes of each memory of the guest, if this is bounded by more than `Limits`."""
        ...

    @property
    def maps(self) -> int:
        """Memory maps of the kernel that a companion takes."""
        ...

    def initialize(self, exports: Mapping[str, ExternType]) -> str | None:
        """The export that runs at the start of each guest."""
        ...

    def open(self, limits: Limits, engine: Engine, store: _capi.Store) -> Companion:
        """Make the companion of one instance; `Companion.begin` comes next."""
        ...

    def prepare(self, engine: Engine) -> None:
        """Compile it for an engine, if that was not done. It takes some milliseconds."""
        ...
