"""The types of a module's exports and imports."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

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


class _Type:
    """Equality, hash and representation by the attributes.

    Written here once: attrs would generate them for each class at each import.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return _parts(self) == _parts(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *_parts(self).items()))

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={value!r}" for name, value in _parts(self).items())
        return f"{type(self).__name__}({parts})"


def _parts(type_: Any) -> dict[str, object]:
    return {each.name: getattr(type_, each.name) for each in attrs.fields(type(type_))}


@attrs.frozen(eq=False, repr=False)
class FunctionType(_Type):
    """A function's parameters and results, in order."""

    params: tuple[ValueType, ...]
    results: tuple[ValueType, ...]

    def __eq__(self, other: object) -> bool:  # written out: it is asked for each new instance
        if type(other) is not FunctionType:
            return NotImplemented
        return self.params == other.params and self.results == other.results

    __hash__ = _Type.__hash__

    def __str__(self) -> str:
        return f"({', '.join(self.params)}) -> ({', '.join(self.results)})"


@attrs.frozen(eq=False, repr=False)
class MemoryType(_Type):
    """A linear memory's bounds, in pages of 64 KiB; ``maximum`` is None if it declares none.

    ``address`` is what the guest addresses it by: ``"i64"`` for a memory that may have 4 GiB and
    more.
    """

    minimum: int
    maximum: int | None
    address: AddressType = "i32"

    def __str__(self) -> str:
        most = "no maximum" if self.maximum is None else f"at most {self.maximum}"
        wide = "" if self.address == "i32" else ", addressed by i64"
        return f"memory of {self.minimum} page{'' if self.minimum == 1 else 's'}, {most}{wide}"


@attrs.frozen(eq=False, repr=False)
class GlobalType(_Type):
    """A global's value type, and whether it is mutable."""

    content: ValueType
    mutable: bool

    def __str__(self) -> str:
        return f"{'mutable ' if self.mutable else ''}global {self.content}"


@attrs.frozen(eq=False, repr=False)
class TableType(_Type):
    """A table's element type and its bounds, in elements."""

    element: ValueType
    minimum: int
    maximum: int | None

    def __str__(self) -> str:
        return f"table of {self.element}"


@attrs.frozen(eq=False, repr=False)
class TagType(_Type):
    """An exception tag; hosts cannot use it."""

    def __str__(self) -> str:
        return "tag"


ExternType: TypeAlias = FunctionType | MemoryType | GlobalType | TableType | TagType
"""The type of an import or export."""
