"""Texts of others, as terminals and logs may show them."""

from __future__ import annotations

from typing import Final

__all__ = ["escaped"]

# A terminal acts upon control characters (escape sequences, carriage returns). The separators
# break a line, and the marks reorder it, so that it reads as something else. Tabs are harmless.
_UNSAFE: Final = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (
        *range(0x09),
        *range(0x0A, 0x20),
        *range(0x7F, 0xA0),
        0x061C,  # the Arabic letter mark
        *range(0x200E, 0x2010),  # the marks of either direction
        *range(0x2028, 0x202F),  # separators of lines and paragraphs; embeddings and overrides
        *range(0x2066, 0x206A),  # isolates
        *range(0xD800, 0xE000),  # halves of surrogate pairs, which no log file can encode
    )
}


def escaped(text: str) -> str:
    """Escape what a terminal or a reader of a log could be misled by."""
    return text if text.isprintable() else text.translate(_UNSAFE)
