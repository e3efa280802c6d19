"""What one script may take."""

from __future__ import annotations

import sys
from typing import Any, Final

import attrs

from wasmpool_host.lowlevel import shown

__all__ = ["ScriptLimits"]

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20


def _from(least: int, most: int) -> Any:
    def check(_: Any, attribute: attrs.Attribute[int], value: object) -> None:
        knob = f"ScriptLimits.{attribute.name}"
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{knob} must be an int, not {shown(value)}")
        if not least <= value <= most:
            raise ValueError(f"{knob} must be from {least:,} to {most:,}, not {shown(value)}")

    return check


def _seconds(_: Any, attribute: attrs.Attribute[float], value: object) -> None:
    knob = f"ScriptLimits.{attribute.name}"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{knob} must be a number of seconds, not {shown(value)}")
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{knob} must be above 0 seconds and finite, not {shown(value)}")


@attrs.frozen(kw_only=True)
class ScriptLimits:
    """The most that one script may take; a script that takes more ends, and a sentence says why.

    Raises:
        TypeError, ValueError: a limit has the wrong type or is out of its range.
    """

    seconds: float = attrs.field(default=60.0, validator=_seconds)
    """Seconds from the start of the script to its end, with its calls. The wait for an interpreter
    does not count; it may take as long again."""
    calls: int = attrs.field(default=1_000, validator=_from(0, 1_000_000))
    """Calls of tools, each one of a map counted."""
    at_once: int = attrs.field(default=64, validator=_from(1, 10_000))
    """Calls of a map that are under way at once, whatever limit the script asks for."""
    source_bytes: int = attrs.field(default=64 * _KIB, validator=_from(1, 8 * _MIB))
    """Bytes of the script itself, as UTF-8."""
    output_bytes: int = attrs.field(default=64 * _KIB, validator=_from(1, 64 * _MIB))
    """Bytes that the script prints, with a traceback."""
    request_bytes: int = attrs.field(default=_MIB, validator=_from(_KIB, 64 * _MIB))
    """Bytes of the arguments of one call, or of all calls of one map together, as JSON. A call with
    more of them fails, and the script goes on."""
    answer_bytes: int = attrs.field(default=4 * _MIB, validator=_from(_KIB, 64 * _MIB))
    """Bytes of what one call returns, or all calls of one map together, as JSON. A call that
    returns more fails, and the script goes on."""
    memory: int = attrs.field(default=256 * _MIB, validator=_from(64 * _MIB, (1 << 32) - 1))
    """Bytes of memory of the interpreter, of which it needs some 50 MiB itself."""
    files: int = attrs.field(default=16 * _MIB, validator=_from(0, 1 << 32))
    """Bytes of the files that the script writes. They are in memory, and gone when it ends."""
