"""Values with pairs of integers in place of bytes and strings: see `paired_types`.

The types here are what those of `_wit` become, by the same rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from wasmpool_host import _wit

from .paired_types import Paired

if TYPE_CHECKING:
    from wasmpool_host._wit import WitType

__all__ = ["Fields", "Region", "paired_export", "paired_import"]


@attrs.frozen
class Region:
    """A pointer and a size, of bytes or of a string in UTF-8."""

    is_text: bool


@attrs.frozen
class Fields:
    """A record that is passed as a tuple."""

    fields: tuple[tuple[str, Any], ...]


def paired_export(type_: _wit.WitFunction) -> _wit.WitFunction:
    """Return the type by which an exported function's values are passed."""
    return _paired(type_, Paired.ALL)


def paired_import(type_: _wit.WitFunction) -> _wit.WitFunction:
    """Return the type by which a host function's values are passed.

    A string in the result is as it was: most are short, and to call the guest's allocator for one
    takes longer than to pass it as a value.
    """
    return _paired(type_, Paired.BYTES)


def _paired(type_: _wit.WitFunction, result: Paired) -> _wit.WitFunction:
    params = tuple((name, _value(each, Paired.ALL)) for name, each in type_.params)
    return _wit.WitFunction(params, _optional(type_.result, result), type_.waits)


def _value(type_: WitType, what: Paired) -> Any:  # noqa: PLR0911 - a table
    match type_:
        case _wit.Primitive("string") if what is Paired.ALL:
            return Region(is_text=True)
        case _wit.List(_wit.Primitive("u8")):
            return Region(is_text=False)
        case _wit.List(element):
            return _wit.List(_value(element, what))
        case _wit.Record(fields):
            return Fields(tuple((name, _value(each, what)) for name, each in fields))
        case _wit.Tuple(elements):
            return _wit.Tuple(tuple([_value(each, what) for each in elements]))
        case _wit.Variant(cases):
            return _wit.Variant(tuple((name, _optional(each, what)) for name, each in cases))
        case _wit.Option(payload):
            return _wit.Option(_value(payload, what))
        case _wit.Result(ok, err):
            return _wit.Result(_optional(ok, what), _optional(err, what))
        case _:
            return type_


def _optional(type_: WitType | None, what: Paired) -> Any:
    return None if type_ is None else _value(type_, what)
