"""Suggestions for names that there are not."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Final

from wasmpool_host.lowlevel import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean"]

_LONGEST: Final = 60
"""Characters of a name that is compared: a comparison's time is the product of both lengths."""
_MOST: Final = 600
"""Names that are compared, in some 10 ms."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question that names the most similar of some names, or ``""``."""
    if len(name) > _LONGEST:
        return ""
    short = [each for each in islice(names, _MOST) if len(each) <= _LONGEST]
    found = get_close_matches(name, short, n=1)
    return f": did you mean {escaped(found[0])!r}?" if found else ""
