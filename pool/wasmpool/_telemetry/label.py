"""Text from guests and callers as a label or an attribute: bounded, and in one line."""

from __future__ import annotations

from typing import Final

from wasmpool_host.lowlevel import escaped

__all__ = ["label"]

_LONGEST: Final = 128  # characters; a backend may drop longer ones, or all of the sample


def label(text: object) -> str:
    """Return a text with 128 characters at most, without those that an exporter cannot write."""
    return escaped(str(text)[:_LONGEST])[:_LONGEST]
