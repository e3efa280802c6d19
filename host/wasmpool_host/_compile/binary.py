"""What a module imports and exports, read from its bytes.

Wasmtime's C API aborts the process when it is asked for a type that it cannot represent, such as a
vector or a typed reference in a signature, so a module could end its host when it is only
inspected. This reader names every type instead.

It reads only modules that Wasmtime has compiled: they are valid, with the features of
`_capi.new_engine`. The format is chapter 5 of the WebAssembly core specification:
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
    from collections.abc import Callable

__all__ = ["Outline", "outline", "with_memory_exported"]

_HEADER: Final = 8  # the magic number and the version

_VALUE_TYPES: Final = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
}
_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)
_EXPORTS: Final = 7
_AFTER_EXPORTS: Final = frozenset({8, 9, 10, 11, 12})
"""The sections behind the export section: start, element, code, data and data count."""
_MAX_BITS: Final = 63  # of a number: a valid LEB128 has at most ten bytes

# Bytes of the immediate after an opcode of a constant expression; -1 stands for a LEB128.
_IMMEDIATES: Final = {0x41: -1, 0x42: -1, 0x43: 4, 0x44: 8, 0x23: -1, 0xD0: -1, 0xD2: -1}
_END, _VECTOR = 0x0B, 0xFD


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
    tables: tuple[TableType, ...]
    """All tables, whether they are imported, exported or neither."""


def outline(binary: bytes) -> Outline:
    """Read the outline of a valid module."""
    return _Reader(binary).read()


def with_memory_exported(binary: bytes, name: str) -> bytes:
    """The same module with one more export: its first memory, under this name.

    No other export may have this name. Everything after the export section, the code above all,
    moves by the number of bytes that the result is longer.
    """
    return _Reader(binary).export_memory(name)


class _Reader:
    """A position in the bytes, and the index spaces that were read so far."""

    def __init__(self, binary: bytes) -> None:
        self._bytes = binary
        self._at = _HEADER
        self._name: str | None = None
        self._types: list[FunctionType] = []
        self._imports: list[tuple[str, str, ExternType]] = []
        self._spaces: tuple[list[ExternType], ...] = ([], [], [], [], [])
        self._exports: dict[str, ExternType] = {}

    def read(self) -> Outline:
        sections: dict[int, Callable[[], None]] = {
            1: lambda: self._each(self._type),
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
            tuple(each for each in tables if isinstance(each, TableType)),
        )

    def export_memory(self, name: str) -> bytes:
        encoded = name.encode()
        entry = _leb(len(encoded)) + encoded + bytes([_MEMORY, 0])
        while self._at < len(self._bytes):
            start = self._at
            section, size = self._byte(), self._number()
            end = self._at + size
            if section == _EXPORTS:
                count = self._number()
                return self._with(start, end, _leb(count + 1) + self._bytes[self._at : end] + entry)
            if section in _AFTER_EXPORTS:
                return self._with(start, start, _leb(1) + entry)
            self._at = end
        return self._with(self._at, self._at, _leb(1) + entry)

    def _with(self, start: int, end: int, exports: bytes) -> bytes:
        """The module with an export section in place of the bytes from start to end."""
        section = bytes([_EXPORTS]) + _leb(len(exports)) + exports
        return self._bytes[:start] + section + self._bytes[end:]

    # --- the parts of sections ---

    def _each(self, item: Callable[[], None]) -> None:
        for _ in range(self._number()):
            item()

    def _type(self) -> None:
        self._byte()  # 0x60, a function type: the only kind without the GC proposal
        self._types.append(FunctionType(self._value_types(), self._value_types()))

    def _import(self) -> None:
        module, name = self._text(), self._text()
        kind = self._byte()
        type_ = self._extern_type(kind)
        self._spaces[kind].append(type_)
        self._imports.append((module, name, type_))

    def _define(self, kind: int) -> None:
        has_initializer = kind == _GLOBAL
        if kind == _TABLE and self._bytes[self._at] == 0x40:
            self._at += 2
            has_initializer = True
        self._spaces[kind].append(self._extern_type(kind))
        if has_initializer:
            self._skip_expression()

    def _export(self) -> None:
        name, kind, index = self._text(), self._byte(), self._number()
        self._exports[name] = self._spaces[kind][index]

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
            return self._types[self._number()]
        if kind == _TABLE:
            return TableType(self._value_type(), *self._limits())
        if kind == _MEMORY:
            return MemoryType(*self._limits())
        if kind == _GLOBAL:
            return GlobalType(self._value_type(), bool(self._byte()))
        self._at += 1  # a tag's attribute, always 0
        self._number()
        return TagType()

    def _limits(self) -> tuple[int, int | None]:
        has_maximum = self._byte() & 1
        return self._number(), self._number() if has_maximum else None

    def _skip_expression(self) -> None:
        while (opcode := self._byte()) != _END:
            if opcode == _VECTOR:
                self._number()
                self._at += 16
                continue
            size = _IMMEDIATES.get(opcode, 0)
            if size < 0:
                self._number()
            else:
                self._at += size

    def _value_types(self) -> tuple[str, ...]:
        return tuple(self._value_type() for _ in range(self._number()))

    def _value_type(self) -> str:
        code = self._byte()
        if code in _VALUE_TYPES:
            return _VALUE_TYPES[code]
        if code in (0x63, 0x64):  # a reference, nullable or not, to a heap type
            self._number()
            return "ref"
        return f"type 0x{code:02x}"

    # --- primitives of the format ---

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


def _leb(value: int) -> bytes:
    """Encode an unsigned LEB128."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
