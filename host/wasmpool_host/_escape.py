r"""Text from guests, servers and file names, made safe for a terminal or a log.

A terminal obeys control characters, a line break forges a log record, and marks for the direction
of text reorder the text around them. All of these are shown as escape sequences of Python's
literals: ``\n``, ``\x1b``, ``\u202e``. The same goes for invisible characters: format characters,
fillers, lone surrogates. Letters of all scripts stay as they are, and so do combining marks and
emoji. A backslash is not escaped, so the result is for readers, and cannot be converted back.

The table is written out, because `unicodedata` differs between Python versions.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["escaped"]

_JOINERS: Final = "\u200c\u200d"

_UNSAFE: Final = (
    r"\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u2028\u2029"  # line and paragraph separators
    r"\ud800-\udfff"  # surrogates; they stand for bytes of a file name that are not UTF-8
    # Format characters (Cf) except the joiners: soft hyphen, marks of direction, embeddings,
    # overrides and isolates, zero-width spaces, the byte order mark, annotations, tags.
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u202a-\u202e"
    r"\u2060-\u206f\ufeff\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"
    # Invisible, although Unicode classes them as letters, as marks or not at all.
    r"\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufffe\uffff"
)

# Joiners stay where they have an effect: in Persian and Indic words, and within emoji. Next to
# ASCII, or at either end, they are only invisible.
_RUN: Final = (
    f"[{_UNSAFE}]+"
    f"|(?<![^{_UNSAFE}{_JOINERS}\\x00-\\x7f])[{_JOINERS}]"
    f"|[{_JOINERS}](?![^{_UNSAFE}{_JOINERS}\\x00-\\x7f])"
)
"""Compiled by `re` at its first use, which few programs come to: it takes a millisecond."""


def escaped(text: str, *, tabs: bool = False) -> str:
    """The text in one line, without invisible characters, or ones that a terminal obeys.

    The time is proportional to the length of the text: limit the length first.

    Args:
        text: text from an untrusted source.
        tabs: keep tabs as they are.
    """
    if text.isascii() and text.isprintable():  # fast, and true for nearly all text
        return text
    if tabs and "\t" in text:
        return "\t".join(map(escaped, text.split("\t")))
    return re.sub(_RUN, _escape_sequences, text)


def _escape_sequences(run: re.Match[str]) -> str:
    return run[0].encode("unicode_escape").decode("ascii")
