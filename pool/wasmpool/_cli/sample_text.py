"""A generated text as input for the example: long, varied, and always the same.

Of `random.Random` only `random()` is used: only this method is guaranteed to return the same
numbers for the same seed in every version of Python.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SAMPLE_LINES", "sample_text"]

SAMPLE_LINES = 12_000

SEED = 1881

COMMON = """
    the of and a to in that it was he for on with as his they be at one have this from or by not
    but what all were when we there can an your which their said if will do each how them then
""".split()

RARE = """
    lantern harbour river orchard engine winter letter garden thunder copper window market
    shepherd anchor velvet marble compass meadow ember gallery saffron whistle barrel cathedral
    dragonfly kettle library mountain needle oyster pepper quarry ribbon silver timber umbrella
    valley willow café naïve façade jalapeño Ærøskøbing Köln smörgåsbord Łódź Ελλάδα Москва
    東京 北京 서울 🦉 🌍
""".split()

ENDINGS = (".", ".", ".", "!", "?", ";", ",", " ...")


def sample_text() -> bytes:
    """Return `SAMPLE_LINES` lines of UTF-8: prose, lists, tabs, blank lines and some long lines."""
    numbers = random.Random(SEED)  # noqa: S311 - not for security
    return "".join(f"{_line(numbers)}\n" for _ in range(SAMPLE_LINES)).encode()


def _line(numbers: random.Random) -> str:
    shape = numbers.random()
    if shape < 0.04:
        return ""
    if shape < 0.08:
        return "\t".join(_words(numbers, 6))
    if shape < 0.12:
        return f"{_below(numbers, 1000)}.  " + ", ".join(_words(numbers, 4))
    longest = 200 if shape > 0.99 else 18
    words = _words(numbers, 3 + _below(numbers, longest))
    return " ".join(words).capitalize() + _pick(numbers, ENDINGS)


def _words(numbers: random.Random, count: int) -> list[str]:
    return [_pick(numbers, COMMON if numbers.random() < 0.7 else RARE) for _ in range(count)]


def _pick(numbers: random.Random, words: Sequence[str]) -> str:
    # The product makes the first words more frequent, as in a real text.
    return words[int(numbers.random() * numbers.random() * len(words))]


def _below(numbers: random.Random, end: int) -> int:
    return int(numbers.random() * end)
