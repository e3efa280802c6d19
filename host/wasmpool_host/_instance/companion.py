"""What a guest may have beside it in its store: an instance that it imports functions from.

The protocols here are all that an instance knows of it. `wasmpool_host._extism` has the one kind.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wasmpool_host import _capi
    from wasmpool_host._compile.binary import Outline
    from wasmpool_host._engine import Engine
    from wasmpool_host._limits import Limits
    from wasmpool_host._types import ExternType

    from .crossing import ExportCrossing
    from .fiber import Crossing, Fiber
    from .host_call import HostCall
    from .linked_module import LinkedModule
    from .stepped_exchange import SteppedExchange

__all__ = ["Companion", "CompanionKind"]


class Companion(Protocol):
    """The companion of one instance."""

    def start(
        self, fiber: Fiber, module: LinkedModule, guest: _capi.Linkable
    ) -> Iterator[Crossing]:
        """What has to run, in order: the creation of the companion, and in the end of the guest.

        Each is done before the next one is asked for.
        """
        ...

    @property
    def is_several(self) -> bool:
        """True if not only the guest itself calls host functions, but other modules, too."""
        ...

    def new_exchange(
        self, fiber: Fiber, module: LinkedModule, resolve: Callable[[str], ExportCrossing]
    ) -> SteppedExchange:
        """Make what `Instance.exchange` is done by."""
        ...

    def read(self, owner: str, where: int) -> bytes:
        """Do `Caller.read`; ``owner`` begins an error's message."""
        ...

    def give(self, data: bytes, freed: tuple[int, ...] = ()) -> int | None:
        """Free blocks, and make one of ``data``; return where it is, or 0 for no bytes.

        None: `alloc` has to make it.
        """
        ...

    async def alloc(self, call: HostCall, data: bytes) -> int:
        """Make a block of ``data`` by a crossing; return where it is."""
        ...

    def memory_size(self) -> int:
        """Bytes of its memories."""
        ...


class CompanionKind(Hashable, Protocol):
    """What the companions of a module's instances have in common; equal for the same."""

    @property
    def imports(self) -> Mapping[tuple[str, str], ExternType]:
        """What a guest may import of it, by module and name."""
        ...

    @property
    def others(self) -> Sequence[tuple[str, Outline]]:
        """Modules whose instances are part of it, with their names: they import functions, too."""
        ...

    @property
    def why_no_snapshot(self) -> str | None:
        """Why there is no snapshot of a guest beside it; None if there may be one."""
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
