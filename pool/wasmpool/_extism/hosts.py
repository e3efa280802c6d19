"""The hosts that a manifest allows, by the patterns of ``allowed_hosts``."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["lists_of"]


def lists_of(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that says of a host in normal form if one of the patterns matches it.

    In a pattern ``*`` stands for any characters, dots included, ``?`` for one, and ``[...]`` for
    one of a set. Names are compared in lower case.
    """
    compiled = [re.compile(fnmatch.translate(pattern.lower())) for pattern in patterns]

    def lists(host: str) -> bool:
        return any(pattern.match(host) for pattern in compiled)

    return lists
