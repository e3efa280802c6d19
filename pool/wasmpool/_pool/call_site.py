"""Where in the user's code something was asked for, kept for next to nothing.

A frame would keep all its variables alive, and a line number costs a walk through a table: the
code object and the offset in it are enough to say it later, should anybody ask.

A pool is often asked through other parts of this package (`Plugin.execute`, say), or by a stack of
contexts. So the frames of both packages, of contextlib and of trio are passed over. A task that is
no more than a method of ours (``nursery.start_soon(pool.call, ...)``) has no line of the user's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

import wasmpool_host

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["Place", "describe", "here"]

Place: TypeAlias = "tuple[CodeType, int]"


def _directory(file: str) -> str:
    return os.path.join(os.path.dirname(file), "")  # noqa: PTH118, PTH120 - a prefix, as frames have it


_TRIO: Final = _directory(trio.__file__)
_PASSED_OVER: Final = (
    _directory(os.path.dirname(__file__)),  # noqa: PTH120
    _directory(wasmpool_host.__file__),
    _TRIO,
    contextlib.__file__,
)
_RUN_LOOP: Final = f"{_TRIO}_core{os.sep}_run.py"


def here(depth: int) -> Place | None:
    """The nearest place in the user's code, from ``depth`` frames above the caller; or None."""
    frame = sys._getframe(depth + 1)  # noqa: SLF001 - inspect does the same, slowly
    code = frame.f_code
    while code.co_filename.startswith(_PASSED_OVER):
        if code.co_filename == _RUN_LOOP or frame.f_back is None:
            return None
        frame = frame.f_back
        code = frame.f_code
    return code, frame.f_lasti


def describe(place: Place | None) -> str:
    """``FILE:LINE``."""
    if place is None:
        return "unknown"
    code, offset = place
    lines = (line for start, end, line in code.co_lines() if start <= offset < end)
    return f"{code.co_filename}:{next(lines, None) or code.co_firstlineno}"
