from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmpool_host._escape import escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain words, 7 % of \\n", "plain words, 7 % of \\n"),
        ("line\nbreak\r\n\tand\0", r"line\nbreak\r\n\tand\x00"),
        ("\x1b[31mred\x1b[0m \x9b31m \x7f", r"\x1b[31mred\x1b[0m \x9b31m \x7f"),
        ("\u2028\u2029\x85\v\f", r"\u2028\u2029\x85\x0b\x0c"),
        ("user\u202etxt.exe\u202c \u2066x\u2069", r"user\u202etxt.exe\u202c \u2066x\u2069"),
        ("\u200e\u200f\u061c\u200b\ufeff\xad\u2060", r"\u200e\u200f\u061c\u200b\ufeff\xad\u2060"),
        ("\udcff and \ud800", r"\udcff and \ud800"),
        ("\U000e0041\U000e007f", r"\U000e0041\U000e007f"),
        ("\u3164\u115f\u034f", r"\u3164\u115f\u034f"),
        ("ad\u200dmin\u200c", r"ad\u200dmin\u200c"),
        ("\u200d\u200d é\u200d", r"\u200d\u200d é\u200d"),
    ],
)
def test_what_is_dangerous_or_invisible_is_shown_by_its_number(text: str, shown: str) -> None:
    """Controls, line breaks, marks of direction, format characters, surrogates, fillers."""
    assert escaped(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Zażółć gęślą jaźń, naïve e\u0301",
        "Ελληνικά, русский, 日本語, 한국어, ไทย",
        "עברית, العربية",
        "می\u200cخواهم",  # Persian, which needs its non-joiner
        "क्\u200dष",  # Hindi, which needs its joiner
        "👩\u200d👩\u200d👧 👍🏽 ❤\ufe0f\u200d🔥 🏳\ufe0f\u200d🌈 🇵🇱",
        "a\xa0b\u3000c",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """Letters of all scripts with their joiners, and emoji, stay as they are."""
    assert escaped(text) == text


def test_tabs_stay_if_asked_for() -> None:
    """A log may contain tabs; nothing else is kept."""
    assert escaped("a\tb\x1b\tc\n", tabs=True) == "a\tb\\x1b\tc\\n"
    assert escaped("a\tb") == r"a\tb"


def test_every_such_character_of_this_python_is_escaped() -> None:
    """The table is complete: all controls, format characters, separators and surrogates."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert escaped(character).isascii(), hex(code)


@given(st.text(st.characters(exclude_categories=[])))
def test_what_comes_out_is_one_harmless_line(text: str) -> None:
    """For any text: one line, encodable, without control characters, unchanged if escaped again."""
    shown = escaped(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    shown.encode()
    assert escaped(shown) == shown
