"""The limits of one instance: its memory, stack and tables, the time of a call."""

from __future__ import annotations

import sys
from typing import Any, Final

import attrs

from . import _capi
from ._shown import shown

__all__ = ["Limits"]

_MIB: Final = 1 << 20
_SMALLEST_STACK: Final = 1 << 14


def _count(maximum: int, minimum: int = 0) -> Any:
    def check(limits: Limits, attribute: attrs.Attribute[int], value: object) -> None:
        del limits
        if not isinstance(value, int) or isinstance(value, bool):
            message = f"Limits.{attribute.name} must be an int, not {shown(value)}"
            raise TypeError(message)
        if not minimum <= value <= maximum:
            message = (
                f"Limits.{attribute.name} must be from {minimum:,} to {maximum:,}, not"
                f" {shown(value)}"
            )
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
    """The most that each instance of a module may use.

    If a guest asks for more memory or table elements, its ``memory.grow`` or ``table.grow`` returns
    -1, as WebAssembly defines. A module whose memory or tables start above the limits is refused
    when it is compiled, and so is a module with more than 16 tables or 16 memories: these two
    bounds are fixed.

    Raises:
        TypeError, ValueError: a limit has the wrong type or is out of its range.
    """

    memory: int = attrs.field(default=256 * _MIB, validator=_count(_capi.MOST_MEMORY))
    """Bytes of linear memory, of all memories together: where a module has several, the bytes are
    divided among those that can grow. Objects of the garbage collector, and exceptions, are in a
    heap apart, which may have as many bytes again; a guest that fills it traps
    (``"out-of-memory"``)."""
    stack: int = attrs.field(
        default=_capi.STACK, validator=_count(16 * _MIB, minimum=_SMALLEST_STACK)
    )
    """Bytes of stack, from 16 KiB to 16 MiB; 512 KiB by default. Beyond, a guest traps
    (``"stack-overflow"``). The process keeps an engine for each value in use, so use few."""
    table_elements: int = attrs.field(default=100_000, validator=_count((1 << 32) - 1))
    """Elements of each table; an instance has at most 16 tables."""
    call_seconds: float | None = attrs.field(default=None, validator=_seconds)
    """Seconds of wall time for one call, including its host functions; then the call raises
    `CallTimeout`."""
    payload: int = attrs.field(default=16 * _MIB, validator=_count((1 << 32) - 1))
    """Bytes of one payload to or from the guest."""
