"""Values between Python and WebAssembly, by a function's type."""

from __future__ import annotations

import struct
from operator import index
from typing import TYPE_CHECKING, Final, TypeAlias, final

from wasmpool_host import _capi
from wasmpool_host._float_bits import as_float
from wasmpool_host._shown import shown
from wasmpool_host._types import PASSED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmpool_host._types import FunctionType, ValueType

__all__ = ["Results", "Signature", "Value", "Values", "convert"]

Value: TypeAlias = int | float | bytes
"""An integer, a float, or the 16 bytes of a vector."""
Results: TypeAlias = Value | tuple[Value, ...] | None
"""The results of a function: None, the one result, or a tuple of several."""

_BITS: Final = {"i32": 32, "i64": 64}
_ARTICLE: Final = {"i32": "an", "i64": "an", "f32": "an", "f64": "an", "v128": "a"}
_VECTOR: Final = 16
"""Bytes of a v128."""


@final
class Values:
    """Values of fixed types, packed into an array of the C API and unpacked from it.

    Integers may be given signed or unsigned, and come back signed, as WebAssembly has no sign.
    Floats keep their bits, as `_float_bits` says. A vector is 16 bytes, as in memory. The kinds
    that the array has between the values are written once, with the buffer.
    """

    __slots__ = ("_blank", "_places", "_word", "count", "size", "take", "types")

    def __init__(self, types: Sequence[ValueType], word: str) -> None:
        self._word = word
        self.types: tuple[ValueType, ...] = tuple(types)
        self.count: int = len(self.types)
        self._blank = _capi.blank_values(self.types)
        self.size: int = len(self._blank)
        self.take: Callable[[bytes | bytearray], tuple[Value, ...]] = _capi.values_taker(self.types)
        """Returns the values in a buffer, in order."""
        self._places = _capi.value_places(self.types)

    def buffer(self) -> bytearray:
        """Make an array for the values, with their kinds."""
        return bytearray(self._blank)

    def put(self, buffer: bytearray, values: Sequence[object], owner: str) -> None:
        """Write the values; ``owner`` is named in an error.

        Raises:
            TypeError, ValueError: naming the owner, the position, the type and the value.
        """
        if len(values) != self.count:
            raise self._miscounted(values, owner)
        places = self._places
        try:  # one and two are written out: a loop would cost more than the rest of this
            if self.count == 1:
                ((pack, at),) = places
                pack(buffer, at, values[0])
            elif self.count == 2:
                (pack, at), (pack_second, second_at) = places
                pack(buffer, at, values[0])
                pack_second(buffer, second_at, values[1])
            else:
                self._put(buffer, values)
        except (struct.error, TypeError, OverflowError):
            self._put(buffer, self._converted(values, owner))

    def _put(self, buffer: bytearray, values: Sequence[object]) -> None:
        for (pack, at), value in zip(self._places, values, strict=False):  # counted by `put`
            pack(buffer, at, value)

    def _miscounted(self, values: Sequence[object], owner: str) -> TypeError:
        wanted = f"{self.count} {self._word}{'' if self.count == 1 else 's'}"
        types = f" ({', '.join(self.types)})" if self.types else ""
        verb = "takes" if self._word == "argument" else "has"
        return TypeError(f"{owner} {verb} {wanted}{types}, not {len(values)}")

    def _converted(self, values: Sequence[object], owner: str) -> list[Value]:
        return [
            convert(value, type_, f"{self._word} {k + 1} of {owner} is {_ARTICLE[type_]} {type_}")
            for k, (value, type_) in enumerate(zip(values, self.types, strict=True))
        ]


def convert(value: object, type_: ValueType, owner: str) -> Value:
    """Return the value as it can be written for this type; ``owner`` begins the message if not.

    Raises:
        TypeError: it is of another kind.
        ValueError: it is outside of the type.
    """
    if type_ == "v128":
        return _convert_vector(value, owner)
    if type_ not in _BITS:
        return _convert_float(value, type_, owner)
    try:
        number = index(value)  # type: ignore[arg-type]  # it raises for what is no integer
    except TypeError:
        message = f"{owner}: give an int, not {shown(value)}"
        raise TypeError(message) from None
    half = 1 << (_BITS[type_] - 1)
    if not -half <= number < 2 * half:
        message = f"{owner}: {shown(number)} is outside {-half}..{2 * half - 1}"
        raise ValueError(message)
    return number if number < half else number - 2 * half


def _convert_vector(value: object, owner: str) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        message = f"{owner}: give 16 bytes, not {shown(value)}"
        raise TypeError(message)
    vector = bytes(value)
    if len(vector) != _VECTOR:
        message = f"{owner}: give 16 bytes, not {len(vector):,}"
        raise ValueError(message)
    return vector


def _convert_float(value: object, type_: ValueType, owner: str) -> float:
    try:
        return as_float(value, type_)
    except TypeError:
        message = f"{owner}: give a float or an int, not {shown(value)}"
        raise TypeError(message) from None
    except ValueError as error:
        message = f"{owner}: {shown(value)} {error}"
        raise ValueError(message) from None


@final
class Signature:
    """A function's parameters and results, ready to be packed.

    Raises:
        TypeError: the type has values that a host cannot give or take, named.
    """

    __slots__ = ("_unpack", "params", "results", "type")

    def __init__(self, type_: FunctionType, owner: str) -> None:
        for value_type in (*type_.params, *type_.results):
            if value_type not in PASSED:
                message = (
                    f"{owner} has the type {type_}: {value_type} cannot be passed between"
                    " host and guest, only i32, i64, f32, f64 and v128"
                )
                raise TypeError(message)
        self.type: FunctionType = type_
        self.params: Values = Values(type_.params, "argument")
        self.results: Values = Values(type_.results, "result")
        self._unpack = self.results.take

    def take_results(self, buffer: bytes | bytearray) -> Results:
        """Return the results as Python has them: None, a number or a tuple."""
        values = self._unpack(buffer)
        if len(values) == 1:
            return values[0]
        return values or None

    def put_results(self, buffer: bytearray, value: object, owner: str) -> None:
        """Write what a host function returned; ``owner`` names it in an error."""
        count = self.results.count
        if count == 1:
            self.results.put(buffer, (value,), owner)
        elif count == 0:
            if value is not None:
                message = f"{owner} has no results: return None, not {shown(value)}"
                raise TypeError(message)
        elif isinstance(value, (tuple, list)):
            self.results.put(buffer, value, owner)
        else:
            message = f"{owner} has {count} results: return a tuple, not {shown(value)}"
            raise TypeError(message)
