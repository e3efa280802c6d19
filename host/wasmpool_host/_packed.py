"""Packed values: one i64 that carries a region of guest memory.

The plugin ABI (version 1) has the pointer in the high 32 bits and the size in the low 32. An
i64 comes signed, so it is masked first. Size 0 is empty, whatever the pointer.
"""

from __future__ import annotations

from typing import Final

__all__ = ["pack", "unpack"]

_U32: Final = 0xFFFF_FFFF
_U64: Final = 0xFFFF_FFFF_FFFF_FFFF


def pack(ptr: int, size: int) -> int:
    """The packed value, as an unsigned number."""
    return (ptr & _U32) << 32 | (size & _U32)


def unpack(packed: int) -> tuple[int, int]:
    """Pointer and size, both unsigned."""
    packed &= _U64
    return packed >> 32, packed & _U32
