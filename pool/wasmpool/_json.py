"""JSON as guests read and write it: UTF-8 bytes, compact, and strictly JSON.

With the extra ``plugin``, msgspec writes values of the plain types: dicts with str keys, lists,
str, int, finite floats, bool and None. It is several times as fast as the standard library, and
its text has the same meaning. But it also writes what the standard library refuses (bytes, sets,
NaN as null), refuses some of what that writes (keys that are None), and reads subclasses in a way
of its own. So a value with anything else in it is left to the standard library, whose result or
error counts.

For a small value, two steps of the standard library take longer than the value itself: it makes a
new encoder for each value that it writes, and searches for white space around each value that it
reads. So this module keeps one C encoder, with the dict that detects cycles, and checks what
follows a value only if there is something.

The kept encoder can fail without a fault in the value: an error leaves entries in the dict, and two
threads that write the same object look like a cycle, or one clears the dict that the other uses. So
if it fails, the value is encoded again in the standard way, whose result or error counts.
"""

from __future__ import annotations

import json
from json import encoder
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["decode", "encode"]

# Not the defaults of `json.dumps`: NaN is not JSON, and escapes for all non-ASCII characters make
# a text up to six times as long.
_standard: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_decoder: Final = json.JSONDecoder()
_read_one: Final = _decoder.raw_decode
_join: Final = "".join


_being_written: Final[dict[int, object]] = {}
_encoder: Final[Any] = encoder.c_make_encoder(  # type: ignore[attr-defined]  # not in its stubs
    _being_written, _standard.default, encoder.encode_basestring, None, ":", ",",
    False, False, False,  # noqa: FBT003 - sort_keys, skipkeys, allow_nan; by position only
)  # fmt: skip


_SIMPLE: Final = frozenset({str, int, bool, type(None)})
"""Types whose values are all plain."""


def _encode_without_extra(value: object) -> bytes:
    try:
        return _join(_encoder(value, 0)).encode()
    except Exception:  # noqa: BLE001 - encoded again in the standard way, which may raise
        _being_written.clear()
        return _encode_in_standard_way(value)


def _encode_in_standard_way(value: object) -> bytes:
    try:
        return _standard.encode(value).encode()
    except RecursionError:
        message = "the value is nested too deeply for JSON"
        raise ValueError(message) from None


def _make_encode() -> Callable[[object], bytes]:
    try:
        import msgspec  # noqa: PLC0415 - an extra
    except ImportError:
        return _encode_without_extra

    write: Callable[[object], bytes] = msgspec.json.Encoder().encode

    def encode(value: object) -> bytes:
        try:
            if _is_plain(value):
                return write(value)
        except Exception:  # noqa: BLE001, S110 - too deep, a lone surrogate, changed meanwhile
            pass
        return _encode_without_extra(value)

    return encode


def _is_plain(value: Any) -> bool:
    """Return True for a value with nothing but plain types in it, on all its levels.

    A class that is derived from a plain type is not plain. A float that is not finite is not,
    either: its difference from itself is NaN.
    """
    kind = type(value)
    if kind is dict:
        for key, each in value.items():
            if type(key) is not str:
                return False
            if type(each) not in _SIMPLE and not _is_plain(each):
                return False
        return True
    if kind is list:
        return _SIMPLE.issuperset(map(type, value)) or all(map(_is_plain, value))
    if kind is float:
        return value - value == 0.0  # type: ignore[no-any-return]  # of floats
    return kind in _SIMPLE


encode: Callable[[object], bytes] = _make_encode()
"""Write a value as JSON.

Raises:
    ValueError: JSON cannot express a part of it: NaN, a cycle, half of a surrogate pair, or too
        many levels.
    TypeError: JSON has no such type.
"""


def decode(text: bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
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
