r"""Text of guests, servers and file names, made fit for a terminal or a log.

A terminal acts upon control characters, a line break forges a record of its own, and marks for the
direction of text reorder what stands around them. All of these are shown by their number instead,
as Python's literals show them: ``\n``, ``\x1b``, ``\u202e``. So is what nobody can see: format
characters, fillers, lone surrogates. Letters of all scripts stay as they are, combining marks and
emoji too. A backslash stays one, so what comes out is to be read, not to be turned back.

The table is written out, for `unicodedata` differs from one Python to the next.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["escaped"]

_JOINERS: Final = "\u200c\u200d"

_UNSAFE: Final = (
    r"\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u2028\u2029"  # line and paragraph separators
    r"\ud800-\udfff"  # surrogates; what is no UTF-8 in a file name comes as these
    # Format characters (Cf) but for the joiners: soft hyphen, marks of direction, embeddings,
    # overrides and isolates, zero-width spaces, the byte order mark, annotations, tags.
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u202a-\u202e"
    r"\u2060-\u206f\ufeff\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"
    # Invisible, though they count as letters, marks or nothing at all.
    r"\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufffe\uffff"
)

# Joiners stay where they do their work: in Persian and Indic words, and within emoji. Beside ASCII,
# or at an end, they are only invisible.
_RUN: Final = re.compile(
    f"[{_UNSAFE}]+"
    f"|(?<![^{_UNSAFE}{_JOINERS}\\x00-\\x7f])[{_JOINERS}]"
    f"|[{_JOINERS}](?![^{_UNSAFE}{_JOINERS}\\x00-\\x7f])"
)


def escaped(text: str, *, tabs: bool = False) -> str:
    """The text in one line, with nothing in it that is invisible or that a terminal acts upon.

    It takes time in proportion to the text: bound the text first.

    Args:
        text: what an untrusted side sent.
        tabs: keep tabs as they are.
    """
    if text.isascii() and text.isprintable():  # decided in C, and true of nearly all text
        return text
    if tabs and "\t" in text:
        return "\t".join(map(escaped, text.split("\t")))
    return _RUN.sub(_numbers, text)


def _numbers(run: re.Match[str]) -> str:
    return run[0].encode("unicode_escape").decode("ascii")
