"""Texts from outside, as a plugin's or a file name, as they are shown: escaped and shortened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["name_list", "shown", "shown_lines", "shown_whole"]

LONGEST_NAME: Final = 200
LONGEST_LINE: Final = 2000
"""Characters. A message that lists many imports is long, but it must have an end."""
MOST_LINES: Final = 40
MOST_NAMES: Final = 30


def shown(text: str) -> str:
    """Return a name for use within a line."""
    return escaped(_cut(text, LONGEST_NAME)) if text else "''"


def shown_lines(text: str) -> str:
    """Return a message; its further lines are indented, so that none looks like a new message."""
    lines = text.rstrip("\n").split("\n", MOST_LINES)
    if len(lines) > MOST_LINES:
        lines[MOST_LINES] = f"... ({lines[MOST_LINES].count(chr(10)) + 1} more lines)"
    first, *others = (escaped(_cut(line, LONGEST_LINE)) for line in lines)
    return "\n".join([first, *(f"  {line.lstrip(' ')}" for line in others)])


def shown_whole(text: str) -> str:
    """Return a report of many lines, not shortened."""
    return "\n".join(map(escaped, text.split("\n")))


def name_list(names: Iterable[str]) -> str:
    """Return names as a list in a sentence; only the first ones if there are many."""
    every = list(names)
    listed = ", ".join(map(shown, every[:MOST_NAMES]))
    more = len(every) - MOST_NAMES
    return f"{listed} and {more:,} more" if more > 0 else listed


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text):,} characters)"
