"""Values of others, as messages may show them: bounded, and escaped."""

from __future__ import annotations

import reprlib
from typing import Final

__all__ = ["shown"]

_LONGEST: Final = 100
"""Characters of a value in a message."""
_WIDEST: Final = 256
"""Bits of an int that a message shows: Python refuses to print one of some 14,000."""

_short: Final = reprlib.Repr()
_short.maxstring = _short.maxother = _LONGEST


def shown(value: object) -> str:
    """Represent a value that was refused, whatever its size."""
    if isinstance(value, int) and value.bit_length() > _WIDEST:
        return f"an int of {value.bit_length():,} bits"
    return _short.repr(value)
