"""Texts from outside, as a plugin's or a file name, as they are shown: escaped and shortened."""

from __future__ import annotations

from typing import Final

from wasmpool._shown import name_list, shortened, shown
from wasmpool_host.lowlevel import escaped

__all__ = ["name_list", "shown", "shown_lines", "shown_whole"]

LONGEST_LINE: Final = 2000
"""Characters. A message that lists many imports is long, but it must have an end."""
MOST_LINES: Final = 40


def shown_lines(text: str) -> str:
    """Return a message; its further lines are indented, so that none looks like a new message."""
    lines = text.rstrip("\n").split("\n", MOST_LINES)
    if len(lines) > MOST_LINES:
        lines[MOST_LINES] = f"... ({lines[MOST_LINES].count(chr(10)) + 1} more lines)"
    first, *others = (escaped(shortened(line, LONGEST_LINE)) for line in lines)
    return "\n".join([first, *(f"  {line.lstrip(' ')}" for line in others)])


def shown_whole(text: str) -> str:
    """Return a report of many lines, not shortened."""
    return "\n".join(map(escaped, text.split("\n")))
