"""JSON, both ways, as guests read and write it: UTF-8 bytes, compact, and nothing but JSON."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["decode", "encode"]

# Not the defaults of `json.dumps`: NaN is no JSON, and escapes for all that is not ASCII would
# make most of the world's text up to six times as long.
_to_text: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode
_from_text: Final = json.JSONDecoder().decode


def encode(value: object) -> bytes:
    """Write a value as JSON.

    Raises:
        ValueError: it holds what JSON has no word for: NaN, a cycle, half a surrogate pair, too
            many levels.
        TypeError: likewise, a type.
    """
    try:
        return _to_text(value).encode()
    except RecursionError:
        message = "the value is nested too deeply for JSON"
        raise ValueError(message) from None


def decode(text: bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return _from_text(text.decode())
    except RecursionError:
        message = "the JSON is nested too deeply"
        raise ValueError(message) from None
