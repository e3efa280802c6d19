"""f32 and f64 between Python and WebAssembly, without silent changes of bits.

A Python float is an f64 with all its bits. The machine's conversion to and from f32 turns a
signalling NaN into a quiet one, so NaNs are converted here, by their bits: the sign, the quiet bit
and the 23 bits of the payload are kept, in the upper bits of the wider payload. A NaN whose payload
needs more bits cannot be represented as f32, and is refused.

Other floats are rounded to the nearest f32; one that would become infinite is refused. An int is
meant exactly: one that the type cannot represent is refused, too.
"""

from __future__ import annotations

from math import isinf
from operator import index
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["as_float", "nans_kept", "put_f32", "put_f64"]

_put_f32: Final = Struct("<f").pack_into
_put_f64: Final = Struct("<d").pack_into
_put_bits: Final = Struct("<I").pack_into
_take_bits: Final = Struct("<I").unpack_from
_F32: Final = Struct("<f")
_F64: Final = Struct("<d")
_BITS: Final = Struct("<Q")

_ALL_F32: Final = 1 << 24
"""Every int up to this one can be represented as f32."""
_ALL_F64: Final = 1 << 53

_NARROWED: Final = 29
"""The difference in bits between the payloads of an f64 and an f32."""


def put_f32(buffer: bytearray, at: int, value: Any) -> None:
    """Write a float.

    Raises:
        TypeError: it is neither a float nor a small int; `as_float` handles other values.
        OverflowError: it cannot be represented as f32.
    """
    if value.__class__ is float:
        if value == value:  # noqa: PLR0124 - only a NaN is not
            _put_f32(buffer, at, value)
        else:
            _put_bits(buffer, at, _narrow(value))
    elif value.__class__ is int and -_ALL_F32 <= value <= _ALL_F32:
        _put_f32(buffer, at, value)
    else:
        raise TypeError


def put_f64(buffer: bytearray, at: int, value: Any) -> None:
    """Write a float; raise TypeError for other values, which `as_float` handles."""
    if value.__class__ is float or (value.__class__ is int and -_ALL_F64 <= value <= _ALL_F64):
        _put_f64(buffer, at, value)
    else:
        raise TypeError


def as_float(value: Any, type_: str) -> float:
    """Convert a number to a float that can be written as this type.

    Raises:
        TypeError: it is no number.
        ValueError: the type cannot represent it; the message is the end of a sentence about it.
    """
    kind = type(value)
    if not (hasattr(kind, "__float__") or hasattr(kind, "__index__")):  # float() would read a str
        raise TypeError
    buffer = bytearray(4)
    try:
        number = float(value)
        if type_ == "f32":
            put_f32(buffer, 0, number)
        if isinf(number) and value != number:  # a Decimal
            raise OverflowError  # noqa: TRY301 - the same error as for an int
    except OverflowError:
        raise ValueError(_why_not(value)) from None
    if not isinstance(value, float) and hasattr(kind, "__index__"):
        held = _F32.unpack(buffer)[0] if type_ == "f32" else number
        if held != index(value):
            message = f"is not exactly an {type_}: give a float, which is rounded"
            raise ValueError(message)
    return number


def _why_not(value: object) -> str:
    if value == value:  # noqa: PLR0124 - only a NaN is not
        return "is too large for it"
    (bits,) = _BITS.unpack(_F64.pack(value))
    return f"has the bits {bits:#x}: the payload of a NaN must fit into the 23 bits of an f32"


def nans_kept(
    unpack: Callable[[bytes | bytearray], tuple[Any, ...]], places: Sequence[int]
) -> Callable[[bytes | bytearray], tuple[Any, ...]]:
    """A function that unpacks values; ``places`` has the offset of each f32, and -1 for others."""

    def take(buffer: bytes | bytearray) -> tuple[Any, ...]:
        values = unpack(buffer)
        for value in values:
            if value != value:  # noqa: PLR0124 - only a NaN is not
                return tuple(
                    _widen(*_take_bits(buffer, at)) if at >= 0 and found != found else found  # noqa: PLR0124 - a NaN
                    for at, found in zip(places, values, strict=True)
                )
        return values

    return take


def _narrow(nan: float) -> int:
    """The bits of a NaN as f32."""
    (bits,) = _BITS.unpack(_F64.pack(nan))
    payload, lost = divmod(bits & (1 << 52) - 1, 1 << _NARROWED)
    if lost:
        raise OverflowError
    return int(bits >> 63 << 31 | 0xFF << 23 | payload)


def _widen(bits: int) -> float:
    """The NaN that has these bits as f32."""
    wide = bits >> 31 << 63 | 0x7FF << 52 | (bits & (1 << 23) - 1) << _NARROWED
    nan: float = _F64.unpack(_BITS.pack(wide))[0]
    return nan
