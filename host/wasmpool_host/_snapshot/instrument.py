"""The instrumented copy of a module: the same code, with all of its state in reach of the host.

The C API reaches only what is exported. So the copy exports the memories, the mutable globals, the
tables of functions and the start function, each under a hidden name. What cannot be read from
outside is asked of the instance, by a *probe*: a small function that the copy has in addition.

* A table, or a global, of references other than functions: the probe tells if one is not null. The
  C API would abort the process at some of these types.
* A passive segment: the probe copies no bytes of it, from offset 1 on, which traps if the segment
  is empty: that is what a dropped segment is, and one that is empty by itself is not asked. It
  writes nothing. Elements need a table of their type, and data a memory; where the module has none,
  the copy has an empty one.

All of this is appended, so that no index in the code changes, and no instruction has to be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from wasmpool_host import _capi
from wasmpool_host._compile.encoding import sized, unsigned
from wasmpool_host._errors import SnapshotError

from .anatomy import AS_FUNCTION, AS_GLOBAL, AS_MEMORY, AS_TABLE, Export, Section
from .assemble import assemble, export_section, extended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .anatomy import Anatomy, Element, Table

__all__ = ["Hidden", "instrument"]

_END: Final = b"\x0b"
_I32, _I64 = b"\x41", b"\x42"
_RETURN_ZERO: Final = b"\x41\0"
_PROBE_TYPE: Final = b"\x60\0\1\x7f"
"""() -> i32."""
_EMPTY_MEMORY: Final = b"\0\0"


@final
class Hidden:
    """The names of the copy's own exports: no export of the module begins as they do."""

    def __init__(self, exports: Sequence[Export]) -> None:
        prefix = "wasmpool:snapshot"
        while any(export.name.startswith(prefix) for export in exports):
            prefix += "_"
        self.start: str = f"{prefix}:start"
        self._prefix = prefix

    def of(self, what: str, index: int) -> str:
        """Return the name for a global or a table, or of the probe for something."""
        return f"{self._prefix}:{what}:{index}"


def instrument(owner: str, anatomy: Anatomy, hidden: Hidden, memory_names: Sequence[str]) -> bytes:
    """Write the instrumented copy.

    Args:
        owner: the module, for messages.
        anatomy: its parts, which `check_module` has let pass.
        hidden: the names of what is exported in addition.
        memory_names: for each memory the name by which the copy exports it.

    Raises:
        SnapshotError: there is no room for a table more.
    """
    copy = _Copy(owner, anatomy, hidden)
    copy.export_state(memory_names)
    for index, table in enumerate(anatomy.tables):
        if not table.kind.is_function:
            copy.probe("table", index, _has_element(table, index), locals_=_counter(table))
    for index, each in enumerate(anatomy.globals):
        if each.is_mutable and not (each.kind.size or each.kind.is_function):
            copy.probe("global", index, b"\x23" + unsigned(index) + b"\xd1\x45")
    if anatomy.counts_data:
        for index, data in enumerate(anatomy.data):
            if data.is_passive and data.content:
                copy.probe("data", index, _init_memory(anatomy, index))
                copy.needs_memory = not anatomy.memories
    for index, element in enumerate(anatomy.elements):
        if element.is_passive and element.count:
            copy.probe("element", index, copy.init_table(element, index))
    return copy.written()


