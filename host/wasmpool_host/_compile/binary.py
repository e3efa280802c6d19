"""What a module imports and exports, read from its bytes.

Wasmtime's C API aborts the process when it is asked for a type that it cannot represent, such as a
typed reference in a signature, so a module could end its host when it is only inspected. This
reader names every type instead.

It reads only modules that Wasmtime has compiled: they are valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host._record import Record
from wasmpool_host._types import (
    ExternType,
    FunctionType,
    GlobalType,
    MemoryType,
    TableType,
    TagType,
)

from .encoding import sized, unsigned
from .reader import BinaryReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Outline", "outline", "with_memories_exported"]

_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)
_EXPORTS: Final = 7
_DATA: Final = 11
_AFTER_EXPORTS: Final = frozenset({8, 9, 10, 11, 12})
"""The sections behind the export section: start, element, code, data and data count."""


class Outline(Record):
    """What a module imports, exports and defines."""

    __slots__ = __match_args__ = (
        "name", "imports", "exports", "memories", "memory_names", "tables", "has_heap",
        "data_size",
    )  # fmt: skip

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
    data_size: int
    """Bytes of its data section: what its memories begin with, and little else."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts, from one place
        self,
        name: str | None,
        imports: tuple[tuple[str, str, ExternType], ...],
        exports: dict[str, ExternType],
        memories: tuple[MemoryType, ...],
        memory_names: tuple[str | None, ...],
        tables: tuple[TableType, ...],
        has_heap: bool,  # noqa: FBT001 - as the others
        data_size: int,
    ) -> None:
        self._fill(name, imports, exports, memories, memory_names, tables, has_heap, data_size)


def outline(binary: bytes) -> Outline:
    """Read the outline of a valid module."""
    return _Reader(binary).read()


def with_memories_exported(binary: bytes, names: Mapping[int, str]) -> bytes:
    """The same module with more exports: memories by their index, each under a name of its own.

    No other export may have one of these names. Everything after the export section, the code above
    all, moves by the number of bytes that the result is longer.
    """
    return _Reader(binary).export_memories(names)


class _Reader(BinaryReader):
    """The reader of an outline, and the index spaces that it has read so far."""

    def __init__(self, binary: bytes) -> None:
        super().__init__(binary)
        self._name: str | None = None
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
        data_size = 0
        for section, end in self._sections():
            if section == _DATA:
                data_size = end - self._at
            elif section == 0:
                self._custom(end)
            elif section in sections:
                sections[section]()
        memories, tables = self._spaces[_MEMORY], self._spaces[_TABLE]
        return Outline(
            self._name,
            tuple(self._imports),
            self._exports,
            tuple(each for each in memories if isinstance(each, MemoryType)),
            tuple(map(self._memory_names.get, range(len(memories)))),
            tuple(each for each in tables if isinstance(each, TableType)),
            None in self._types or bool(self._spaces[_TAG]),
            data_size,
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
                return self._with(start, end, unsigned(count + len(names)) + others + entries)
            if section in _AFTER_EXPORTS:
                return self._with(start, start, unsigned(len(names)) + entries)
            self._at = end
        return self._with(self._at, self._at, unsigned(len(names)) + entries)

    def _with(self, start: int, end: int, exports: bytes) -> bytes:
        """The module with an export section in place of the bytes from start to end."""
        section = bytes([_EXPORTS]) + sized(exports)
        return self._bytes[:start] + section + self._bytes[end:]

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
            self._expression()

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


def _export_of_memory(index: int, name: str) -> bytes:
    return sized(name.encode()) + bytes([_MEMORY]) + unsigned(index)
