"""From values of Wasmtime's C API to those of Python.

For each type there is a function that reads a value, made once. It is given the bytes of an array
of values, and an offset in them. What is inside a value is copied from its address, after its size
was counted: a guest decides how much that is, and `Incoming` how much it may be.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from wasmpool_host import _capi_component as capi
from wasmpool_host import _wit
from wasmpool_host._errors import GuestMemoryError
from wasmpool_host._wit_values import Err, Ok, Some, Variant, attribute_name, record_maker

from .lowering import INTEGERS, is_optional
from .outgoing import ENTRY_SIZE, OF, VALUE
from .paired import Fields, Region
from .resources import MOST_HANDLES, GuestResource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._capi_component import ComponentStore
    from wasmpool_host._wit import WitType

__all__ = ["LETTERS", "Incoming", "Lift", "lift_of"]

_CONTENT: Final[Any] = capi.CONTENT
_take_array: Final = Struct("<QQ").unpack_from
_take_address: Final = Struct("<Q").unpack_from
_take_char: Final = Struct("<I").unpack_from
_take_pair: Final = Struct(f"<{OF}xI{VALUE - 4}xI{VALUE - OF - 4}x").unpack
"""Two values that are ``u32``."""
_NAME: Final = 16

Lift: TypeAlias = "Callable[[bytes, int, Incoming], Any]"
"""Reads the value at an offset of an array's bytes."""


@final
class Incoming:
    """The values of one call from a guest, and how many bytes there may still be."""

    __slots__ = ("_left", "_memory", "_most", "_owner", "store")

    def __init__(
        self, owner: str, most: int, store: ComponentStore, memory: int | None = None
    ) -> None:
        """Begin to count.

        Args:
            owner: what the message of an error begins with.
            most: bytes.
            store: the guest's.
            memory: the number of the memory that regions are in, if there may be any.
        """
        self._owner = owner
        self._memory = memory
        self._left = self._most = most
        self.store: ComponentStore = store

    def count(self, size: int) -> None:
        """Count bytes of a string or a list before they are read.

        Raises:
            GuestMemoryError: there are too many.
        """
        self._left -= size
        if self._left < 0:
            message = (
                f"{self._owner} has more than limits.payload={self._most:,} bytes in strings and"
                " lists"
            )
            raise GuestMemoryError(message)

    @property
    def counted(self) -> int:
        """How many bytes there were."""
        return self._most - self._left

    def region(self, pointer: int, size: int) -> bytes:
        """Count and copy bytes of the guest's memory.

        Raises:
            GuestMemoryError: there are too many, or they are not all inside of it.
        """
        if size > self._most:
            message = f"{self._owner}, of {size:,} bytes, is above limits.payload={self._most:,}"
            raise GuestMemoryError(message)
        self.count(size)
        assert self._memory is not None
        content = self.store.read_from(self._memory, pointer, size)
        if content is None:
            raise GuestMemoryError(
                f"{self._owner}, {size:,} bytes at {pointer:#x}, is outside the guest's memory"
            )
        return content

    def text(self, pointer: int, size: int) -> str:
        """Do the same with a string.

        Raises:
            GuestMemoryError: it is no UTF-8, too.
        """
        content = self.region(pointer, size)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise GuestMemoryError(f"{self._owner} is no UTF-8: {error}") from error

    def take_over(self, handle: int, resource: _wit.Resource) -> GuestResource:
        """Make the object of a resource that the guest has given away."""
        store = self.store
        if store.guest_handles >= MOST_HANDLES:
            message = f"{self._owner}: the host has {MOST_HANDLES:,} resources of the guest's"
            raise GuestMemoryError(message)
        store.guest_handles += 1
        found = GuestResource(capi.copy_handle(handle), store, resource)
        if not store.keeps_resources:
            found.let_go()
            store.forgotten += 1
        return found


