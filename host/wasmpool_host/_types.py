"""The types of what a module exports and imports."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

__all__ = [
    "ExternType",
    "FunctionType",
    "GlobalType",
    "MemoryType",
    "NumericType",
    "TableType",
    "TagType",
    "ValueType",
]

PAGE: Final = 65_536
"""Bytes in a page of linear memory."""

NumericType: TypeAlias = Literal["i32", "i64", "f32", "f64"]
"""The value types that a host can give and take."""

NUMERIC: Final = frozenset(get_args(NumericType))

ValueType: TypeAlias = str
"""``"i32"``, ``"i64"``, ``"f32"``, ``"f64"``; others (``"v128"``, references) are only named."""


class _Type:
    """What is equal if all that it is made of is.

    Written once: attrs would write it anew for each class, with each import.
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

    def __str__(self) -> str:
        return f"({', '.join(self.params)}) -> ({', '.join(self.results)})"


@attrs.frozen(eq=False, repr=False)
class MemoryType(_Type):
    """A linear memory's bounds, in pages of 64 KiB; ``maximum`` None is no bound of its own."""

    minimum: int
    maximum: int | None

    def __str__(self) -> str:
        most = "no maximum" if self.maximum is None else f"at most {self.maximum}"
        return f"memory of {self.minimum} page{'' if self.minimum == 1 else 's'}, {most}"


@attrs.frozen(eq=False, repr=False)
class GlobalType(_Type):
    """A global's content, and whether it can be changed."""

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
    """An exception tag, which only guests use."""

    def __str__(self) -> str:
        return "tag"


ExternType: TypeAlias = FunctionType | MemoryType | GlobalType | TableType | TagType
"""What can stand on either side of an import."""
