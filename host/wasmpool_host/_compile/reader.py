"""A position in a module's bytes, and how the parts of its format are read from there.

The modules are valid, with the features of `_capi.new_engine`. The format is chapter 5 of the
WebAssembly core specification, 3.0:
https://webassembly.github.io/spec/core/binary/modules.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host._types import FunctionType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wasmpool_host._types import AddressType

__all__ = ["GC", "BinaryReader"]

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
_MAX_BITS: Final = 63  # of a number: a valid LEB128 has at most ten bytes

# What follows an opcode in a constant expression: a fixed number of bytes, or (negative) so many
# LEB128. An opcode that is not here, such as an addition, is followed by nothing.
_IMMEDIATES: Final = {0x41: -1, 0x42: -1, 0x43: 4, 0x44: 8, 0x23: -1, 0xD0: -1, 0xD2: -1}
_GC_IMMEDIATES: Final = {0: -1, 1: -1, 6: -1, 7: -1, 8: -2}
"""The same for the opcodes behind `GC`, of structures and arrays. These make an object."""
GC: Final = 0xFB
_END, _VECTOR, _VECTOR_SIZE = 0x0B, 0xFD, 16


class BinaryReader:
    """A position in the bytes, and the types that were read so far."""

    def __init__(self, binary: bytes, at: int = _HEADER) -> None:
        self._bytes = binary
        self._at = at
        self._types: list[FunctionType | None] = []
        """None for a structure or an array."""

    def _sections(self) -> Iterator[tuple[int, int]]:
        """Go from section to section; yield its number, and where its content ends."""
        while self._at < len(self._bytes):
            section, size = self._byte(), self._number()
            end = self._at + size
            yield section, end
            self._at = end

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

    def _limits(self) -> tuple[int, int | None, AddressType]:
        flags = self._byte()
        minimum = self._number()
        maximum = self._number() if flags & 1 else None
        return minimum, maximum, "i64" if flags & 4 else "i32"

    def _expression(self) -> list[tuple[int, int]]:
        """Read a constant expression: each opcode with its first number, or 0, up to the end.

        The opcodes of structures and arrays are `GC` << 8 and more.
        """
        found: list[tuple[int, int]] = []
        while (opcode := self._byte()) != _END:
            if opcode == _VECTOR:
                found.append((opcode, self._number()))
                self._at += _VECTOR_SIZE
            elif opcode == GC:
                sub = self._number()
                found.append((GC << 8 | sub, self._immediates(_GC_IMMEDIATES.get(sub, 0))))
            else:
                found.append((opcode, self._immediates(_IMMEDIATES.get(opcode, 0))))
        return found

    def _immediates(self, immediates: int) -> int:
        """Skip what follows an opcode; return its first number."""
        if immediates >= 0:
            self._at += immediates
            return 0
        first, *_ = [self._number() for _ in range(-immediates)]
        return first

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
