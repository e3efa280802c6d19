"""Types of a component with a pair of integers in place of each ``list<u8>`` and each string.

The canonical ABI passes such a list as a pointer and a size, which is how it passes a tuple of two
``u32``, too, wherever that is: in a record, in a variant, in a list. So a core function of one type
is a core function of the other one as well. With the second, Wasmtime takes care of everything but
the bytes, and these the host copies itself.

A record becomes a tuple, for an imported or exported function may only have records that have
names. For variants, enums and flags, which no other type can stand for, names are made.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, final

from wasmpool_host._compile.encoding import signed, sized, unsigned, vector

from .type_space import (
    PRIMITIVES,
    EnumType,
    FlagsType,
    HandleType,
    ListType,
    OptionType,
    PrimitiveType,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .type_space import Definition, TypeSpace

__all__ = ["Paired", "PairedTypes", "Unpairable", "encoded_text"]

_STRING: Final = -13
_U8: Final = -3
_PAIR: Final = b"\x6f" + vector([b"\x79"] * 2)
_MOST_DEEP: Final = 50
"""Levels of types in types: far more than programs have."""


class Paired(enum.Enum):
    """What pairs stand for."""

    ALL = enum.auto()
    """Every ``list<u8>`` and every string."""
    BYTES = enum.auto()
    """Every ``list<u8>``."""


class Unpairable(Exception):
    """A type cannot be defined again."""


def encoded_text(text: str) -> bytes:
    """Encode a string."""
    return sized(text.encode())


@final
class PairedTypes:
    """Defines types with pairs in one space of indices."""

    def __init__(
        self,
        home: TypeSpace,
        *,
        use: Callable[[Iterable[str]], None],
        define: Callable[[bytes], int],
        name: Callable[[int], int],
        resource: Callable[[int], int],
    ) -> None:
        """Take what adds to the space.

        Args:
            home: where handles may refer to resources of.
            use: is told what is in a type, by name, when it is looked at.
            define: defines a type, and returns its index.
            name: gives a type a name, and returns its new index.
            resource: returns the index that a function may refer to a resource by.
        """
        self._home = home
        self._use = use
        self._define = define
        self._name = name
        self._resource = resource
        self._made: dict[tuple[int, Paired], int] = {}
        """By the definition's `id`: a type may have any number of indices."""
        self._found: dict[tuple[int, Paired], bool] = {}
        self._pair: int | None = None

    def make(self, space: TypeSpace, index: int, what: Paired, level: int = 0) -> int:
        """Define a type again; return its index.

        Raises:
            Unpairable: it has something in it that is not known, or is too deep.
        """
        if self._is_pair(space, index, what):
            if self._pair is None:
                self._pair = self._define(_PAIR)
            return self._pair
        if index < 0:
            if index not in PRIMITIVES:
                raise Unpairable
            return index
        inner, definition = _find(space, index, level)
        key = id(definition), what
        if key not in self._made:
            self._use(_names_in(definition))
            self._made[key] = self._make(inner, definition, what, level + 1)
        return self._made[key]

    def has_pairs(self, space: TypeSpace, index: int, what: Paired, level: int = 0) -> bool:
        """Return True if a type has something in it that a pair stands for."""
        if self._is_pair(space, index, what):
            return True
        if index < 0:
            return False
        inner, definition = _find(space, index, level)
        key = id(definition), what
        if key not in self._found:
            self._use(_names_in(definition))
            self._found[key] = any(
                self.has_pairs(inner, each, what, level + 1) for each in parts_of(definition)
            )
        return self._found[key]

    @staticmethod
    def _is_pair(space: TypeSpace, index: int, what: Paired) -> bool:
        if space.primitive(index) == _STRING:
            return what is Paired.ALL
        found = space.find(index)
        if found is None:
            return False
        inner, definition = found
        return isinstance(definition, ListType) and inner.primitive(definition.element) == _U8

    def _make(self, space: TypeSpace, definition: Definition, what: Paired, level: int) -> int:  # noqa: C901, PLR0911 - a table
        def made(index: int) -> bytes:
            return signed(self.make(space, index, what, level))

        def optional(index: int | None) -> bytes:
            return b"\0" if index is None else b"\1" + made(index)

        match definition:
            case PrimitiveType(index):
                return index
            case ListType(element):
                return self._define(b"\x70" + made(element))
            case RecordType() | TupleType():
                return self._define(b"\x6f" + vector(map(made, parts_of(definition))))
            case OptionType(payload):
                return self._define(b"\x6b" + made(payload))
            case ResultType(ok, err):
                return self._define(b"\x6a" + optional(ok) + optional(err))
            case HandleType(owned, resource):
                if space is not self._home:
                    raise Unpairable
                form = b"\x69" if owned else b"\x68"
                return self._define(form + unsigned(self._resource(resource)))
            case VariantType(cases):
                given = [encoded_text(name) + optional(type_) + b"\0" for name, type_ in cases]
                return self._name(self._define(b"\x71" + vector(given)))
            case EnumType(names):
                return self._name(self._define(b"\x6d" + vector(map(encoded_text, names))))
            case FlagsType(names):
                return self._name(self._define(b"\x6e" + vector(map(encoded_text, names))))
            case _:
                raise Unpairable


def parts_of(definition: Definition) -> list[int]:  # noqa: PLR0911 - a table
    """Return the types in a type."""
    match definition:
        case ListType(element):
            return [element]
        case RecordType(fields):
            return [type_ for _, type_ in fields]
        case TupleType(elements):
            return list(elements)
        case OptionType(payload):
            return [payload]
        case ResultType(ok, err):
            return [each for each in (ok, err) if each is not None]
        case VariantType(cases):
            return [type_ for _, type_ in cases if type_ is not None]
        case _:
            return []


def _names_in(definition: Definition) -> Iterable[str]:
    """The names of the parts of a type, as many as there are parts."""
    match definition:
        case VariantType(cases):
            return (name for name, _ in cases)
        case EnumType(names) | FlagsType(names):
            return names
        case _:
            return ("" for _ in parts_of(definition))


def _find(space: TypeSpace, index: int, level: int) -> tuple[TypeSpace, Definition]:
    found = space.find(index)
    if found is None or level > _MOST_DEEP:
        raise Unpairable
    return found
