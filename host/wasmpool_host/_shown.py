"""How error messages show a value that was refused: shortened and escaped."""

from __future__ import annotations

import reprlib
from typing import Final

__all__ = ["shown"]

_MAX_CHARACTERS: Final = 100
"""Characters of a value in a message."""
_MAX_BITS: Final = 256
"""Bits of an int in a message; Python refuses to print one of about 14,000 bits."""

_short: Final = reprlib.Repr()
_short.maxstring = _short.maxother = _MAX_CHARACTERS


def shown(value: object) -> str:
    """The representation of a value for a message, shortened if it is long."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"an int of {value.bit_length():,} bits"
    return _short.repr(value)
