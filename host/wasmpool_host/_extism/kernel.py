"""The kernel beside one guest, and what all kernels of a module have in common."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from wasmpool_host import _capi
from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._instance.call_history import CallHistory
from wasmpool_host._instance.crossing import ExportCrossing, StartCrossing
from wasmpool_host._instance.host_call import NestedCall
from wasmpool_host._instance.signature import Signature
from wasmpool_host._open_instances import MAPS_OF_A_MEMORY
from wasmpool_host._types import PAGE, FunctionType

from .blocks import Blocks
from .exchange import KernelExchange
from .kernel_module import FUNCTIONS, KERNEL, MODULE, MOST_PAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from wasmpool_host._compile.binary import Outline
    from wasmpool_host._engine import Engine
    from wasmpool_host._instance.fiber import Fiber
    from wasmpool_host._instance.host_call import HostCall
    from wasmpool_host._instance.linked_module import LinkedModule
    from wasmpool_host._limits import Limits
    from wasmpool_host._types import ExternType

    from .library import Library

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
_STARTS: Final = Signature(_RUNS, "a start")
_ALLOC: Final = Signature(FunctionType(("i64",), ("i64",)), "the kernel's alloc")


@final
@attrs.frozen
class KernelKind:
    """The kernels of one module's instances.

    Args:
        most_of_guest: bytes of each memory of the guest, if a manifest bounds it; the blocks are
            bounded by it, too.
    """

    most_of_guest: int | None = None
    libraries: tuple[Library, ...] = ()
    """Modules that are instantiated between a kernel and its guest, in this order."""

    @property
    def imports(self) -> Mapping[tuple[str, str], ExternType]:
        """What a guest may import of it."""
        found: dict[tuple[str, str], ExternType] = {}
        for library in self.libraries:
            found.update({(library.name, key): t for key, t in library.outline.exports.items()})
        return {**found, **_IMPORTS}

    @property
    def others(self) -> Sequence[tuple[str, Outline]]:
        """The libraries."""
        return [(library.name, library.outline) for library in self.libraries]

    @property
    def why_no_snapshot(self) -> str | None:
        """A snapshot has the guest's own state only."""
        if not self.libraries:
            return None
        return "it is linked to other modules, whose state a snapshot would not have"

    def reserved(self, limit: int) -> int:
        """Bytes of a limit that are for the kernel: the blocks, and what it knows of them."""
        blocks = _pages(limit) * PAGE
        return blocks + blocks // _ENTRIES + PAGE

    @property
    def maps(self) -> int:
        """Memory maps of its two memories, and of those of the libraries."""
        return MAPS_OF_A_MEMORY * (2 + sum(len(each.outline.memories) for each in self.libraries))

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
        return Kernel(store, _prepared(engine), _pages(limits.memory), self.libraries)


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

    __slots__ = (
        "_alloc", "_instance", "_libraries", "_memories", "_pages", "_prepared", "_store", "blocks",
    )  # fmt: skip

    blocks: Blocks

    def __init__(
        self,
        store: _capi.Store,
        prepared: _capi.Prepared,
        pages: int,
        libraries: tuple[Library, ...],
    ) -> None:
        self._libraries = libraries
        self._memories: list[_capi.Window] = []
        self._store = store
        self._prepared = prepared
        self._pages = pages
        self._instance = _capi.SideInstance(store)
        self._alloc: Any = None

    # --- the start ---

    def start(
        self, fiber: Fiber, module: LinkedModule, guest: _capi.Linkable
    ) -> Iterator[StartCrossing | ExportCrossing]:
        """What has to run: the kernel's creation, that of the libraries, and that of the guest."""
        begin = self._instance.begin(self._prepared)
        yield StartCrossing(begin, f"the kernel of {module}", CallHistory())
        memory, state = self._windows(self._instance, ("memory", "state"))
        self.blocks = Blocks(memory, state)
        self.blocks.limit(self._pages)
        self._alloc = self._instance.export("alloc").extern
        linked = guest.link(self._store, MODULE, self._instance)
        for library in self._libraries:
            yield from self._start_library(fiber, linked, library)
        begin = linked.begin(self._store)
        yield StartCrossing(begin, module.start_label, module.start_history)

    def _start_library(
        self, fiber: Fiber, linked: _capi.LinkedOnce, library: Library
    ) -> Iterator[StartCrossing | ExportCrossing]:
        store, instance = self._store, _capi.SideInstance(self._store)
        begin = linked.begin_other(store, library.code, instance)
        yield StartCrossing(begin, f"the start of {library}", CallHistory())
        if library.outline.exports.get(_INITIALIZE) == _RUNS:
            place, label = instance.export(_INITIALIZE), f"{_INITIALIZE} of {library}"
            crossing = ExportCrossing(store.arena, place, _STARTS, CallHistory(), label)
            crossing.attach(fiber)
            yield crossing
        self._memories += self._windows(instance, library.memory_names)
        linked.define(store, library.name, instance)

    def _windows(self, instance: _capi.SideInstance, names: Iterable[str]) -> list[_capi.Window]:
        return [_capi.Window(self._store, instance.export(name).extern) for name in names]

    @property
    def is_several(self) -> bool:
        """True if libraries call host functions, too."""
        return bool(self._libraries)

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

    def give(self, data: bytes, freed: tuple[int, ...] = ()) -> int | None:
        """Do `Blocks.give`."""
        return self.blocks.give(data, freed)

    async def alloc(self, call: HostCall, data: bytes) -> int:
        """Make a block of ``data`` by the kernel's own function; return its offset.

        Raises:
            GuestMemoryError: there is no room for it.
        """
        label = f"the kernel, for host function {call.function}"
        nested = NestedCall(self._alloc, _ALLOC, (len(data),), label)
        offset = await call.fiber.call_back(call, nested, label)
        assert isinstance(offset, int)  # by the signature
        if not offset:
            message = (
                f"host function {call.function}: {len(data):,} bytes do not fit into the blocks of"
                f" the plugin, which may have {self.largest:,} bytes"
            )
            raise GuestMemoryError(message)
        self.blocks.write(offset, data)
        return offset

    def memory_size(self) -> int:
        """Bytes of its memories, and of those of the libraries; 0 before the start."""
        if self._alloc is None:
            return 0
        return self.blocks.size() + sum(window.open()[1] for window in self._memories)


def kernel_of(companion: object) -> Kernel:
    """Return a guest's companion, which is a kernel.

    Raises:
        TypeError: the guest is none of an Extism plugin.
    """
    if not isinstance(companion, Kernel):
        message = "this host function is for Extism plugins: it needs their kernel"
        raise TypeError(message)
    return companion
