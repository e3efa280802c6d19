"""What a module imports and exports, read from its bytes.

Wasmtime's C API aborts the process when it is asked for a type that it cannot represent, such as a
typed reference in a signature, so a module could end its host when it is only inspected. This
reader names every type instead.

It reads only modules that Wasmtime has compiled: they are valid, with the features of
`_capi.new_engine`. The format is chapter 5 of the WebAssembly core specification, 3.0:
https://webassembly.github.io/spec/core/binary/modules.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from wasmpool_host._types import (
    ExternType,
    FunctionType,
    GlobalType,
    MemoryType,
    TableType,
    TagType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmpool_host._types import AddressType

__all__ = ["Outline", "outline", "with_memories_exported"]

_HEADER: Final = 8  # the magic number and the version

_VALUE_TYPES: Final = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128"}
_PACKED_TYPES: Final = frozenset({0x77, 0x78})
"""i16 and i8, in the fields of structures and arrays only."""
_HEAP_TYPES: Final = {
    0x69: "exn",
    0x6A: "array",
    0x6B: "struct",
    0x6C: "i31",
    0x6D: "eq",
    0x6E: "any",
    0x6F: "extern",
    0x70: "func",
    0x71: "none",
    0x72: "noextern",
    0x73: "nofunc",
    0x74: "noexn",
}
_REFERENCE, _NULLABLE_REFERENCE = 0x64, 0x63
_RECURSIVE_GROUP, _SUBTYPE, _FINAL_SUBTYPE = 0x4E, 0x50, 0x4F
_ARRAY_TYPE, _STRUCT_TYPE = 0x5E, 0x5F
_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)
_EXPORTS: Final = 7
_AFTER_EXPORTS: Final = frozenset({8, 9, 10, 11, 12})
"""The sections behind the export section: start, element, code, data and data count."""
_MAX_BITS: Final = 63  # of a number: a valid LEB128 has at most ten bytes

# What follows an opcode in a constant expression: a fixed number of bytes, or (negative) so many
# LEB128. An opcode that is not here, such as an addition, is followed by nothing.
_IMMEDIATES: Final = {0x41: -1, 0x42: -1, 0x43: 4, 0x44: 8, 0x23: -1, 0xD0: -1, 0xD2: -1}
_GC_IMMEDIATES: Final = {0: -1, 1: -1, 6: -1, 7: -1, 8: -2}
"""The same for the opcodes behind 0xFB, of structures and arrays."""
_END, _VECTOR, _GC = 0x0B, 0xFD, 0xFB


@attrs.frozen(eq=False, repr=False)
class Outline:
    """What a module imports, exports and defines."""

    name: str | None
    """From its name section."""
    imports: tuple[tuple[str, str, ExternType], ...]
    """Module, name and type, in the module's order; the same name may occur more than once."""
    exports: dict[str, ExternType]
    memories: tuple[MemoryType, ...]
    """All memories, whether they are imported, exported or neither."""
    memory_names: tuple[str | None, ...]
    """For each of them the name of an export, "memory" if that is one; None if it has none."""
    tables: tuple[TableType, ...]
    """All tables, whether they are imported, exported or neither."""
    has_heap: bool
    """True if it defines structures, arrays or exceptions: they are in a heap of the instance."""


def outline(binary: bytes) -> Outline:
    """Read the outline of a valid module."""
    return _Reader(binary).read()


def with_memories_exported(binary: bytes, names: Mapping[int, str]) -> bytes:
    """The same module with more exports: memories by their index, each under a name of its own.

    No other export may have one of these names. Everything after the export section, the code above
    all, moves by the number of bytes that the result is longer.
    """
    return _Reader(binary).export_memories(names)


