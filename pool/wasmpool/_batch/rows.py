"""From a line of input to what the guest gets of it, and from the answer to a line of output."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Never

from wasmpool_host import Limits

if TYPE_CHECKING:
    from wasmpool._lines import Line

__all__ = [
    "LONGEST_LINE",
    "BadLine",
    "arguments",
    "as_text",
    "check_length",
    "data_row",
    "error_row",
]

LONGEST_LINE: Final = Limits().payload
"""In bytes. A guest could not get a longer line."""

UNSAFE: Final = re.compile(
    "[\x7f-\x9f"  # control characters that JSON allows; terminals and line readers act on some
    "\u2028\u2029"  # line breaks of Unicode, at which some readers split a line
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that change the writing direction
    "\ufeff]"  # the byte order mark, which some readers drop
)
"""Characters that are escaped in addition to those of JSON; the decoded text is the same."""

READABLE: Final = json.JSONEncoder(ensure_ascii=False).encode


class BadLine(Exception):
    """The line has no call, or its answer no form in a row; the message says why."""


def arguments(line: Line) -> dict[str, Any]:
    """Return the arguments of the call for a line.

    A line that starts with ``{`` is a JSON object of arguments, any other is the argument ``text``.

    Raises:
        BadLine: it is too long or not UTF-8, or it starts with ``{`` and is not a JSON object.
    """
    check_length(line)
    text = as_text(line.content, "the line")
    return _object(text) if text.startswith("{") else {"text": text}


def check_length(line: Line) -> None:
    """Raise BadLine if the line is too long."""
    if line.too_long:
        raise BadLine(f"the line is too long: {line.size} bytes, above the limit of {LONGEST_LINE}")


def as_text(data: bytes, what: str) -> str:
    """Decode UTF-8.

    Raises:
        BadLine: it is none; the message names the byte in `what`.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadLine(
            f"{what} is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}"
        ) from error


def data_row(data: str, number: int | None = None) -> bytes:
    """Return the output line of a call that succeeded, with its text as a JSON string.

    It begins with the ``number`` of the input line, if there is one.
    """
    return _row("data", data, number)


def error_row(error: str, number: int | None = None) -> bytes:
    """Return the output line of a call that failed."""
    return _row("error", error, number)


def _object(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"the line starts with {{ and is not a JSON object: {error}") from error
    return found


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is not a number in JSON")


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _row(key: str, text: str, number: int | None) -> bytes:
    string = READABLE(text)
    # Most texts are ASCII or printable, and this check is faster than the pattern.
    if "\x7f" in string or not (string.isascii() or string.isprintable()):
        string = UNSAFE.sub(_escape, string)
    line = "" if number is None else f'"line": {number}, '
    try:
        return f'{{{line}"{key}": {string}}}\n'.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can express and UTF-8 cannot
        return f'{{{line}"{key}": {json.dumps(text)}}}\n'.encode()
