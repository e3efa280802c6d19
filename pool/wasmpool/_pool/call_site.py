"""The line of the user's code that asks the pool for something, noted at little cost.

A frame would keep all its variables alive, and a line number takes a search in a table. The code
object and the offset in it are enough to find the line later, if it is needed at all.

A pool is often asked by way of other parts of this package (`Plugin.execute`, say), or by a stack
of contexts. So the frames of both packages, of contextlib and of trio are skipped. A task that runs
nothing but a method of ours (``nursery.start_soon(pool.call, ...)``) has no line of the user's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

import wasmpool_host

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["CallSite", "caller_site", "describe"]

CallSite: TypeAlias = "tuple[CodeType, int]"


def _directory(file: str) -> str:
    return os.path.join(os.path.dirname(file), "")  # noqa: PTH118, PTH120 - a str, as frames have


_TRIO: Final = _directory(trio.__file__)
_SKIPPED: Final = (
    _directory(os.path.dirname(__file__)),  # noqa: PTH120 - a str, as frames have
    _directory(wasmpool_host.__file__),
    _TRIO,
    contextlib.__file__,
)
_RUN_LOOP: Final = f"{_TRIO}_core{os.sep}_run.py"


def caller_site(depth: int) -> CallSite | None:
    """Return the nearest site in the user's code, from ``depth`` frames above the caller."""
    frame = sys._getframe(depth + 1)  # noqa: SLF001 - inspect does the same, slowly
    code = frame.f_code
    while code.co_filename.startswith(_SKIPPED):
        if code.co_filename == _RUN_LOOP or frame.f_back is None:
            return None
        frame = frame.f_back
        code = frame.f_code
    return code, frame.f_lasti


@lru_cache(maxsize=256)  # the search takes long, instruments ask for each lease, and sites are few
def describe(site: CallSite | None) -> str:
    """Return ``FILE:LINE``."""
    if site is None:
        return "unknown"
    code, offset = site
    lines = (line for start, end, line in code.co_lines() if start <= offset < end)
    return f"{code.co_filename}:{next(lines, None) or code.co_firstlineno}"
