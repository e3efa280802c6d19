"""JSON, both ways, as guests read and write it: UTF-8 bytes, compact, and nothing but JSON.

The standard library makes an encoder for each value that it writes, and looks for white space on
both sides of each that it reads, which for a small value takes longer than the value. So the
encoder is kept here, with the dict by which it notices cycles, and what follows a value is looked
at only if there is something. An error leaves that dict full of what was being written, and two
threads that write the same object may take each other's for a cycle: whatever goes wrong is tried
again in the standard way, which has the last word.
"""

from __future__ import annotations

import json
from json import encoder
from typing import Any, Final

__all__ = ["decode", "encode"]

# Not the defaults of `json.dumps`: NaN is no JSON, and escapes for all that is not ASCII would
# make most of the world's text up to six times as long.
_carefully: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_decoder: Final = json.JSONDecoder()
_read_one: Final = _decoder.raw_decode
_join: Final = "".join


_being_written: Final[dict[int, object]] = {}
_encoder: Final[Any] = encoder.c_make_encoder(  # type: ignore[attr-defined]  # not in its stubs
    _being_written, _carefully.default, encoder.encode_basestring, None, ":", ",",
    False, False, False,  # noqa: FBT003 - sort_keys, skipkeys, allow_nan; by position only
)  # fmt: skip


def encode(value: object) -> bytes:
    """Write a value as JSON.

    Raises:
        ValueError: it holds what JSON has no word for: NaN, a cycle, half a surrogate pair, too
            many levels.
        TypeError: likewise, a type.
    """
    try:
        return _join(_encoder(value, 0)).encode()
    except Exception:  # noqa: BLE001 - raised again by the standard way, if it is one
        _being_written.clear()
        return _encode_carefully(value)


def _encode_carefully(value: object) -> bytes:
    try:
        return _carefully.encode(value).encode()
    except RecursionError:
        message = "the value is nested too deeply for JSON"
        raise ValueError(message) from None


def decode(text: bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        characters = text.decode()
        if characters[:1] in "{[":
            value, end = _read_one(characters)
            if end == len(characters):
                return value
        return _decoder.decode(characters)
    except RecursionError:
        message = "the JSON is nested too deeply"
        raise ValueError(message) from None
