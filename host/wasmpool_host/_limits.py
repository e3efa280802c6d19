"""What one instance may take."""

from __future__ import annotations

import sys
from typing import Any, Final

import attrs

from ._shown import shown

__all__ = ["Limits"]

_MIB: Final = 1 << 20
_MEMORY_MOST: Final = 1 << 32  # all that a 32-bit guest can address


def _count(most: int) -> Any:
    def check(limits: Limits, attribute: attrs.Attribute[int], value: object) -> None:
        del limits
        if not isinstance(value, int) or isinstance(value, bool):
            message = f"Limits.{attribute.name} must be an int, not {shown(value)}"
            raise TypeError(message)
        if not 0 <= value <= most:
            message = f"Limits.{attribute.name} must be from 0 to {most:,}, not {shown(value)}"
            raise ValueError(message)

    return check


def _seconds(limits: Limits, attribute: attrs.Attribute[float | None], value: object) -> None:
    del limits
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        message = f"Limits.{attribute.name} must be seconds or None, not {shown(value)}"
        raise TypeError(message)
    if not 0 < value <= sys.float_info.max:
        message = f"Limits.{attribute.name} must be above 0 and finite, or None; not {shown(value)}"
        raise ValueError(message)


@attrs.frozen(kw_only=True)
class Limits:
    """What each instance of a module may take at most.

    A guest that asks for more memory or table is refused as WebAssembly has it: its
    ``memory.grow`` or ``table.grow`` answers -1. A module whose memory or tables start above the
    limits is refused when it is compiled, and so is one with more than 16 tables, or more than
    one memory: these bounds are fixed.

    Raises:
        TypeError, ValueError: a limit is of the wrong type, or out of its range.
    """

    memory: int = attrs.field(default=256 * _MIB, validator=_count(_MEMORY_MOST))
    """Bytes of linear memory."""
    table_elements: int = attrs.field(default=10_000, validator=_count((1 << 32) - 1))
    """Elements of each table, of which there are 16 at most."""
    call_seconds: float | None = attrs.field(default=None, validator=_seconds)
    """Wall time of one call, host functions included; beyond it the call raises `CallTimeout`."""
    payload: int = attrs.field(default=16 * _MIB, validator=_count((1 << 32) - 1))
    """Bytes of one packed region, in either direction."""
