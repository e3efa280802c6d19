"""Types as a component's binary defines them: by index, each in a space of indices.

A component has such a space, and so has each type of an instance. An index below zero is a
primitive.
"""

from __future__ import annotations

from typing import Final, TypeAlias, final

import attrs

__all__ = [
    "PRIMITIVES",
    "Definition",
    "EnumType",
    "FlagsType",
    "FunctionType",
    "HandleType",
    "InstanceType",
    "ListType",
    "OptionType",
    "PrimitiveType",
    "RecordType",
    "ResultType",
    "TupleType",
    "TypeSpace",
    "VariantType",
]

PRIMITIVES: Final = {
    -1: "bool", -2: "s8", -3: "u8", -4: "s16", -5: "u16", -6: "s32", -7: "u32", -8: "s64",
    -9: "u64", -10: "f32", -11: "f64", -12: "char", -13: "string",
}  # fmt: skip


@attrs.frozen
class FunctionType:
    """Parameters by name, and the result."""

    params: tuple[tuple[str, int], ...]
    result: int | None


@attrs.frozen
class PrimitiveType:
    """A primitive under an index."""

    index: int


@attrs.frozen
class ListType:
    """A list of a type."""

    element: int


@attrs.frozen
class RecordType:
    """Fields by name."""

    fields: tuple[tuple[str, int], ...]


@attrs.frozen
class TupleType:
    """Elements in order."""

    elements: tuple[int, ...]


@attrs.frozen
class VariantType:
    """Cases by name, each with a type or without."""

    cases: tuple[tuple[str, int | None], ...]


@attrs.frozen
class EnumType:
    """Names of cases."""

    names: tuple[str, ...]


@attrs.frozen
class FlagsType:
    """Names of flags."""

    names: tuple[str, ...]


@attrs.frozen
class OptionType:
    """An ``option`` of a type."""

    payload: int


@attrs.frozen
class ResultType:
    """A ``result`` of two types, each of which may be missing."""

    ok: int | None
    err: int | None


@attrs.frozen
class HandleType:
    """``own`` or ``borrow`` of a resource."""

    owned: bool
    resource: int


@attrs.frozen
class InstanceType:
    """What an instance has: types and functions by name, with indices in a space of their own.

    ``counted`` is where the number of its declarations begins in the binary, ``number`` is that
    number, ``declared`` is where they begin, and ``end`` where they end.
    """

    space: TypeSpace
    types: dict[str, int]
    functions: dict[str, int]
    counted: int
    number: int
    declared: int
    end: int


@attrs.frozen
class _Alias:
    """Another index of a type: where that is defined, not where it has a further index."""

    space: TypeSpace
    index: int


Definition: TypeAlias = (
    FunctionType
    | PrimitiveType
    | ListType
    | RecordType
    | TupleType
    | VariantType
    | EnumType
    | FlagsType
    | OptionType
    | ResultType
    | HandleType
    | InstanceType
)


@final
class TypeSpace:
    """The types of one space, as far as they are known."""

    def __init__(self, outer: TypeSpace | None = None) -> None:
        self.outer: TypeSpace | None = outer
        self.count: int = 0
        self._known: dict[int, Definition | _Alias] = {}

    def add(self, definition: Definition | None = None) -> int:
        """Define the next type, None if it is a resource or unknown; return its index."""
        index = self.count
        self.count += 1
        if definition is not None:
            self._known[index] = definition
        return index

    def add_alias(self, space: TypeSpace, index: int) -> int:
        """Have the next type be one that was defined before; return its index."""
        found = space._known.get(index)  # not of a later one, which would perhaps lead back here
        at = self.add()
        if found is not None:
            self._known[at] = found if isinstance(found, _Alias) else _Alias(space, index)
        return at

    def primitive(self, index: int) -> int | None:
        """The negative index of a type that is a primitive; None for all others."""
        if index < 0:
            return index
        found = self.find(index)
        return found[1].index if found and isinstance(found[1], PrimitiveType) else None

    def find(self, index: int) -> tuple[TypeSpace, Definition] | None:
        """What a type is, and the space of the indices in it; None if that is not known."""
        space, found = self, self._known.get(index)
        if isinstance(found, _Alias):
            space = found.space
            found = space._known[found.index]  # noqa: SLF001 - of this class
            assert not isinstance(found, _Alias)
        return None if found is None else (space, found)
