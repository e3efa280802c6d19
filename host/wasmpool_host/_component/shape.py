"""Functions whose bytes can be written into the guest's memory, and read from it.

Their parameters are scalars, strings and ``list<u8>``; so is the result, or it is a ``result`` of
strings and ``list<u8>``. That is how most functions are that take or return many bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from .anatomy import FunctionType, ListType, ResultType

if TYPE_CHECKING:
    from .anatomy import Anatomy, Lifted

__all__ = ["BYTES", "Part", "Shape", "core_types", "result_types", "shape_of"]

BYTES: Final = "list<u8>"
_STRING: Final = "string"
_PRIMITIVES: Final = {
    -1: "bool", -2: "s8", -3: "u8", -4: "s16", -5: "u16", -6: "s32", -7: "u32", -8: "s64",
    -9: "u64", -10: "f32", -11: "f64", -12: "char", -13: _STRING,
}  # fmt: skip
_MOST_FLAT: Final = 16
_INDIRECT: Final = (_STRING, BYTES)

Part: TypeAlias = str
"""The name of a primitive, or `BYTES`."""


@attrs.frozen
class Shape:
    """Parameters and result; a ``result`` has two parts, of which each may be None."""

    params: tuple[Part, ...]
    result: Part | tuple[Part | None, Part | None] | None


def shape_of(anatomy: Anatomy, lifted: Lifted) -> Shape | None:
    """Return the shape of a function; None if it has another one, or no bytes in it."""
    type_ = anatomy.types.get(lifted.type)
    if not isinstance(type_, FunctionType) or len(type_.params) > _MOST_FLAT:
        return None
    params = [_part(anatomy, each) for each in type_.params]
    result = _result(anatomy, type_.result)
    if None in params or result in ("", "char"):
        return None
    shape = Shape(tuple(filter(None, params)), result or None)
    parts = _all_parts(shape)
    if BYTES not in parts or len(core_types(shape)) > _MOST_FLAT:
        return None
    if lifted.memory is None or (_STRING in parts and not lifted.utf8):
        return None
    needs_realloc = any(each in _INDIRECT for each in shape.params)
    return None if needs_realloc and lifted.realloc is None else shape


def _part(anatomy: Anatomy, type_: int) -> Part | None:
    if type_ < 0:
        return _PRIMITIVES.get(type_)
    found = anatomy.types.get(type_)
    is_bytes = isinstance(found, ListType) and _PRIMITIVES.get(found.element) == "u8"
    return BYTES if is_bytes else None


def _result(anatomy: Anatomy, type_: int | None) -> Part | tuple[Part | None, Part | None] | None:
    """The parts of the result; ``""`` if it has another shape."""
    if type_ is None:
        return None
    found = anatomy.types.get(type_)
    if not isinstance(found, ResultType):
        return _part(anatomy, type_) or ""
    parts = [None if each is None else _part(anatomy, each) or "" for each in (found.ok, found.err)]
    if any(each not in (None, *_INDIRECT) for each in parts):
        return ""
    return parts[0], parts[1]


def _all_parts(shape: Shape) -> tuple[Part | None, ...]:
    if isinstance(shape.result, tuple):
        return (*shape.params, *shape.result)
    return (*shape.params, shape.result)


def core_types(shape: Shape) -> list[str]:
    """Return the types of the core function's parameters, as those of a component's."""
    return [core for each in shape.params for core in _core(each)]


def _core(part: Part) -> list[str]:
    if part in _INDIRECT:
        return ["u32", "u32"]
    return [{"s64": "u64", "u64": "u64", "f32": "f32", "f64": "f64"}.get(part, "u32")]


def result_types(shape: Shape) -> list[str]:
    """Return the type of what the core function returns: a value, or a pointer to it."""
    if shape.result is None:
        return []
    if isinstance(shape.result, tuple):
        return ["u32"]
    core = _core(shape.result)
    return core if len(core) == 1 else ["u32"]