@final
class _Copy:
    """What the copy has more than the module."""

    def __init__(self, owner: str, anatomy: Anatomy, hidden: Hidden) -> None:
        self._owner = owner
        self._anatomy = anatomy
        self._hidden = hidden
        self._exports = list(anatomy.exports)
        self._bodies: list[bytes] = []
        self._tables: list[bytes] = []
        self.needs_memory = False

    def export_state(self, memory_names: Sequence[str]) -> None:
        anatomy, hidden = self._anatomy, self._hidden
        names = {export.name for export in self._exports}
        for index, name in enumerate(memory_names):
            if name not in names:
                self._exports.append(Export(name, AS_MEMORY, index))
        for index, table in enumerate(anatomy.tables):
            if table.kind.is_function:
                self._exports.append(Export(hidden.of("table", index), AS_TABLE, index))
        for index, each in enumerate(anatomy.globals):
            if each.is_mutable and (each.kind.size or each.kind.is_function):
                self._exports.append(Export(hidden.of("global", index), AS_GLOBAL, index))
        if anatomy.start is not None:
            self._exports.append(Export(hidden.start, AS_FUNCTION, anatomy.start))

    def probe(self, what: str, index: int, code: bytes, locals_: bytes = b"\0") -> None:
        """Add a probe, and export it."""
        anatomy = self._anatomy
        function = anatomy.imported_functions + anatomy.functions + len(self._bodies)
        self._bodies.append(sized(locals_ + code + _END))
        self._exports.append(Export(self._hidden.of(what, index), AS_FUNCTION, function))

    def init_table(self, element: Element, index: int) -> bytes:
        """Write the probe of a segment of elements."""
        table = self._table_for(element)
        tables = self._anatomy.tables
        address = _I64 if table < len(tables) and tables[table].is_wide else _I32
        ends = unsigned(index) + unsigned(table)
        return address + b"\0\x41\1\x41\0\xfc\x0c" + ends + _RETURN_ZERO

    def _table_for(self, element: Element) -> int:
        """Return a table that can hold the elements; add an empty one if there is none."""
        kind, tables = element.kind, self._anatomy.tables
        for index, table in enumerate(tables):
            if table.kind.heap == kind.heap and (table.kind.is_nullable or not kind.is_nullable):
                return index
        added = kind.as_nullable + b"\0\0"
        if added not in self._tables:
            if len(tables) + len(self._tables) >= _capi.TABLES:
                message = (
                    f"{self._owner}: a segment of elements is of type {kind.name} and no table is,"
                    f" and there is no room for one more: an instance may have {_capi.TABLES}"
                )
                raise SnapshotError(message)
            self._tables.append(added)
        return len(tables) + self._tables.index(added)

    def written(self) -> bytes:
        anatomy = self._anatomy
        changed: dict[int, bytes | None] = {
            Section.START: None,
            Section.EXPORT: export_section(self._exports),
        }
        if self._bodies:
            types = [unsigned(anatomy.types)] * len(self._bodies)
            changed[Section.TYPE] = extended(anatomy, Section.TYPE, [_PROBE_TYPE])
            changed[Section.FUNCTION] = extended(anatomy, Section.FUNCTION, types)
            changed[Section.CODE] = extended(anatomy, Section.CODE, self._bodies)
        if self._tables:
            changed[Section.TABLE] = extended(anatomy, Section.TABLE, self._tables)
        if self.needs_memory:
            changed[Section.MEMORY] = extended(anatomy, Section.MEMORY, [_EMPTY_MEMORY])
        return assemble(anatomy, changed)


def _init_memory(anatomy: Anatomy, index: int) -> bytes:
    """Write the probe of a segment of data."""
    is_wide = bool(anatomy.memories) and anatomy.memories[0].is_wide
    address = _I64 if is_wide else _I32
    return address + b"\0\x41\1\x41\0\xfc\x08" + unsigned(index) + b"\0" + _RETURN_ZERO


def _counter(table: Table) -> bytes:
    """One local, to count the elements of a table."""
    return b"\1\1" + (b"\x7e" if table.is_wide else b"\x7f")


def _has_element(table: Table, index: int) -> bytes:
    """Write the probe of a table: a loop over it that returns 1 at an element that is not null."""
    at_least, one, add = b"\x4f", b"\x41\1", b"\x6a"
    if table.is_wide:
        at_least, one, add = b"\x5a", b"\x42\1", b"\x7c"
    which = unsigned(index)
    parts = (
        b"\x02\x40\x03\x40",  # block, loop:
        b"\x20\0\xfc\x10", which, at_least, b"\x0d\1",  # at the end: leave the block
        b"\x20\0\x25", which, b"\xd1\x45",  # the element is not null:
        b"\x04\x40\x41\1\x0f\x0b",  # return 1
        b"\x20\0", one, add, b"\x21\0\x0c\0\x0b\x0b",  # the next one
        _RETURN_ZERO,
    )  # fmt: skip
    return b"".join(parts)
