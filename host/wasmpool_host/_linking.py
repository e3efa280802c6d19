"""From a module's imports to the host functions that it gets, and what stands against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from . import _capi
from ._engine import SLOTS, WIDE_SLOTS
from ._errors import GuestMemoryError, LinkError
from ._escape import escaped
from ._instance.host_call import ENTRY
from ._open_instances import MAPS_OF_A_MEMORY, MAPS_OF_AN_INSTANCE
from ._suggest import MOST, similar
from ._types import PAGE, FunctionType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import wasmtime

    from ._compile.binary import Outline
    from ._instance.companion import CompanionKind
    from ._instance.host_function import HostFunction
    from ._instance.program import World
    from ._limits import Limits
    from ._types import ExternType, MemoryType
    from ._wasi import Wasi

__all__ = [
    "check_imports",
    "check_limits",
    "fits_into_slot",
    "link",
    "link_later",
    "maps_of",
    "new_world",
    "provide",
    "resolve",
    "resolve_all",
    "slots_for",
]

_WASI: Final = "wasi_snapshot_preview1"


def check_imports(imports: Sequence[HostFunction]) -> None:
    """Raise where these cannot be the ``imports`` of `Module.compile`."""
    if not isinstance(imports, (list, tuple)):
        message = f"imports must be a list of host functions, not {imports!r}"
        raise TypeError(message)
    if not imports:
        return
    from ._instance.host_function import HostFunction  # noqa: PLC0415 - only for those that have any

    seen: set[str] = set()
    for item in imports:
        if not isinstance(item, HostFunction):
            message = f"imports are made by @host_function(module, name, ...); {item!r} is none"
            raise TypeError(message)
        if str(item) in seen:
            message = f"imports has two host functions {item}: a module can be given one of a name"
            raise ValueError(message)
        seen.add(str(item))


def check_limits(
    owner: str, outline: Outline, limits: Limits, companion: CompanionKind | None
) -> int:
    """Return how many bytes each memory may have.

    Raises:
        GuestMemoryError: the module could not be instantiated within the limits.
    """
    _check_tables(owner, outline, limits)
    _check_count(owner, "memories", len(outline.memories), _capi.MEMORIES)
    beside = () if companion is None else companion.others
    memories = (*outline.memories, *(each for _, other in beside for each in other.memories))
    total = limits.memory - (0 if companion is None else companion.reserved(limits.memory))
    each = _share_of_memory(memories, max(0, total))
    if companion is not None and companion.most_of_guest is not None:
        each = min(each, companion.most_of_guest)
    for memory in memories:
        if memory.minimum * PAGE > each:
            message = (
                f"{owner}: its memory starts with {memory.minimum * PAGE:,} bytes, above"
                f" limits.memory={limits.memory:,}"
            )
            if companion is not None:
                message += f" and what is taken from that, which leaves {each:,}"
            elif each < limits.memory:
                message += f", of which each of its {len(outline.memories)} memories has {each:,}"
            raise GuestMemoryError(message)
    return each


def _check_tables(owner: str, outline: Outline, limits: Limits) -> None:
    _check_count(owner, "tables", len(outline.tables), _capi.TABLES)
    for table in outline.tables:
        if table.minimum > limits.table_elements:
            message = (
                f"{owner}: a table starts with {table.minimum:,} elements, above"
                f" limits.table_elements={limits.table_elements:,}"
            )
            raise GuestMemoryError(message)


def _check_count(owner: str, what: str, count: int, most: int) -> None:
    if count > most:
        message = f"{owner} has {count:,} {what}: an instance may have {most} at most"
        raise GuestMemoryError(message)


def _share_of_memory(memories: Sequence[MemoryType], total: int) -> int:
    """Return the largest bound for each memory with which all together stay within ``total``.

    Wasmtime's limiter has one bound for all of a store's memories. A memory that cannot grow up to
    it, by its own maximum, leaves the rest to the others.
    """
    own = sorted(total if m.maximum is None else m.maximum * PAGE for m in memories)
    left = total
    for k, most in enumerate(own):
        share = left // (len(own) - k)
        if most >= share:
            return share
        left -= most
    return total


def fits_into_slot(outline: Outline, limits: Limits) -> bool:
    """Return True if an instance may be made in a pooled engine, with all that its limits allow."""
    if len(outline.memories) > 1 or len(outline.tables) > 1:
        return False
    if any(memory.address == "i64" for memory in outline.memories):
        return False
    own = (limits.table_elements if t.maximum is None else t.maximum for t in outline.tables)
    return all(min(most, limits.table_elements) <= SLOTS.table for most in own)


def slots_for(outline: Outline) -> _capi.Slots:
    """Return which slots a module's instances start fastest in.

    A memory that has data in a quarter of its pages is faster to clear than to fault in again.
    """
    size = sum(memory.minimum for memory in outline.memories) * PAGE
    is_wide = SLOTS.kept_memory < size <= WIDE_SLOTS.kept_memory
    return WIDE_SLOTS if is_wide and outline.data_size >= size // 4 else SLOTS


def maps_of(outline: Outline, companion: CompanionKind | None) -> int:
    """Return how many memory maps of the kernel an instance may take."""
    beside = 0 if companion is None else companion.maps
    further = len(outline.memories) - 1 + outline.has_heap
    return MAPS_OF_AN_INSTANCE + MAPS_OF_A_MEMORY * max(0, further) + beside


def provide(
    host_functions: Sequence[HostFunction], outline: Outline, wasi: Wasi
) -> dict[tuple[str, str], HostFunction]:
    """The host functions that a module may import, by module and name.

    The given ones take precedence over WASI's, so that one of WASI can be replaced. Of WASI there
    are those that the module imports.
    """
    provided: dict[tuple[str, str], HostFunction] = {}
    if _imports_wasi(outline):
        from ._wasi.preview1 import FUNCTIONS, wasi_imports  # noqa: PLC0415 - few modules need it

        names = {name for module, name, _ in outline.imports if module == _WASI} & FUNCTIONS.keys()
        provided.update({(each.module, each.name): each for each in wasi_imports(wasi, names)})
    provided.update({(each.module, each.name): each for each in host_functions})
    return provided


def resolve(
    owner: str,
    outline: Outline,
    provided: Mapping[tuple[str, str], HostFunction],
    companion: CompanionKind | None,
) -> tuple[HostFunction, ...]:
    """The host functions that a module imports; the entry callback is given their index here.

    What a ``companion`` provides is linked in each store.

    Raises:
        LinkError: some imports are not provided; all of them are listed.
    """
    found: dict[tuple[str, str], HostFunction] = {}
    beside = {} if companion is None else companion.imports
    missing: list[str] = []
    unknown: list[tuple[str, str]] = []
    for module, name, type_ in outline.imports:
        if _is_beside(beside.get((module, name)), type_):
            continue
        function = provided.get((module, name))
        if function is not None and function.type == type_:
            found[module, name] = function
        else:
            near = _names(outline, provided, beside) if len(missing) < MOST else []
            missing.append(_why_missing(module, name, type_, function, near))
            unknown.append((module, name))
    if missing:
        message = f"{owner} imports what nobody provides:\n" + "\n".join(dict.fromkeys(missing))
        from ._toolchain import built_for  # noqa: PLC0415 - only for this error

        target = built_for(unknown) if companion is None else None
        if target is not None:
            message += f"\nThis looks like a module that was built {target}."
        raise LinkError(message)
    return tuple(found.values())


def resolve_all(
    owner: str,
    outline: Outline,
    host_functions: Sequence[HostFunction],
    wasi: Wasi,
    companion: CompanionKind | None,
) -> tuple[HostFunction, ...]:
    """Do `provide` and `resolve` for a module, and for those that are part of its companion."""
    imported = resolve(owner, outline, provide(host_functions, outline, wasi), companion)
    if companion is None or not companion.others:
        return imported
    found = {(each.module, each.name): each for each in imported}
    for name, other in companion.others:
        provided = provide(host_functions, other, wasi)
        imported = resolve(f"module {name!r} beside {owner}", other, provided, companion)
        found.update({(each.module, each.name): each for each in imported})
    return tuple(found.values())


def _is_beside(found: ExternType | None, wanted: ExternType) -> bool:
    """Return True if an import is what a companion has; of what is no function, Wasmtime says."""
    if isinstance(wanted, FunctionType) or isinstance(found, FunctionType):
        return found == wanted
    return type(found) is type(wanted)


def link(
    owner: str, engine: wasmtime.Engine, compiled: wasmtime.Module, imported: Sequence[HostFunction]
) -> _capi.Prepared:
    """Link compiled code to its host functions, once for all instances.

    Raises:
        LinkError: a function's type is one of a group of types in the module, and so another one
            than that of a host function with the same parameters and results.
    """
    linker = _linker_of(engine, imported)
    try:
        return linker.prepare(compiled)
    except _capi.CApiError as error:
        why = " ".join(str(error).replace("Caused by:", "").split())
        raise LinkError(f"{owner} cannot be linked: {escaped(why)}") from error


def link_later(
    engine: wasmtime.Engine, compiled: wasmtime.Module, imported: Sequence[HostFunction]
) -> _capi.Linkable:
    """Link compiled code to its host functions; each instance is linked to its companion, too."""
    return _linker_of(engine, imported).keep_for(compiled)


def _linker_of(engine: wasmtime.Engine, imported: Sequence[HostFunction]) -> _capi.Linker:
    linker = _capi.Linker(engine)
    for index, function in enumerate(imported):
        linker.define(function.module, function.name, function.type, ENTRY, index)
    return linker


def new_world(wasi: Wasi, name: str, **given: Any) -> World:
    """Make the world of one run of a module: its own WASI, with what the run gives instead."""
    from ._wasi.run_world import RunWorld  # noqa: PLC0415 - few modules are run as programs

    return RunWorld(wasi, name, **given)


def _imports_wasi(outline: Outline) -> bool:
    return any(module == _WASI for module, _, _ in outline.imports)


def _names(
    outline: Outline,
    provided: Mapping[tuple[str, str], HostFunction],
    beside: Mapping[tuple[str, str], ExternType],
) -> list[str]:
    """All that the module could import."""
    names = [str(function) for function in provided.values()]
    names += [f"{module}.{name}" for module, name in beside]
    if _imports_wasi(outline):
        from ._wasi.preview1 import FUNCTIONS  # noqa: PLC0415 - imported by `provide` already

        names += [f"{_WASI}.{name}" for name in FUNCTIONS]
    return names


def _why_missing(
    module: str,
    name: str,
    type_: ExternType,
    function: HostFunction | None,
    names: Sequence[str],
) -> str:
    line = f"  {escaped(module)}.{escaped(name)}: {type_}"
    if function is not None:
        return f"{line} (the host function of that name is {function.type})"
    near = similar(f"{module}.{name}", names)
    return f"{line} (there is {near})" if near else line
