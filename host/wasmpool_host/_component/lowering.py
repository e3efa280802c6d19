"""From values of Python to those of Wasmtime's C API.

For each type there is a function that writes a value, made once. The values of one call are in one
buffer, `Outgoing`: what is inside a list or a record is behind it, and pointers are put in last,
when the buffer no longer grows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from wasmpool_host import _capi, _wit
from wasmpool_host import _capi_component as capi
from wasmpool_host._escape import escaped
from wasmpool_host._float_bits import put_f32, put_f64
from wasmpool_host._shown import shown

from .misfit import Misfit
from .resources import GuestResource
from wasmpool_host._wit_values import Err, Ok, Some, Variant, attribute_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._capi_component import ComponentStore
    from wasmpool_host._wit import WitType

__all__ = ["INTEGERS", "Lower", "Outgoing", "is_optional", "lower_of"]

VALUE: Final = capi.VALUE
OF: Final = capi.OF
ENTRY_SIZE: Final = 16 + VALUE
"""Bytes of a record's entry: the name, then the value."""
_NAME: Final = 16
"""Bytes of a name, and of a list: a size and an address."""

INTEGERS: Final = {
    "s8": ("b", 8), "u8": ("B", 8), "s16": ("h", 16), "u16": ("H", 16),
    "s32": ("i", 32), "u32": ("I", 32), "s64": ("q", 64), "u64": ("Q", 64),
}  # fmt: skip

_put_size: Final = Struct("<Q").pack_into
_put_char: Final = Struct("<I").pack_into
_ALIGNED: Final = 8

Lower: TypeAlias = "Callable[[Outgoing, int, Any], None]"
"""Writes a value at an offset of the buffer, over zeros."""


@final
class Outgoing:
    """The values of one call, on their way to the guest.

    `seal` ends the writing; `release` must be called when Wasmtime has read them.
    """

    __slots__ = ("_borrowed", "_handles", "_lent", "_moved", "_owned", "_pointers", "buffer", "store")

    def __init__(self, count: int, store: ComponentStore) -> None:
        """``count`` values are at the beginning."""
        self.buffer: bytearray = bytearray(count * VALUE)
        self.store: ComponentStore = store
        self._pointers: list[tuple[int, int]] = []
        self._owned: list[tuple[int, _wit.Resource, Any]] = []
        self._borrowed: list[tuple[int, _wit.Resource, Any]] = []
        self._moved: list[tuple[int, GuestResource, bool]] = []
        self._handles: list[int] = []
        self._lent: list[int] = []

    def add(self, content: bytes | bytearray) -> int:
        """Put bytes at the end; return where."""
        at = len(self.buffer)
        self.buffer += content
        padding = -len(content) % _ALIGNED
        if padding:
            self.buffer += bytes(padding)
        return at

    def point(self, at: int, target: int) -> None:
        """Have the address of one offset written at another."""
        self._pointers.append((at, target))

    def give(self, at: int, resource: _wit.Resource, value: Any, *, owned: bool) -> None:
        """Have a host resource written: for the guest to keep, or for the length of the call."""
        (self._owned if owned else self._borrowed).append((at, resource, value))

    def hand_back(self, at: int, handle: GuestResource, *, owned: bool) -> None:
        """Have a resource of the guest's own written."""
        self._moved.append((at, handle, owned))

    def seal(self) -> int:
        """Write the resources and the pointers; return the buffer's address.

        Resources are last: a value that does not fit leaves no trace of those before it.
        """
        buffer = self.buffer
        for at, resource, value in self._owned:
            self._put_host(at, resource, value, owned=True)
        for at, resource, value in self._borrowed:
            self._put_host(at, resource, value, owned=False)
        for at, handle, owned in self._moved:
            pointer = handle.lend(owned=owned)
            self._handles.append(pointer)
            _put_size(buffer, at, pointer)
        base = _capi.address(buffer)
        for at, target in self._pointers:
            _put_size(buffer, at, base + target)
        return base

    def _put_host(self, at: int, resource: _wit.Resource, value: Any, *, owned: bool) -> None:
        store = self.store
        rep = store.handles.add(value, owned=owned)
        if not owned:
            self._lent.append(rep)
        pointer = store.lower_resource(rep, resource.index, owned=owned)
        self._handles.append(pointer)
        _put_size(self.buffer, at, pointer)

    def release(self) -> None:
        """Free what the values have needed."""
        handles, self._handles = self._handles, []
        for handle in handles:
            capi.delete_handle(handle)
        lent, self._lent = self._lent, []
        for rep in lent:
            self.store.handles.take_back(rep)

    def __del__(self) -> None:
        for handle in self._handles:  # the call has failed, and the instance with it
            capi.delete_handle(handle)


