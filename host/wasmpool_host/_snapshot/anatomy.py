"""A module taken apart, as far as its snapshot needs it: what holds state, and what restores it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from wasmpool_host._compile.reader import GC, BinaryReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "AS_FUNCTION",
    "AS_GLOBAL",
    "AS_MEMORY",
    "AS_TABLE",
    "Anatomy",
    "Data",
    "Element",
    "Export",
    "Global",
    "Memory",
    "Section",
    "Table",
    "ValueKind",
    "body_at",
    "dissect",
]

AS_FUNCTION, AS_TABLE, AS_MEMORY, AS_GLOBAL = range(4)
"""The kinds of exports."""

_NUMBERS: Final = {0x7F: 4, 0x7E: 8, 0x7D: 4, 0x7C: 8, 0x7B: 16}
"""The types of values that are no references, and their bytes."""
_FUNCTION_HEAPS: Final = frozenset({0x70, 0x73})
_FIRST_HEAP: Final = 0x40
"""From here on, one byte with this bit is a kind of reference, and no index: it is negative."""
_NULLABLE, _NON_NULL = 0x63, 0x64
_REFERENCE_OF_FUNCTION: Final = 0xD2
_NEW_OBJECTS: Final = frozenset(GC << 8 | sub for sub in (0, 1, 6, 7, 8))
"""The opcodes that make a structure or an array in a constant expression."""


class Section:
    """The numbers of the sections of a module."""

    TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT = range(1, 8)
    START, ELEMENT, CODE, DATA, DATA_COUNT, TAG = range(8, 14)

    ORDER: Final = {s: at for at, s in enumerate((1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11))}
    """The place of each in a module; only custom ones, of number 0, may be anywhere."""


@attrs.frozen
class ValueKind:
    """A type of values."""

    encoded: bytes
    name: str
    size: int
    """Bytes of a number or a vector; 0 for a reference."""
    is_nullable: bool
    is_function: bool
    """True for a reference of a function."""

    @property
    def heap(self) -> bytes:
        """What a reference refers to."""
        return self.encoded[1:] if self.encoded[0] in (_NULLABLE, _NON_NULL) else self.encoded

    @property
    def as_nullable(self) -> bytes:
        """The reference's type with null added to it."""
        return bytes([_NULLABLE]) + self.heap


@attrs.frozen
class Table:
    """A table; an imported one is not linked, so all are the module's own."""

    kind: ValueKind
    is_wide: bool
    """True if it is addressed by i64."""


@attrs.frozen
class Memory:
    """A memory; ``flags`` and ``maximum`` as they are encoded."""

    flags: int
    minimum: int
    maximum: int | None
    is_wide: bool
    """True if it is addressed by i64."""


@attrs.frozen
class Global:
    """A global."""

    kind: ValueKind
    is_mutable: bool
    initial: bytes
    """Its constant expression, with the end."""
    functions: tuple[int, ...]
    """The functions that the expression refers to."""


@attrs.frozen
class Export:
    """An export."""

    name: str
    kind: int
    index: int


@attrs.frozen
class Element:
    """A segment of elements."""

    flags: int
    encoded: bytes
    """All of it behind the flags."""
    kind: ValueKind
    count: int

    @property
    def is_passive(self) -> bool:
        """True if code copies it into a table, and may drop it."""
        return self.flags & 3 == 1


@attrs.frozen
class Data:
    """A segment of data."""

    is_passive: bool
    content: bytes
    """Empty for an active one, which nothing reads after the start."""


@attrs.define(eq=False, repr=False)
class Anatomy:
    """The parts of a module."""

    sections: list[tuple[int, bytes]] = attrs.field(factory=list[tuple[int, bytes]])
    """Number and content, in the module's order."""
    types: int = 0
    imported_functions: int = 0
    functions: int = 0
    """Its own, without the imported ones."""
    tables: list[Table] = attrs.field(factory=list[Table])
    memories: list[Memory] = attrs.field(factory=list[Memory])
    globals: list[Global] = attrs.field(factory=list[Global])
    exports: list[Export] = attrs.field(factory=list[Export])
    start: int | None = None
    elements: list[Element] = attrs.field(factory=list[Element])
    data: list[Data] = attrs.field(factory=list[Data])
    counts_data: bool = False
    """True if it has a data count: without one, code cannot name a segment of data."""
    makes_objects: bool = False
    """True if a constant expression makes an object of the garbage collector."""


def dissect(binary: bytes) -> Anatomy:
    """Take a valid module apart, whose only imports are functions."""
    return _Dissection(binary).run()


