"""From values of Python to those of Wasmtime's C API.

For each type there is a function that writes a value, made once, into the buffer of one call
(`outgoing`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import cache, partial
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from wasmpool_host import _capi_component as capi
from wasmpool_host import _wit
from wasmpool_host._escape import escaped
from wasmpool_host._float_bits import put_f32, put_f64
from wasmpool_host._shown import shown
from wasmpool_host._wit_values import Err, Ok, Some, Variant, attribute_name

from .misfit import Misfit
from .outgoing import ENTRY_SIZE, OF, VALUE, put_size
from .paired import Fields, Region
from .resources import GuestResource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._wit import WitType

    from .outgoing import Outgoing

__all__ = ["INTEGERS", "Lower", "is_optional", "lower_of"]

_NAME: Final = 16
"""Bytes of a name, and of a list: a size and an address."""

INTEGERS: Final = {
    "s8": ("b", 8), "u8": ("B", 8), "s16": ("h", 16), "u16": ("H", 16),
    "s32": ("i", 32), "u32": ("I", 32), "s64": ("q", 64), "u64": ("Q", 64),
}  # fmt: skip

_put_u32: Final = Struct("<I").pack_into
Lower: TypeAlias = "Callable[[Outgoing, int, Any], None]"
"""Writes a value at an offset of the buffer, over zeros."""


def lower_of(type_: WitType | Region | Fields) -> Lower:  # noqa: C901, PLR0911, PLR0912 - a table
    """Return the function that writes values of a type."""
    match type_:
        case Region(is_text):
            return _lower_text if is_text else _lower_region
        case Fields(fields):
            return _lower_fields(fields)
        case _wit.Primitive(name):
            return _lower_primitive(name)
        case _wit.List(element):
            return _lower_list(element)
        case _wit.Record(fields):
            return _lower_record(fields)
        case _wit.Tuple(elements):
            return _lower_tuple(elements)
        case _wit.Variant(cases):
            return _lower_variant(cases)
        case _wit.Enum(names):
            return _lower_enum(names)
        case _wit.Flags(names):
            return _lower_flags(names)
        case _wit.Option(payload):
            return _lower_option(payload)
        case _wit.Result(ok, err):
            return _lower_result(ok, err)
        case _wit.Handle(resource, owned):
            return _lower_handle(resource, owned=owned)
        case _wit.Unsupported(what):
            raise TypeError(f"{what} cannot be passed between host and guest")


def _optional(type_: WitType | None) -> Lower | None:
    return None if type_ is None else lower_of(type_)


def is_optional(type_: WitType) -> bool:
    """Return True if None is a value of the type, so that an option of it needs `Some`."""
    return isinstance(type_, _wit.Option)


# --- scalars ------------------------------------------------------------------------------------


@cache  # a type may have thousands of them
def _lower_primitive(name: str) -> Lower:
    if name in INTEGERS:
        return _lower_integer(name)
    return {
        "bool": _lower_bool,
        "char": _lower_char,
        "string": _lower_string,
        "f32": _lower_f32,
        "f64": _lower_f64,
    }[name]


def _lower_integer(name: str) -> Lower:
    letter, bits = INTEGERS[name]
    put = Struct(f"<B{OF - 1}x{letter}").pack_into
    kind = capi.KINDS[name]
    low = -(1 << (bits - 1)) if name.startswith("s") else 0
    span = f"from {low:,} to {low + (1 << bits) - 1:,}"

    def lower(out: Outgoing, at: int, value: Any) -> None:
        try:
            put(out.buffer, at, kind, value)
        except struct.error:
            raise Misfit(f"give an int {span} ({name}), not {shown(value)}") from None

    return lower


def _lower_bool(out: Outgoing, at: int, value: Any) -> None:
    if value is not True and value is not False:
        raise Misfit(f"give a bool, not {shown(value)}")
    out.buffer[at] = _BOOL
    out.buffer[at + OF] = value


def _lower_char(out: Outgoing, at: int, value: Any) -> None:
    if not isinstance(value, str) or len(value) != 1:
        raise Misfit(f"give a str of one character (char), not {shown(value)}")
    if "\ud800" <= value <= "\udfff":
        raise Misfit(f"give a character, not half of one: {shown(value)}")
    out.buffer[at] = _CHAR
    _put_u32(out.buffer, at + OF, ord(value))


def _encoded(value: Any) -> bytes:
    """Return the UTF-8 of a string; raise Misfit if there is none."""
    if not isinstance(value, str):
        raise Misfit(f"give a str (string), not {shown(value)}")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Misfit(
            f"give a str that has a form in UTF-8: character {error.start:,} is half of one"
        ) from None


def _lower_string(out: Outgoing, at: int, value: Any) -> None:
    text = _encoded(value)
    out.buffer[at] = _STRING
    _put_array(out, at, len(text), text)


def _put_array(out: Outgoing, at: int, size: int, content: bytes | bytearray) -> int:
    """Write the size and the address of what is inside a value; return where that is."""
    inside = out.add(content)
    put_size(out.buffer, at + OF, size)
    out.point(at + OF + 8, inside)
    return inside


def _lower_f32(out: Outgoing, at: int, value: Any) -> None:
    try:
        put_f32(out.buffer, at + OF, value)
    except (TypeError, OverflowError, ValueError):
        raise Misfit(f"give a float or an int that an f32 can hold, not {shown(value)}") from None
    out.buffer[at] = _F32


def _lower_f64(out: Outgoing, at: int, value: Any) -> None:
    try:
        put_f64(out.buffer, at + OF, value)
    except (TypeError, OverflowError, ValueError):
        raise Misfit(f"give a float or an int that an f64 can hold, not {shown(value)}") from None
    out.buffer[at] = _F64


_BOOL: Final = capi.KINDS["bool"]
_CHAR: Final = capi.KINDS["char"]
_STRING: Final = capi.KINDS["string"]
_F32: Final = capi.KINDS["f32"]
_F64: Final = capi.KINDS["f64"]
_LIST: Final = capi.KINDS["list"]
_U8: Final = capi.KINDS["u8"]
_U32: Final = capi.KINDS["u32"]
_TUPLE: Final = capi.KINDS["tuple"]
_MOST: Final = (1 << 32) - 1
_TEXT_IS_FASTER: Final = 8
"""A string as a value costs no more than a list of so many times less bytes."""


# --- lists, records, tuples -------------------------------------------------------------------


def _lower_list(element: WitType) -> Lower:
    if element == _wit.Primitive("u8"):
        return _lower_bytes
    lower_item = lower_of(element)

    def lower(out: Outgoing, at: int, value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            raise Misfit(f"give a list, not {shown(value)}")
        out.buffer[at] = _LIST
        inside = _put_array(out, at, len(value), bytes(len(value) * VALUE))
        _lower_items(out, inside, value, lower_item)

    return lower


def _lower_items(out: Outgoing, inside: int, values: Sequence[Any], lower: Lower) -> None:
    k = 0
    try:
        for k, value in enumerate(values):
            lower(out, inside + k * VALUE, value)
    except Misfit as misfit:
        raise misfit.inside(f"[{k}]") from None


def _content(value: Any) -> bytes | bytearray | memoryview:
    """Return the bytes of a ``list<u8>``; raise Misfit if there are none."""
    if isinstance(value, (list, tuple)):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            raise Misfit(f"give bytes (list<u8>), not {shown(value)}") from None
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise Misfit(f"give bytes (list<u8>), not {shown(value)}")
    return value.cast("B") if isinstance(value, memoryview) else value


def _lower_bytes(out: Outgoing, at: int, value: Any) -> None:
    content = _content(value)
    size = len(content)
    values = bytearray(size * VALUE)
    values[::VALUE] = bytes((_U8,)) * size
    values[OF::VALUE] = content
    out.buffer[at] = _LIST
    _put_array(out, at, size, values)


def _lower_region(out: Outgoing, at: int, value: Any) -> None:
    content = _content(value)
    if isinstance(content, bytearray):
        content = memoryview(content)  # nobody can change its size until it is copied
    _put_region(out, at, content, weight=len(content))


def _lower_text(out: Outgoing, at: int, value: Any) -> None:
    text = _encoded(value)
    _put_region(out, at, text, weight=len(text) // _TEXT_IS_FASTER)


def _put_region(
    out: Outgoing, at: int, content: bytes | bytearray | memoryview, *, weight: int
) -> None:
    """Write a pair, and have the bytes copied to where it will point."""
    size = len(content)
    if size > _MOST:
        raise Misfit(f"give less than 4 GiB, not {size:,} bytes")
    out.buffer[at] = _TUPLE
    inside = _put_array(out, at, 2, bytes(2 * VALUE))
    out.buffer[inside] = out.buffer[inside + VALUE] = _U32
    _put_u32(out.buffer, inside + VALUE + OF, size)
    out.copy(inside + OF, content, weight)


def _lower_fields(fields: Sequence[tuple[str, Any]]) -> Lower:
    names = [name for name, _ in fields]
    lowers = [(name, attribute_name(name), lower_of(type_)) for name, type_ in fields]
    size = len(fields) * VALUE

    def lower(out: Outgoing, at: int, value: Any) -> None:
        out.buffer[at] = _TUPLE
        inside = _put_array(out, at, len(lowers), bytes(size))
        get = _getter(value, names)
        for k, (name, attribute, lower_field) in enumerate(lowers):
            try:
                lower_field(out, inside + k * VALUE, get(name, attribute))
            except Misfit as misfit:
                raise misfit.inside(f"field {escaped(name)!r}") from None

    return lower


def _lower_record(fields: Sequence[tuple[str, WitType]]) -> Lower:
    texts = [name.encode() for name, _ in fields]
    kept = b"".join(texts)
    lowers = [
        (name, attribute_name(name), lower_of(type_), k * ENTRY_SIZE)
        for k, (name, type_) in enumerate(fields)
    ]
    size = len(fields) * ENTRY_SIZE
    kind = capi.KINDS["record"]

    def lower(out: Outgoing, at: int, value: Any) -> None:
        out.buffer[at] = kind
        inside = _put_array(out, at, len(lowers), bytes(size))
        text_at = out.add(kept)
        for k, text in enumerate(texts):
            put_size(out.buffer, inside + k * ENTRY_SIZE, len(text))
            out.point(inside + k * ENTRY_SIZE + 8, text_at)
            text_at += len(text)
        get = _getter(value, [name for name, *_ in lowers])
        for name, attribute, lower_field, offset in lowers:
            try:
                lower_field(out, inside + offset + _NAME, get(name, attribute))
            except Misfit as misfit:
                raise misfit.inside(f"field {escaped(name)!r}") from None

    return lower


def _getter(value: Any, names: Sequence[str]) -> Callable[[str, str], Any]:
    """Return the function that finds the fields of a mapping, or of an object with attributes."""
    if not isinstance(value, Mapping):
        return partial(_attribute, value)
    known = {*names, *map(attribute_name, names)}
    unknown = [key for key in value if key not in known]
    if unknown:
        raise Misfit(f"the record has no field {shown(unknown[0])}{_fields(names)}")
    return partial(_item, value)


def _item(value: Mapping[str, Any], name: str, attribute: str) -> Any:
    try:
        return value[name] if name in value else value[attribute]
    except KeyError:
        raise Misfit(f"is missing in {shown(value)}") from None


def _attribute(value: Any, _: str, attribute: str) -> Any:
    try:
        return getattr(value, attribute)
    except AttributeError:
        what = f"a mapping, or an object with the attribute {attribute!r}"
        raise Misfit(f"is missing: give {what}, not {shown(value)}") from None


def _fields(names: Sequence[str]) -> str:
    return f"; its fields are {', '.join(map(escaped, names[:12]))}"


def _lower_tuple(elements: Sequence[WitType]) -> Lower:
    lowers = [lower_of(type_) for type_ in elements]
    count = len(lowers)
    kind = capi.KINDS["tuple"]

    def lower(out: Outgoing, at: int, value: Any) -> None:
        if not isinstance(value, (tuple, list)):
            raise Misfit(f"give a tuple of {count}, not {shown(value)}")
        if len(value) != count:
            raise Misfit(f"give a tuple of {count}, not one of {len(value):,}")
        out.buffer[at] = kind
        inside = _put_array(out, at, count, bytes(count * VALUE))
        for k, (item, lower_item) in enumerate(zip(value, lowers, strict=True)):
            try:
                lower_item(out, inside + k * VALUE, item)
            except Misfit as misfit:
                raise misfit.inside(f"[{k}]") from None

    return lower


# --- variants and the like --------------------------------------------------------------------


def _lower_boxed(out: Outgoing, at: int, value: Any, lower: Lower | None, step: str = "") -> None:
    """Write the address of a value at an offset; without a type there must be none."""
    if lower is None:
        if value is not None:
            raise Misfit(f"has no value: give None, not {shown(value)}").inside(step)
        return
    inside = out.add(bytes(VALUE))
    out.point(at, inside)
    try:
        lower(out, inside, value)
    except Misfit as misfit:
        raise (misfit.inside(step) if step else misfit) from None


def _lower_variant(cases: Sequence[tuple[str, WitType | None]]) -> Lower:
    lowers = {name: _optional(type_) for name, type_ in cases}
    kind = capi.KINDS["variant"]

    def lower(out: Outgoing, at: int, value: Any) -> None:
        given = Variant(value) if isinstance(value, str) else value
        if not isinstance(given, Variant):
            raise Misfit(f"give a Variant(case, value), not {shown(value)}")
        if given.case not in lowers:
            raise Misfit(_no_case(given.case, lowers))
        name = given.case.encode()
        out.buffer[at] = kind
        _put_array(out, at, len(name), name)
        step = f"case {escaped(given.case)!r}"
        _lower_boxed(out, at + OF + _NAME, given.value, lowers[given.case], step)

    return lower


def _no_case(case: object, names: Iterable[str]) -> str:
    some = ", ".join(escaped(name) for name in list(names)[:12])
    return f"there is no case {shown(case)}; there are {some}"


def _lower_enum(names: Sequence[str]) -> Lower:
    known = {name: name.encode() for name in names}
    kind = capi.KINDS["enum"]

    def lower(out: Outgoing, at: int, value: Any) -> None:
        name = known.get(value) if isinstance(value, str) else None
        if name is None:
            raise Misfit(_no_case(value, names))
        out.buffer[at] = kind
        _put_array(out, at, len(name), name)

    return lower


def _lower_flags(names: Sequence[str]) -> Lower:
    known = {name: name.encode() for name in names}
    kind = capi.KINDS["flags"]

    def lower(out: Outgoing, at: int, value: Any) -> None:
        if not isinstance(value, (set, frozenset, list, tuple)):
            raise Misfit(f"give a set of names (flags), not {shown(value)}")
        chosen = set()
        for name in value:
            if not isinstance(name, str) or name not in known:
                raise Misfit(_no_case(name, names).replace("case", "flag"))
            chosen.add(name)
        texts = [known[name] for name in names if name in chosen]
        out.buffer[at] = kind
        inside = _put_array(out, at, len(texts), bytes(len(texts) * _NAME))
        for k, text in enumerate(texts):
            put_size(out.buffer, inside + k * _NAME, len(text))
            out.point(inside + k * _NAME + 8, out.add(text))

    return lower


def _lower_option(payload: WitType) -> Lower:
    lower_payload = lower_of(payload)
    needs_some = is_optional(payload)
    kind = capi.KINDS["option"]

    def lower(out: Outgoing, at: int, value: Any) -> None:
        out.buffer[at] = kind
        if value is None:
            return
        if isinstance(value, Some):
            value = value.value
        elif needs_some:
            raise Misfit(f"give Some(value) or None for an option of an option, not {shown(value)}")
        _lower_boxed(out, at + OF, value, lower_payload)

    return lower


def _lower_result(ok: WitType | None, err: WitType | None) -> Lower:
    lower_ok, lower_err = _optional(ok), _optional(err)
    kind = capi.KINDS["result"]

    def lower(out: Outgoing, at: int, value: Any) -> None:
        out.buffer[at] = kind
        if isinstance(value, Ok):
            out.buffer[at + OF] = 1
            _lower_boxed(out, at + OF + 8, value.value, lower_ok, "ok")
        elif isinstance(value, Err):
            _lower_boxed(out, at + OF + 8, value.value, lower_err, "err")
        else:
            raise Misfit(f"give Ok(value) or Err(value) (result), not {shown(value)}")

    return lower


# --- resources --------------------------------------------------------------------------------


def _lower_handle(resource: _wit.Resource, *, owned: bool) -> Lower:
    kind = capi.KINDS["resource"]
    if resource.imported:

        def lower(out: Outgoing, at: int, value: Any) -> None:
            if value is None:
                raise Misfit(f"give the object that stands for a {resource}, not None")
            out.buffer[at] = kind
            out.give(at + OF, resource, value, owned=owned)
    else:

        def lower(out: Outgoing, at: int, value: Any) -> None:
            if not isinstance(value, GuestResource):
                raise Misfit(f"give a {resource} that the guest has returned, not {shown(value)}")
            value.check(out.store, resource)
            out.buffer[at] = kind
            out.hand_back(at + OF, value, owned=owned)

    return lower
