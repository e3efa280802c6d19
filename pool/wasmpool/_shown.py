"""Names from outside, as those of plugins and files, as they are shown: escaped and shortened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["name_list", "shortened", "shown"]

LONGEST_NAME: Final = 200
"""Characters."""
MOST_NAMES: Final = 30


def shown(text: str) -> str:
    """Return a name for use within a line."""
    return escaped(shortened(text, LONGEST_NAME)) if text else "''"


def name_list(names: Iterable[str]) -> str:
    """Return names as a list in a sentence; only the first ones if there are many."""
    every = list(names)
    listed = ", ".join(map(shown, every[:MOST_NAMES]))
    more = len(every) - MOST_NAMES
    return f"{listed} and {more:,} more" if more > 0 else listed


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, with a note if some are left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text):,} characters)"
