"""What one line of the input asks for, and the line of the output that answers it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Never

from wasmpool_host import Limits

if TYPE_CHECKING:
    from .lines import Line

__all__ = ["LONGEST_LINE", "BadLine", "arguments", "data_row", "error_row"]

LONGEST_LINE: Final = Limits().payload
"""In bytes. A longer line could not be handed to a guest anyway."""

UNSAFE: Final = re.compile(
    "[\x7f-\x9f"  # controls that JSON lets stand; terminals act upon some, and some end a line
    "\u2028\u2029"  # line ends: no reader shall cut a row there
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the writing direction round
    "\ufeff]"  # the byte order mark, which some readers drop
)
"""What is escaped besides what JSON demands; the text that it stands for is the same."""

READABLE: Final = json.JSONEncoder(ensure_ascii=False).encode


class BadLine(Exception):
    """The line asks for no call; the message says why."""


def arguments(line: Line) -> dict[str, Any]:
    """The arguments of the call for `line`.

    A line that starts with ``{`` is a JSON object of arguments, any other is the argument ``text``.

    Raises:
        BadLine: it is too long, no UTF-8, or starts like a JSON object and is none.
    """
    if line.too_long:
        raise BadLine(f"the line is too long: {line.size} bytes, above the limit of {LONGEST_LINE}")
    try:
        text = line.content.decode()
    except UnicodeDecodeError as error:
        raise BadLine(
            f"the line is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}"
        ) from error
    return _object(text) if text.startswith("{") else {"text": text}


def data_row(data: str) -> bytes:
    """The line for a call that went well: `data` as the plugin gave it, a JSON string."""
    return _row("data", data)


def error_row(error: str) -> bytes:
    """The line for one that did not."""
    return _row("error", error)


def _object(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"the line starts with {{ and is not a JSON object: {error}") from error
    return found


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no number in JSON")


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _row(key: str, text: str) -> bytes:
    string = READABLE(text)
    # Most texts are ASCII or printable, which is found out sooner than by the pattern.
    if "\x7f" in string or not (string.isascii() or string.isprintable()):
        string = UNSAFE.sub(_escape, string)
    try:
        return f'{{"{key}": {string}}}\n'.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can say and UTF-8 cannot
        return f'{{"{key}": {json.dumps(text)}}}\n'.encode()