def body_at(binary: bytes) -> int:
    """Return where the code of a module's first function begins in its binary; 0 without one."""
    return _Dissection(binary).find_body()


class _Dissection(BinaryReader):
    """A position in the binary, and the parts that were found before it."""

    def __init__(self, binary: bytes) -> None:
        super().__init__(binary)
        self._found = Anatomy()

    def run(self) -> Anatomy:
        items: dict[int, Callable[[], None]] = {
            Section.TYPE: self._recursive_group,
            Section.IMPORT: self._import,
            Section.FUNCTION: self._function,
            Section.TABLE: self._table,
            Section.MEMORY: self._memory,
            Section.GLOBAL: self._global,
            Section.EXPORT: self._export,
            Section.ELEMENT: self._element,
            Section.DATA: self._data,
        }
        found = self._found
        for section, end in self._sections():
            found.sections.append((section, self._bytes[self._at : end]))
            if section in items:
                self._each(items[section])
            elif section == Section.START:
                found.start = self._number()
            elif section == Section.DATA_COUNT:
                found.counts_data = True
        found.types = len(self._types)
        return found

    def find_body(self) -> int:
        for section, _ in self._sections():
            if section == Section.CODE:
                self._number()  # of functions
                return self._at
        return 0

    # --- the items of sections ---

    def _import(self) -> None:
        self._text()
        self._text()
        kind = self._byte()
        assert kind == AS_FUNCTION  # no other import can be provided: a `LinkError`
        self._number()
        self._found.imported_functions += 1

    def _function(self) -> None:
        self._number()
        self._found.functions += 1

    def _table(self) -> None:
        has_initial = self._peek() == 0x40
        if has_initial:
            self._at += 2
        kind = self._value_kind()
        _, _, address = self._limits()
        self._found.tables.append(Table(kind, address == "i64"))
        if has_initial:
            self._constant()

    def _memory(self) -> None:
        flags = self._peek()
        minimum, maximum, address = self._limits()
        self._found.memories.append(Memory(flags, minimum, maximum, address == "i64"))

    def _global(self) -> None:
        kind, is_mutable, at = self._value_kind(), bool(self._byte()), self._at
        functions = self._constant()
        initial = self._bytes[at : self._at]
        self._found.globals.append(Global(kind, is_mutable, initial, functions))

    def _export(self) -> None:
        self._found.exports.append(Export(self._text(), self._byte(), self._number()))

    def _element(self) -> None:
        """Flags: 1 passive or declared, 2 a table or declared, 4 expressions, not indices."""
        flags, at = self._byte(), self._at
        if flags & 3 == 2:
            self._number()
        if not flags & 1:
            self._constant()
        kind = _FUNCREF
        if flags & 3 and flags & 4:
            kind = self._value_kind()
        elif flags & 3:
            self._at += 1  # the kind of elements that indices are of: functions
        count = self._number()
        for _ in range(count):
            self._constant() if flags & 4 else self._number()
        self._found.elements.append(Element(flags, self._bytes[at : self._at], kind, count))

    def _data(self) -> None:
        flags = self._number()
        if flags == 2:
            self._number()
        if flags != 1:
            self._constant()
        size = self._number()
        content = self._bytes[self._at : self._at + size] if flags == 1 else b""
        self._found.data.append(Data(flags == 1, content))
        self._at += size

    # --- the parts of items ---

    def _constant(self) -> tuple[int, ...]:
        """Read a constant expression, and return the functions that it refers to."""
        opcodes = self._expression()
        if any(opcode in _NEW_OBJECTS for opcode, _ in opcodes):
            self._found.makes_objects = True
        return tuple(number for opcode, number in opcodes if opcode == _REFERENCE_OF_FUNCTION)

    def _value_kind(self) -> ValueKind:
        at = self._at
        name = self._value_type()
        encoded = self._bytes[at : self._at]
        heap = encoded[1:] if encoded[0] in (_NULLABLE, _NON_NULL) else encoded
        is_index = not (len(heap) == 1 and heap[0] & _FIRST_HEAP)
        size = _NUMBERS.get(encoded[0], 0)
        is_function = not size and (
            self._is_function_type(heap) if is_index else heap[0] in _FUNCTION_HEAPS
        )
        return ValueKind(encoded, name, size, encoded[0] != _NON_NULL, is_function)

    def _is_function_type(self, index: Sequence[int]) -> bool:
        number = sum((byte & 0x7F) << 7 * at for at, byte in enumerate(index))
        return self._types[number] is not None


_FUNCREF: Final = ValueKind(b"\x70", "funcref", 0, is_nullable=True, is_function=True)