class _Reader:
    """A position in the bytes, and the index spaces that were read so far."""

    def __init__(self, binary: bytes) -> None:
        self._bytes = binary
        self._at = _HEADER
        self._name: str | None = None
        self._types: list[FunctionType | None] = []
        """None for a structure or an array."""
        self._imports: list[tuple[str, str, ExternType]] = []
        self._spaces: tuple[list[ExternType], ...] = ([], [], [], [], [])
        self._exports: dict[str, ExternType] = {}
        self._memory_names: dict[int, str] = {}

    def read(self) -> Outline:
        sections: dict[int, Callable[[], None]] = {
            1: lambda: self._each(self._recursive_group),
            2: lambda: self._each(self._import),
            3: lambda: self._each(lambda: self._define(_FUNCTION)),
            4: lambda: self._each(lambda: self._define(_TABLE)),
            5: lambda: self._each(lambda: self._define(_MEMORY)),
            6: lambda: self._each(lambda: self._define(_GLOBAL)),
            7: lambda: self._each(self._export),
            13: lambda: self._each(lambda: self._define(_TAG)),
        }
        while self._at < len(self._bytes):
            section, size = self._byte(), self._number()
            end = self._at + size
            if section == 0:
                self._custom(end)
            elif section in sections:
                sections[section]()
            self._at = end
        memories, tables = self._spaces[_MEMORY], self._spaces[_TABLE]
        return Outline(
            self._name,
            tuple(self._imports),
            self._exports,
            tuple(each for each in memories if isinstance(each, MemoryType)),
            tuple(map(self._memory_names.get, range(len(memories)))),
            tuple(each for each in tables if isinstance(each, TableType)),
            None in self._types or bool(self._spaces[_TAG]),
        )

    def export_memories(self, names: Mapping[int, str]) -> bytes:
        entries = b"".join(_export_of_memory(index, name) for index, name in names.items())
        while self._at < len(self._bytes):
            start = self._at
            section, size = self._byte(), self._number()
            end = self._at + size
            if section == _EXPORTS:
                count = self._number()
                others = self._bytes[self._at : end]
                return self._with(start, end, _leb(count + len(names)) + others + entries)
            if section in _AFTER_EXPORTS:
                return self._with(start, start, _leb(len(names)) + entries)
            self._at = end
        return self._with(self._at, self._at, _leb(len(names)) + entries)

    def _with(self, start: int, end: int, exports: bytes) -> bytes:
        """The module with an export section in place of the bytes from start to end."""
        section = bytes([_EXPORTS]) + _leb(len(exports)) + exports
        return self._bytes[:start] + section + self._bytes[end:]

    # --- the parts of sections ---

    def _each(self, item: Callable[[], object]) -> None:
        for _ in range(self._number()):
            item()

    def _recursive_group(self) -> None:
        if self._peek() == _RECURSIVE_GROUP:
            self._at += 1
            self._each(self._type)
        else:
            self._type()

    def _type(self) -> None:
        form = self._byte()
        if form in (_SUBTYPE, _FINAL_SUBTYPE):
            self._each(self._number)  # its supertypes
            form = self._byte()
        if form == _STRUCT_TYPE:
            self._each(self._field)
            self._types.append(None)
        elif form == _ARRAY_TYPE:
            self._field()
            self._types.append(None)
        else:
            self._types.append(FunctionType(self._value_types(), self._value_types()))

    def _field(self) -> None:
        if self._peek() in _PACKED_TYPES:
            self._at += 1
        else:
            self._value_type()
        self._at += 1  # whether it is mutable

    def _import(self) -> None:
        module, name = self._text(), self._text()
        kind = self._byte()
        type_ = self._extern_type(kind)
        self._spaces[kind].append(type_)
        self._imports.append((module, name, type_))

    def _define(self, kind: int) -> None:
        has_initializer = kind == _GLOBAL
        if kind == _TABLE and self._peek() == 0x40:
            self._at += 2
            has_initializer = True
        self._spaces[kind].append(self._extern_type(kind))
        if has_initializer:
            self._skip_expression()

    def _export(self) -> None:
        name, kind, index = self._text(), self._byte(), self._number()
        self._exports[name] = self._spaces[kind][index]
        if kind == _MEMORY and (name == "memory" or index not in self._memory_names):
            self._memory_names[index] = name

    def _custom(self, end: int) -> None:
        """Read the module's own name. Custom sections are not validated and may hold anything."""
        try:
            if self._text() != "name" or self._byte() != 0:
                return
            size = self._number()
            if self._at + size <= end:
                self._name = self._text() or None
        except (IndexError, UnicodeDecodeError):
            return

    def _extern_type(self, kind: int) -> ExternType:
        if kind == _FUNCTION:
            return self._function_type()
        if kind == _TABLE:
            element = self._value_type()
            minimum, maximum, _ = self._limits()
            return TableType(element, minimum, maximum)
        if kind == _MEMORY:
            return MemoryType(*self._limits())
        if kind == _GLOBAL:
            return GlobalType(self._value_type(), bool(self._byte()))
        self._at += 1  # a tag's attribute, always 0
        self._number()
        return TagType()

    def _function_type(self) -> FunctionType:
        type_ = self._types[self._number()]
        if type_ is None:
            raise IndexError
        return type_

    def _limits(self) -> tuple[int, int | None, AddressType]:
        flags = self._byte()
        minimum = self._number()
        maximum = self._number() if flags & 1 else None
        return minimum, maximum, "i64" if flags & 4 else "i32"

    def _skip_expression(self) -> None:
        while (opcode := self._byte()) != _END:
            if opcode == _VECTOR:
                self._number()
                self._at += 16
            elif opcode == _GC:
                self._skip(_GC_IMMEDIATES.get(self._number(), 0))
            else:
                self._skip(_IMMEDIATES.get(opcode, 0))

    def _skip(self, immediates: int) -> None:
        self._at += max(0, immediates)
        for _ in range(-immediates):
            self._number()

    def _value_types(self) -> tuple[str, ...]:
        return tuple(self._value_type() for _ in range(self._number()))

    def _value_type(self) -> str:
        code = self._byte()
        if code in _VALUE_TYPES:
            return _VALUE_TYPES[code]
        if code in _HEAP_TYPES:
            return _nullable(_HEAP_TYPES[code])
        if code == _NULLABLE_REFERENCE:
            return f"(ref null {self._heap_type()})"
        if code == _REFERENCE:
            return f"(ref {self._heap_type()})"
        return f"type 0x{code:02x}"

    def _heap_type(self) -> str:
        """A kind of reference, or the index of a type: a signed LEB128, negative for the former."""
        code = self._peek()
        if code in _HEAP_TYPES:
            self._at += 1
            return _HEAP_TYPES[code]
        return str(self._number())

    # --- primitives of the format ---

    def _peek(self) -> int:
        return self._bytes[self._at]

    def _byte(self) -> int:
        value = self._bytes[self._at]
        self._at += 1
        return value

    def _number(self) -> int:
        """Read an unsigned LEB128; it is also used to skip a signed one."""
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > _MAX_BITS:
                raise IndexError

    def _text(self) -> str:
        size = self._number()
        start, self._at = self._at, self._at + size
        if self._at > len(self._bytes):
            raise IndexError
        return self._bytes[start : self._at].decode()


def _nullable(heap_type: str) -> str:
    """The short name of a nullable reference, as in the text format."""
    if heap_type == "none":
        return "nullref"
    return f"null{heap_type[2:]}ref" if heap_type.startswith("no") else f"{heap_type}ref"


def _export_of_memory(index: int, name: str) -> bytes:
    encoded = name.encode()
    return _leb(len(encoded)) + encoded + bytes([_MEMORY]) + _leb(index)


def _leb(value: int) -> bytes:
    """Encode an unsigned LEB128."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
