"""The kernel beside one guest, and what all kernels of a module have in common."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from wasmpool_host import _capi
from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._instance.call_history import CallHistory
from wasmpool_host._instance.crossing import ExportCrossing
from wasmpool_host._instance.host_call import NestedCall
from wasmpool_host._instance.signature import Signature
from wasmpool_host._open_instances import MAPS_OF_A_MEMORY
from wasmpool_host._types import PAGE, FunctionType

from .blocks import Blocks
from .exchange import KernelExchange
from .kernel_module import FUNCTIONS, KERNEL, MODULE, MOST_PAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from functools import partial

    from wasmpool_host._engine import Engine
    from wasmpool_host._instance.fiber import Fiber
    from wasmpool_host._instance.host_call import HostCall
    from wasmpool_host._instance.linked_module import LinkedModule
    from wasmpool_host._limits import Limits
    from wasmpool_host._types import ExternType

__all__ = ["Kernel", "KernelKind", "kernel_of"]

_LARGEST: Final = 64 << 20
"""Bytes of blocks at most: an input, an output and a reply of 10 MiB each, several times."""
_SHARE: Final = 5
"""Blocks have a fifth of ``limits.memory``, if that is less: most guests need more themselves."""
_ENTRIES: Final = 8
"""The entries of all granules take an eighth of the memory of the blocks."""

_IMPORTS: Final = {(MODULE, name): type_ for name, type_ in FUNCTIONS.items()}
_RUNS: Final = FunctionType((), ())
_INITIALIZE: Final = "_initialize"
_CONSTRUCTORS: Final = "__wasm_call_ctors"
_HASKELL: Final = "hs_init"

_BEGIN: Final = Signature(FunctionType(("i64",), ("i64",)), "the kernel's begin")
_SWAP: Final = Signature(FunctionType(("i64", "i64", "i64"), ("i64",)), "the kernel's swap")


@final
@attrs.frozen
class KernelKind:
    """The kernels of one module's instances.

    Args:
        most_of_guest: bytes of each memory of the guest, if a manifest bounds it; the blocks are
            bounded by it, too.
    """

    most_of_guest: int | None = None

    @property
    def imports(self) -> Mapping[tuple[str, str], FunctionType]:
        """What a guest may import of it."""
        return _IMPORTS

    def reserved(self, limit: int) -> int:
        """Bytes of a limit that are for the kernel: the blocks, and what it knows of them."""
        blocks = _pages(limit) * PAGE
        return blocks + blocks // _ENTRIES + PAGE

    @property
    def maps(self) -> int:
        """Memory maps of its two memories."""
        return 2 * MAPS_OF_A_MEMORY

    def initialize(self, exports: Mapping[str, ExternType]) -> str | None:
        """The export that starts the guest's runtime, as Extism chooses it.

        Haskell's runtime also needs ``hs_init``, which has arguments: a setup calls it.
        """
        names = (_INITIALIZE,) if _HASKELL in exports else (_CONSTRUCTORS, _INITIALIZE)
        found = next((name for name in names if name in exports), None)
        return found if found is not None and exports[found] == _RUNS else None

    def prepare(self, engine: Engine) -> None:
        """Compile it for an engine."""
        _prepared(engine)

    def open(self, limits: Limits, engine: Engine, store: _capi.Store) -> Kernel:
        """Make the kernel of one instance."""
        return Kernel(store, _prepared(engine), _pages(limits.memory))


def _pages(limit: int) -> int:
    """Pages that the blocks may have."""
    return max(1, min(_LARGEST, limit // _SHARE, MOST_PAGES * PAGE) // PAGE)


@lru_cache(maxsize=16)  # engines stay for the process, and there are few
def _prepared(engine: Engine) -> _capi.Prepared:
    module = _capi.compile_binary(engine.wasmtime, _capi.text_to_binary(KERNEL))
    return _capi.Linker(engine.wasmtime).prepare(module)


@final
class Kernel:
    """The kernel of one instance: it is created before its guest, and linked to it.

    Attributes:
        blocks: its memory, once it was created.
    """

    __slots__ = ("_instance", "_linked", "_pages", "_prepared", "_store", "_swap", "blocks")

    blocks: Blocks

    def __init__(self, store: _capi.Store, prepared: _capi.Prepared, pages: int) -> None:
        self._store = store
        self._prepared = prepared
        self._pages = pages
        self._instance = _capi.SideInstance(store)
        self._linked: _capi.LinkedOnce | None = None
        self._swap: Any = None

    # --- the start ---

    def begin(self) -> partial[int]:
        """A function that makes the future that creates it."""
        return self._instance.begin(self._prepared)

    def link(self, guest: _capi.Linkable) -> partial[int]:
        """Get ready, and return a function that makes the future that creates the guest."""
        memory, state = (self._instance.export(name).extern for name in ("memory", "state"))
        self.blocks = Blocks(self._store, memory, state)
        self.blocks.limit(self._pages)
        self._swap = self._instance.export("swap").extern
        self._linked = guest.link(self._store, MODULE, self._instance)
        return self._linked.begin(self._store)

    def guest_started(self) -> None:
        """Free what only the start needs."""
        self._linked = None

    # --- calls ---

    @property
    def largest(self) -> int:
        """Bytes that no block exceeds: all of them together do not."""
        return self._pages * PAGE

    def new_exchange(
        self, fiber: Fiber, module: LinkedModule, resolve: Callable[[str], ExportCrossing]
    ) -> KernelExchange:
        """Make what calls the guest with an input."""
        place = self._instance.export("begin")
        label = f"the kernel of {module}"
        begin = ExportCrossing(self._store.arena, place, _BEGIN, CallHistory(), label)
        begin.attach(fiber)
        return KernelExchange(fiber, module, resolve, begin, self.blocks)

    def read(self, owner: str, where: int) -> bytes:
        """Copy the block at an offset out."""
        return self.blocks.read_block(owner, where, self.largest)

    async def swap(self, call: HostCall, freed: tuple[int, ...], data: bytes) -> int:
        """Free up to two blocks, and make one of ``data``; return its offset, or 0 for no bytes.

        Raises:
            GuestMemoryError: there is no room for it.
        """
        size = len(data)
        args = (*freed, 0, 0)[:2]
        label = f"the kernel, for host function {call.function}"
        nested = NestedCall(self._swap, _SWAP, (*args, size), label)
        offset = await call.fiber.call_back(call, nested, label)
        assert isinstance(offset, int)  # by the signature
        if size and not offset:
            message = (
                f"host function {call.function}: {size:,} bytes do not fit into the blocks of the"
                f" plugin, which may have {self._pages * PAGE:,} bytes"
            )
            raise GuestMemoryError(message)
        if data:
            self.blocks.write(offset, data)
        return offset

    def memory_size(self) -> int:
        """Bytes of its memories."""
        return self.blocks.size()


def kernel_of(companion: object) -> Kernel:
    """Return a guest's companion, which is a kernel.

    Raises:
        TypeError: the guest is none of an Extism plugin.
    """
    if not isinstance(companion, Kernel):
        message = "this host function is for Extism plugins: it needs their kernel"
        raise TypeError(message)
    return companion
