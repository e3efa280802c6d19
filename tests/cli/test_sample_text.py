from __future__ import annotations

import hashlib

from wasmpool._cli.sample_text import SAMPLE_LINES, sample_text


def test_the_sample_text_is_the_same_everywhere() -> None:
    """Fixed seed, fixed text: in every run, on every machine, in every version of Python."""
    digest = hashlib.sha256(sample_text()).hexdigest()
    assert digest == "e3b06ce56254903d7eef2b16611e17c707582eb2294a9ba2598a7c2077b97e84"


def test_the_sample_text_is_long_and_varied() -> None:
    """At least 10,000 lines, hardly two alike, with blanks, tabs, several scripts and long ones."""
    text = sample_text().decode()
    lines = text.split("\n")[:-1]
    assert len(lines) == SAMPLE_LINES >= 10_000
    assert len(set(lines)) > 0.9 * len(lines)
    assert "" in lines
    assert "\t" in text
    assert max(map(len, lines)) > 1000
    assert len(text.encode()) > len(text)
    assert not any(line.startswith("{") for line in lines)
