"""A search among tools, by the words of their names, descriptions and parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .served_tool import ServedTool

__all__ = ["SearchIndex", "SearchResult"]

_MAX_QUERY: Final = 1_000
"""Characters of a query that count."""
_MAX_WORDS: Final = 16
_MAX_TEXT: Final = 4 << 10
"""Characters of a description that are searched."""
_SHORTEST_PART: Final = 3
"""Characters of a word that is also looked for inside of other words."""
_WORD: Final = re.compile(r"[^\W_]+")

# A word counts by the best place where it is found.
_IS_NAME: Final = 16.0
_IN_NAME: Final = 8.0
_PART_OF_NAME: Final = 5.0
_IN_PARAMETERS: Final = 3.0
_IN_TEXT: Final = 2.0
_PART_OF_TEXT: Final = 1.0


@final
@attrs.frozen
class SearchResult:
    """A part of what was found."""

    total: int
    """How many tools match."""
    offset: int
    """How many of them are left out from the start."""
    tools: Sequence[ServedTool]
    """The best first."""


@final
class _Entry:
    """What a tool is found by."""

    def __init__(self, served: ServedTool) -> None:
        tool = served.tool
        parameters = " ".join([*tool.parameters, *tool.parameters.values()])
        self.served: Final = served
        self.name: Final = served.name.lower()
        self.names: Final = _words(served.name)
        self.parameters: Final = _words(parameters[:_MAX_TEXT])
        self.text: Final = f"{tool.description[:_MAX_TEXT]} {served.owner}".lower()
        self.words: Final = _words(self.text)

    def score(self, word: str) -> float:
        """How well a word fits; 0 if it is not found."""
        is_part = len(word) >= _SHORTEST_PART
        if word == self.name:
            return _IS_NAME
        if word in self.names:
            return _IN_NAME
        if is_part and word in self.name:
            return _PART_OF_NAME
        if word in self.parameters:
            return _IN_PARAMETERS
        if word in self.words:
            return _IN_TEXT
        return _PART_OF_TEXT if is_part and word in self.text else 0.0


@final
class SearchIndex:
    """The tools of a catalog, ready to be searched."""

    def __init__(self, tools: Mapping[str, ServedTool]) -> None:
        self._entries: Final = [_Entry(tools[name]) for name in sorted(tools)]

    def search(self, query: str, plugin: str | None, limit: int, offset: int) -> SearchResult:
        """`Catalog.search`."""
        entries = [each for each in self._entries if plugin in (None, each.served.owner)]
        text = query[:_MAX_QUERY].lower()
        words = dict.fromkeys([text.strip(), *text.split(), *_WORD.findall(text)])
        words.pop("", None)
        if words:
            entries = _ranked(entries, list(words)[:_MAX_WORDS])
        found = [each.served for each in entries[offset : offset + limit]]
        return SearchResult(len(entries), offset, found)


def _ranked(entries: Sequence[_Entry], words: Sequence[str]) -> list[_Entry]:
    """The entries that have at least one of the words, by the sum of the words' scores."""
    scores = [sum(map(each.score, words)) for each in entries]
    found = [at for at, score in enumerate(scores) if score]
    found.sort(key=lambda at: (-scores[at], entries[at].name))
    return [entries[at] for at in found]


def _words(text: str) -> frozenset[str]:
    """The words of a text, and those that names such as ``snake_case`` and ``camelCase`` join."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return frozenset(_WORD.findall(f"{text} {parts}".lower()))