def lower_of(type_: WitType) -> Lower:
    """Return the function that writes values of a type."""
    match type_:
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


def is_optional(type_: WitType) -> bool:
    """Return True if None is a value of the type, so that an option of it needs `Some`."""
    return isinstance(type_, _wit.Option)


# --- scalars ------------------------------------------------------------------------------------


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

    def lower(out: Outgoing, at: int, value: Any) -> None:
        try:
            put(out.buffer, at, kind, value)
        except struct.error:
            raise Misfit(
                f"give an int from {low:,} to {low + (1 << bits) - 1:,} ({name}), not {shown(value)}"
            ) from None

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
    _put_char(out.buffer, at + OF, ord(value))


def _lower_string(out: Outgoing, at: int, value: Any) -> None:
    if not isinstance(value, str):
        raise Misfit(f"give a str (string), not {shown(value)}")
    try:
        text = value.encode()
    except UnicodeEncodeError as error:
        raise Misfit(
            f"give a str that has a form in UTF-8: character {error.start:,} is half of one"
        ) from None
    out.buffer[at] = _STRING
    _put_array(out, at, len(text), text)


def _put_array(out: Outgoing, at: int, size: int, content: bytes | bytearray) -> int:
    """Write the size and the address of what is inside a value; return where that is."""
    inside = out.add(content)
    _put_size(out.buffer, at + OF, size)
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


def _lower_bytes(out: Outgoing, at: int, value: Any) -> None:
    if isinstance(value, (list, tuple)):
        try:
            value = bytes(value)
        except (TypeError, ValueError):
            raise Misfit(f"give bytes (list<u8>), not {shown(value)}") from None
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise Misfit(f"give bytes (list<u8>), not {shown(value)}")
    content = memoryview(value).cast("B") if isinstance(value, memoryview) else value
    size = len(content)
    values = bytearray(size * VALUE)
    values[::VALUE] = bytes((_U8,)) * size
    values[OF::VALUE] = content
    out.buffer[at] = _LIST
    _put_array(out, at, size, values)


def _lower_record(fields: Sequence[tuple[str, WitType]]) -> Lower:
    names = [name.encode() for name, _ in fields]
    kept = b"".join(names)
    lowers = [
        (name, attribute_name(name), lower_of(type_), k * ENTRY_SIZE)
        for k, (name, type_) in enumerate(fields)
    ]
    size = len(fields) * ENTRY_SIZE
    kind = capi.KINDS["record"]

    def lower(out: Outgoing, at: int, value: Any) -> None:
        out.buffer[at] = kind
        inside = _put_array(out, at, len(lowers), bytes(size))
        text = out.add(kept)
        for k, name in enumerate(names):
            _put_size(out.buffer, inside + k * ENTRY_SIZE, len(name))
            out.point(inside + k * ENTRY_SIZE + 8, text)
            text += len(name)
        get = _getter(value, [name for name, *_ in lowers])
        for name, attribute, lower_field, offset in lowers:
            try:
                lower_field(out, inside + offset + _NAME, get(name, attribute))
            except Misfit as misfit:
                raise misfit.inside(f"field {escaped(name)!r}") from None

    return lower


def _getter(value: Any, names: Sequence[str]) -> Callable[[str, str], Any]:
    """Return the function that finds the fields of a mapping, or of an object with attributes."""
    if isinstance(value, Mapping):
        known = {*names, *map(attribute_name, names)}
        unknown = [key for key in value if key not in known]
        if unknown:
            raise Misfit(f"the record has no field {shown(unknown[0])}{_fields(names)}")

        def get(name: str, attribute: str) -> Any:
            try:
                return value[name] if name in value else value[attribute]
            except KeyError:
                raise Misfit(f"is missing in {shown(value)}") from None
    else:

        def get(name: str, attribute: str) -> Any:
            try:
                return getattr(value, attribute)
            except AttributeError:
                raise Misfit(
                    f"is missing: give a mapping, or an object with the attribute {attribute!r}, not"
                    f" {shown(value)}"
                ) from None

    return get


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


def _lower_boxed(
    out: Outgoing, at: int, value: Any, lower: Lower | None, step: str = ""
) -> None:
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
    lowers = {name: type_ and lower_of(type_) for name, type_ in cases}
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
            _put_size(out.buffer, inside + k * _NAME, len(text))
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
    lower_ok = ok and lower_of(ok)
    lower_err = err and lower_of(err)
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
