"""The values of the component model that Python has no type of its own for."""

from __future__ import annotations

import keyword
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, final

import attrs

from wasmpool_host._shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Err", "Ok", "Record", "Some", "Variant", "attribute_name", "record_maker"]


@final
@attrs.frozen
class Ok:
    """The good case of a ``result``; its value is None where the type has none."""

    value: Any = None


@final
@attrs.frozen
class Err:
    """The other case of a ``result``; its value is None where the type has none."""

    value: Any = None


@final
@attrs.frozen
class Some:
    """A value of an ``option`` in an ``option``: it tells ``Some(None)`` from None.

    Other options are None or the value itself.
    """

    value: Any


@final
@attrs.frozen
class Variant:
    """A value of a ``variant``: the name of the case, and its value, None where it has none."""

    case: str
    value: Any = None


class Record:
    """A record from a guest: its fields are attributes, and cannot be set.

    A field ``content-type`` is the attribute ``content_type``; one that is a word of Python's, such
    as ``from``, has an underscore behind it: ``from_``. Two records are equal if their fields are.
    """

    __slots__ = ()

    _fields: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a record cannot be changed: make another one to set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a record cannot be changed: {name!r} stays")

    def __getattr__(self, name: str) -> NoReturn:
        fields = ", ".join(self._fields)
        raise AttributeError(f"the record has no field {name!r}; its fields are {fields}")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self._fields == other._fields and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self._fields, self._values())

    def __repr__(self) -> str:
        fields = (f"{name}={shown(getattr(self, name))}" for name in self._fields)
        return f"Record({', '.join(fields)})"


def attribute_name(field: str) -> str:
    """The attribute of a record's field."""
    name = field.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


@lru_cache(maxsize=256)
def record_maker(names: tuple[str, ...]) -> Callable[[Sequence[Any]], Record]:
    """The function that makes records with these attributes of as many values."""
    made = type("Record", (Record,), {"__slots__": names, "_fields": names})
    slots = [getattr(made, name).__set__ for name in names]
    new = object.__new__

    def make(values: Sequence[Any]) -> Record:
        record: Record = new(made)
        for put, value in zip(slots, values, strict=True):
            put(record, value)
        return record

    return make


def _remake(names: tuple[str, ...], values: tuple[Any, ...]) -> Record:
    return record_maker(names)(values)
