"""Where in the user's code something was asked for, kept for next to nothing.

A frame would keep all its variables alive, and a line number costs a walk through a table: the
code object and the offset in it are enough to say it later, should anybody ask.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["Place", "describe", "here"]

Place: TypeAlias = "tuple[CodeType, int]"


def here(depth: int) -> Place:
    """The place ``depth`` frames above the caller."""
    frame = sys._getframe(depth + 1)  # noqa: SLF001 - inspect does the same, slowly
    return frame.f_code, frame.f_lasti


def describe(place: Place | None) -> str:
    """``FILE:LINE``."""
    if place is None:
        return "unknown"
    code, offset = place
    lines = (line for start, end, line in code.co_lines() if start <= offset < end)
    return f"{code.co_filename}:{next(lines, None) or code.co_firstlineno}"
