"""Values between the suite's JSON and Python, by their bits.

This is written without the code that it tests: floats are bits here until the last step.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.spec.command import Value

__all__ = ["HOST_TYPES", "argument", "matches"]

HOST_TYPES: Final = frozenset({"i32", "i64", "f32", "f64", "v128"})
"""The types that pass between host and guest; all others are references."""

_WIDTHS: Final = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}

_FRACTIONS: Final = {32: 23, 64: 52}
"""Bits of a float's fraction, by its width."""


def argument(value: Value) -> Any:
    """What a call is given for it."""
    if value.type == "v128":
        return _v128(value)
    if value.type not in HOST_TYPES:
        return value.content  # a reference: the call is refused before it looks at its arguments
    bits = _bits(value.content, value.type)
    return _float(bits, value.type) if value.type in ("f32", "f64") else bits


def matches(result: Any, pattern: Value) -> bool:
    """Return True if a call's result is what the pattern allows, bit by bit."""
    if pattern.type == "either":
        return any(matches(result, each) for each in pattern.content)
    if pattern.type == "v128":
        return isinstance(result, bytes) and len(result) == 16 and _lanes_match(result, pattern)
    if pattern.type in ("f32", "f64"):
        return type(result) is float and _bits_match(
            _float_bits(result, pattern.type), pattern.content, pattern.type
        )
    if pattern.type in ("i32", "i64"):
        width = _WIDTHS[pattern.type]
        signed = type(result) is int and -(1 << width - 1) <= result < 1 << width - 1
        return signed and _bits_match(result % (1 << width), pattern.content, pattern.type)
    return False  # a reference does not come out


def _bits(text: str, type_: str) -> int:
    return int(text) % (1 << _WIDTHS[type_])


def _v128(value: Value) -> bytes:
    assert value.lane is not None
    size = _WIDTHS[value.lane] // 8
    return b"".join(_bits(each, value.lane).to_bytes(size, "little") for each in value.content)


def _lanes_match(result: bytes, pattern: Value) -> bool:
    assert pattern.lane is not None
    size = _WIDTHS[pattern.lane] // 8
    lanes = [int.from_bytes(result[at : at + size], "little") for at in range(0, 16, size)]
    return len(lanes) == len(pattern.content) and all(
        _bits_match(lane, each, pattern.lane)
        for lane, each in zip(lanes, pattern.content, strict=True)
    )


def _bits_match(bits: int, pattern: str, type_: str) -> bool:
    """A NaN is canonical if only the first bit of its fraction is set, arithmetic if that is."""
    if not pattern.startswith("nan:"):
        return bits == _bits(pattern, type_)
    width = _WIDTHS[type_]
    fraction = _FRACTIONS[width]
    unsigned = bits & (1 << width - 1) - 1
    canonical = ((1 << width - fraction - 1) - 1 << fraction) | 1 << fraction - 1
    if pattern == "nan:canonical":
        return unsigned == canonical
    assert pattern == "nan:arithmetic", pattern
    return unsigned & canonical == canonical


def _float(bits: int, type_: str) -> float:
    """The float of these bits; an f32's NaN has its fraction in the upper bits of the float's."""
    if type_ == "f32":
        if bits & 0x7F80_0000 != 0x7F80_0000 or not bits & 0x7F_FFFF:
            number: float = struct.unpack("<f", struct.pack("<I", bits))[0]
            return number
        bits = bits >> 31 << 63 | 0x7FF << 52 | (bits & 0x7F_FFFF) << 29
    wide: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return wide


def _float_bits(value: float, type_: str) -> int:
    """The bits of a float as this type; -1 where an f32 cannot have come back as this float."""
    (wide,) = struct.unpack("<Q", struct.pack("<d", value))
    if type_ == "f64":
        return int(wide)
    if value != value:  # noqa: PLR0124 - only a NaN is not
        fraction, lost = divmod(wide & (1 << 52) - 1, 1 << 29)
        return -1 if lost else int(wide >> 63 << 31 | 0xFF << 23 | fraction)
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return int(bits) if _float(bits, "f32") == value else -1
