"""The types of a module's exports and imports."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, final, get_args

from ._record import Record

__all__ = [
    "AddressType",
    "ExternType",
    "FunctionType",
    "GlobalType",
    "MemoryType",
    "PassedType",
    "TableType",
    "TagType",
    "ValueType",
]

PAGE: Final = 65_536
"""Bytes in a page of linear memory."""

PassedType: TypeAlias = Literal["i32", "i64", "f32", "f64", "v128"]
"""The value types that a host can pass and receive: numbers, and vectors as 16 bytes."""

PASSED: Final = frozenset(get_args(PassedType))

ValueType: TypeAlias = str
"""``"i32"``, ``"i64"``, ``"f32"``, ``"f64"`` or ``"v128"``; references (``"externref"``) can be
named, but not passed."""

AddressType: TypeAlias = Literal["i32", "i64"]
"""What a guest addresses a memory by."""


@final
class FunctionType(Record):
    """A function's parameters and results, in order."""

    __slots__ = __match_args__ = ("params", "results")

    params: tuple[ValueType, ...]
    results: tuple[ValueType, ...]

    def __init__(self, params: tuple[ValueType, ...], results: tuple[ValueType, ...]) -> None:
        self._fill(params, results)

    def __eq__(self, other: object) -> bool:  # written out: it is asked for each new instance
        if type(other) is not FunctionType:
            return NotImplemented
        return self.params == other.params and self.results == other.results

    def __hash__(self) -> int:
        return super().__hash__()

    def __str__(self) -> str:
        return f"({', '.join(self.params)}) -> ({', '.join(self.results)})"


@final
class MemoryType(Record):
    """A linear memory's bounds, in pages of 64 KiB; ``maximum`` is None if it declares none.

    ``address`` is what the guest addresses it by: ``"i64"`` for a memory that may have 4 GiB and
    more.
    """

    __slots__ = __match_args__ = ("minimum", "maximum", "address")

    minimum: int
    maximum: int | None
    address: AddressType

    def __init__(self, minimum: int, maximum: int | None, address: AddressType = "i32") -> None:
        self._fill(minimum, maximum, address)

    def __str__(self) -> str:
        most = "no maximum" if self.maximum is None else f"at most {self.maximum}"
        wide = "" if self.address == "i32" else ", addressed by i64"
        return f"memory of {self.minimum} page{'' if self.minimum == 1 else 's'}, {most}{wide}"


@final
class GlobalType(Record):
    """A global's value type, and whether it is mutable."""

    __slots__ = __match_args__ = ("content", "mutable")

    content: ValueType
    mutable: bool

    def __init__(self, content: ValueType, mutable: bool) -> None:  # noqa: FBT001 - as WebAssembly writes it
        self._fill(content, mutable)

    def __str__(self) -> str:
        return f"{'mutable ' if self.mutable else ''}global {self.content}"


@final
class TableType(Record):
    """A table's element type and its bounds, in elements."""

    __slots__ = __match_args__ = ("element", "minimum", "maximum")

    element: ValueType
    minimum: int
    maximum: int | None

    def __init__(self, element: ValueType, minimum: int, maximum: int | None) -> None:
        self._fill(element, minimum, maximum)

    def __str__(self) -> str:
        return f"table of {self.element}"


@final
class TagType(Record):
    """An exception tag; hosts cannot use it."""

    __slots__ = __match_args__ = ()

    def __str__(self) -> str:
        return "tag"


ExternType: TypeAlias = FunctionType | MemoryType | GlobalType | TableType | TagType
"""The type of an import or export."""
