"""Suggestions in the messages of errors: the name that was probably meant.

A guest may have many names, and long ones, so only some of them are looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LONGEST", "MOST", "similar"]

MOST: Final = 12
"""Names of a guest in a message, and how many missing imports get a suggestion."""

LONGEST: Final = 60
"""Characters of a guest's name in a message."""


def similar(name: str, names: Sequence[str]) -> str | None:
    """Return the most similar of some names; None if none of them is similar."""
    if len(name) > LONGEST:
        return None
    import difflib  # noqa: PLC0415 - imported where an error is raised: `import wasmpool` is faster

    short = [each for each in names[: 50 * MOST] if len(each) <= LONGEST]
    return next(iter(difflib.get_close_matches(name, short, n=1)), None)