def lift_of(type_: WitType | Region | Fields) -> Lift:  # noqa: C901, PLR0911, PLR0912 - a table
    """Return the function that reads values of a type."""
    match type_:
        case Region(is_text):
            return _lift_text if is_text else _lift_region
        case Fields(fields):
            return _lift_fields(fields)
        case _wit.Primitive(name):
            return _lift_primitive(name)
        case _wit.List(element):
            return _lift_list(element)
        case _wit.Record(fields):
            return _lift_record(fields)
        case _wit.Tuple(elements):
            return _lift_tuple(elements)
        case _wit.Variant(cases):
            return _lift_variant(cases)
        case _wit.Enum():
            return _lift_string
        case _wit.Flags():
            return _lift_flags
        case _wit.Option(payload):
            return _lift_option(payload)
        case _wit.Result(ok, err):
            return _lift_result(ok, err)
        case _wit.Handle(resource, owned):
            return _lift_handle(resource, owned=owned)
        case _wit.Unsupported(what):
            raise TypeError(f"{what} cannot be passed between host and guest")


def _optional(type_: WitType | None) -> Lift | None:
    return None if type_ is None else lift_of(type_)


def size_of(type_: WitType | Region | Fields | None) -> int:  # noqa: PLR0911 - a table
    """Return the least number of bytes that a value takes in linear memory, without alignment."""
    match type_:
        case _wit.Primitive(name):
            return _wit.PRIMITIVES[name]
        case _wit.List() | Region():
            return 8
        case Fields(fields):
            return sum(size_of(each) for _, each in fields)
        case _wit.Record(fields):
            return sum(size_of(each) for _, each in fields)
        case _wit.Tuple(elements):
            return sum(map(size_of, elements))
        case _wit.Handle():
            return 4
        case _:  # the discriminant
            return 1


# --- scalars ------------------------------------------------------------------------------------


@cache  # as in `lowering`
def _lift_primitive(name: str) -> Lift:
    if name == "string":
        return _lift_string
    if name == "bool":
        return lambda content, at, _: content[at + OF] != 0
    if name == "char":
        return lambda content, at, _: chr(_take_char(content, at + OF)[0])
    take = Struct(f"<{LETTERS[name]}").unpack_from
    return lambda content, at, _: take(content, at + OF)[0]


LETTERS: Final = {
    **{name: letter for name, (letter, _) in INTEGERS.items()},
    "f32": "f",
    "f64": "d",
}


def _lift_string(content: bytes, at: int, source: Incoming) -> str:
    size, address = _take_array(content, at + OF)
    source.count(size)
    text: str = _CONTENT[address : address + size].decode()
    return text


# --- lists, records, tuples -------------------------------------------------------------------


def _lift_list(element: WitType) -> Lift:
    if element == _wit.Primitive("u8"):
        return _lift_bytes
    if isinstance(element, _wit.Primitive) and element.name in LETTERS:
        return _lift_numbers(element.name)
    lift_item = lift_of(element)
    least = max(1, size_of(element))

    def lift(content: bytes, at: int, source: Incoming) -> list[Any]:
        size, address = _take_array(content, at + OF)
        source.count(size * least)
        items = _CONTENT[address : address + size * VALUE]
        return [lift_item(items, k, source) for k in range(0, size * VALUE, VALUE)]

    return lift


def _lift_numbers(name: str) -> Lift:
    letter = LETTERS[name]
    one = Struct(f"<{OF}x{letter}")
    each = Struct(f"<{OF}x{letter}{VALUE - one.size}x").iter_unpack
    least = _wit.PRIMITIVES[name]

    def lift(content: bytes, at: int, source: Incoming) -> list[Any]:
        size, address = _take_array(content, at + OF)
        source.count(size * least)
        return [number for (number,) in each(_CONTENT[address : address + size * VALUE])]

    return lift


def _lift_bytes(content: bytes, at: int, source: Incoming) -> bytes:
    size, address = _take_array(content, at + OF)
    source.count(size)
    found: bytes = _CONTENT[address + OF : address + OF + size * VALUE : VALUE] if size else b""
    return found


def _lift_region(content: bytes, at: int, source: Incoming) -> bytes:
    _, address = _take_array(content, at + OF)
    return source.region(*_take_pair(_CONTENT[address : address + 2 * VALUE]))


