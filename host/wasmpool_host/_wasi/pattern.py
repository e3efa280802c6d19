"""A pattern of paths, as of `pathlib.PurePath.full_match`: ``**`` is any number of directories.

It is followed from directory to directory: what is kept on the way is how many of its parts may
have matched so far. So no pattern takes exponential time, and a walk leaves out the directories in
which nothing can match.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TypeAlias, final

__all__ = ["Pattern", "Reached"]

Reached: TypeAlias = "frozenset[int]"
"""How many parts of a pattern may have matched the parts of a path; none is: it cannot match."""


@final
class Pattern:
    """One pattern, compiled."""

    __slots__ = ("_parts", "start")

    def __init__(self, text: str) -> None:
        # None is "**".
        self._parts = [
            None if part == "**" else re.compile(fnmatch.translate(part))
            for part in text.split("/")
            if part
        ]
        self.start: Reached = self._with_empty({0})
        """What has matched of it at the root."""

    def step(self, reached: Reached, name: str) -> Reached:
        """Go on to an entry of the directory so far."""
        found: set[int] = set()
        for number in reached:
            if number == len(self._parts):
                continue
            part = self._parts[number]
            if part is None:
                found.add(number)
            elif part.match(name):
                found.add(number + 1)
        return self._with_empty(found)

    def matches(self, reached: Reached) -> bool:
        """Return True if the path so far matches."""
        return len(self._parts) in reached

    def goes_on(self, reached: Reached) -> bool:
        """Return True if something in the directory so far may match."""
        return any(number < len(self._parts) for number in reached)

    def _with_empty(self, reached: set[int]) -> Reached:
        """``**`` may also be no directory at all."""
        for number in tuple(reached):
            after = number
            while after < len(self._parts) and self._parts[after] is None:
                after += 1
                reached.add(after)
        return frozenset(reached)
