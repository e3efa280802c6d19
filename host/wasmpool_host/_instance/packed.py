"""Packed values: one i64 that carries a region of guest memory.

The plugin ABI (version 1) has the pointer in the high 32 bits and the size in the low 32. An
i64 comes signed, so it is masked first. Size 0 is empty, whatever the pointer.
"""

from __future__ import annotations

from typing import Final

from wasmpool_host._shown import shown

__all__ = ["check_packed", "pack", "unpack"]

_U32: Final = 0xFFFF_FFFF
_U64: Final = 0xFFFF_FFFF_FFFF_FFFF


def pack(ptr: int, size: int) -> int:
    """The packed value, as an unsigned number."""
    return (ptr & _U32) << 32 | (size & _U32)


def check_packed(packed: object) -> None:
    """Raise where a host's value is no i64, signed or unsigned: `unpack` would cut it."""
    if not isinstance(packed, int):
        message = f"a packed region is an int (an i64), not {shown(packed)}"
        raise TypeError(message)
    if not -(1 << 63) <= packed <= _U64:
        message = f"a packed region is an i64, from -2**63 to 2**64 - 1; {shown(packed)} is outside"
        raise ValueError(message)


def unpack(packed: int) -> tuple[int, int]:
    """Pointer and size, both unsigned."""
    packed &= _U64
    return packed >> 32, packed & _U32
