"""Numbers and lists as the binary format of WebAssembly has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["signed", "sized", "unsigned", "vector"]


def unsigned(value: int) -> bytes:
    """Encode an unsigned LEB128."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def signed(value: int) -> bytes:
    """Encode a signed LEB128."""
    encoded = bytearray()
    while not -0x40 <= value < 0x40:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value & 0x7F)
    return bytes(encoded)


def sized(content: bytes) -> bytes:
    """Put the number of bytes before them."""
    return unsigned(len(content)) + content


def vector(items: Iterable[bytes]) -> bytes:
    """Encode a list: the number of items, then the items."""
    parts = list(items)
    return unsigned(len(parts)) + b"".join(parts)
