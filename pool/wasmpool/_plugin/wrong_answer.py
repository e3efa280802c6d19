"""The errors for an answer of a plugin that does not fulfil the contract."""

from __future__ import annotations

from typing import Final

from wasmpool_host.lowlevel import escaped

from .errors import AbiError

__all__ = ["MAX_NAME", "MAX_TEXT", "shown", "too_long", "wrong_type"]

MAX_NAME: Final = 256
"""Characters of the names of plugins, tools, parameters and keys."""
MAX_TEXT: Final = 64 << 10
"""Characters of any other text."""


def shown(name: str) -> str:
    """Return a name that the plugin chose, for a message."""
    return escaped(name if len(name) <= MAX_NAME else f"{name[:40]}...")


def wrong_type(where: str, wanted: str, given: object) -> AbiError:
    """Return the error for a value of another type."""
    return AbiError(f"{where} must be {wanted}, not {type(given).__name__}")


def too_long(where: str, text: str, limit: int) -> AbiError:
    """Return the error for a text above its limit."""
    return AbiError(f"{where} has {len(text):,} characters, above the limit of {limit:,}")