def _lift_text(content: bytes, at: int, source: Incoming) -> str:
    _, address = _take_array(content, at + OF)
    return source.text(*_take_pair(_CONTENT[address : address + 2 * VALUE]))


def _lift_fields(fields: Sequence[tuple[str, Any]]) -> Lift:
    lift_tuple = _lift_tuple([type_ for _, type_ in fields])
    make = record_maker(tuple(attribute_name(name) for name, _ in fields))
    return lambda content, at, source: make(lift_tuple(content, at, source))


def _lift_record(fields: Sequence[tuple[str, WitType]]) -> Lift:
    lifts = [(lift_of(type_), k * ENTRY_SIZE + _NAME) for k, (_, type_) in enumerate(fields)]
    make = record_maker(tuple(attribute_name(name) for name, _ in fields))
    size = len(fields) * ENTRY_SIZE

    def lift(content: bytes, at: int, source: Incoming) -> Any:
        _, address = _take_array(content, at + OF)
        entries = _CONTENT[address : address + size]
        return make([lift_field(entries, offset, source) for lift_field, offset in lifts])

    return lift


def _lift_tuple(elements: Sequence[WitType | Region | Fields]) -> Lift:
    lifts = [(lift_of(type_), k * VALUE) for k, type_ in enumerate(elements)]
    size = len(elements) * VALUE

    def lift(content: bytes, at: int, source: Incoming) -> tuple[Any, ...]:
        _, address = _take_array(content, at + OF)
        items = _CONTENT[address : address + size]
        return tuple([lift_item(items, offset, source) for lift_item, offset in lifts])

    return lift


# --- variants and the like --------------------------------------------------------------------


def _lift_boxed(content: bytes, at: int, source: Incoming, lift: Lift | None) -> Any:
    """Read the value whose address is at an offset; None where the type has none."""
    (address,) = _take_address(content, at)
    if lift is None or not address:
        return None
    return lift(_CONTENT[address : address + VALUE], 0, source)


def _lift_variant(cases: Sequence[tuple[str, WitType | None]]) -> Lift:
    lifts = {name: _optional(type_) for name, type_ in cases}

    def lift(content: bytes, at: int, source: Incoming) -> Variant:
        size, address = _take_array(content, at + OF)
        case: str = _CONTENT[address : address + size].decode()
        return Variant(case, _lift_boxed(content, at + OF + _NAME, source, lifts[case]))

    return lift


def _lift_flags(content: bytes, at: int, source: Incoming) -> frozenset[str]:
    del source
    size, address = _take_array(content, at + OF)
    found = []
    for k in range(size):
        length, text = _take_array(_CONTENT[address + k * _NAME : address + (k + 1) * _NAME], 0)
        found.append(_CONTENT[text : text + length].decode())
    return frozenset(found)


def _lift_option(payload: WitType) -> Lift:
    lift_payload = lift_of(payload)
    needs_some = is_optional(payload)

    def lift(content: bytes, at: int, source: Incoming) -> Any:
        (address,) = _take_address(content, at + OF)
        if not address:
            return None
        value = lift_payload(_CONTENT[address : address + VALUE], 0, source)
        return Some(value) if needs_some else value

    return lift


def _lift_result(ok: WitType | None, err: WitType | None) -> Lift:
    lift_ok, lift_err = _optional(ok), _optional(err)

    def lift(content: bytes, at: int, source: Incoming) -> Ok | Err:
        if content[at + OF]:
            return Ok(_lift_boxed(content, at + OF + 8, source, lift_ok))
        return Err(_lift_boxed(content, at + OF + 8, source, lift_err))

    return lift


# --- resources --------------------------------------------------------------------------------


def _lift_handle(resource: _wit.Resource, *, owned: bool) -> Lift:
    if not resource.imported:

        def lift(content: bytes, at: int, source: Incoming) -> Any:
            (handle,) = _take_address(content, at + OF)
            return source.take_over(handle, resource)

        return lift

    def lift_host(content: bytes, at: int, source: Incoming) -> Any:
        (handle,) = _take_address(content, at + OF)
        store = source.store
        rep = store.lift_resource(handle)
        return store.handles.take(rep) if owned else store.handles.get(rep)

    return lift_host
