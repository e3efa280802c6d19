"""What a tool answered, out of the bytes that the export ``execute`` replied.

The contract's shape is ``{"data"?: str, "is_error"?: bool}``, and what has not this shape is data
as it stands. With the extra ``plugin`` a reply is read and held against the shape in one go, in
C; one that does not fit is looked at again, with more patience.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ._metadata import ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_patiently", "read_tool_result"]

_decode: Final = json.JSONDecoder(parse_int=len).decode
"""No number matters here, but one of many digits would be refused."""


def read_patiently(reply: bytes) -> ToolResult:
    """Read any reply."""
    try:
        given = _decode(reply.decode())
    except (ValueError, RecursionError):
        return ToolResult(reply.decode(errors="replace"))
    if type(given) is dict:
        data, is_error = given.get("data"), given.get("is_error")
        if (data is None or type(data) is str) and (is_error is None or type(is_error) is bool):
            return ToolResult(data or "", is_error or False)
    return ToolResult(reply.decode())


def _make_reader() -> Callable[[bytes], ToolResult]:
    try:
        import msgspec  # noqa: PLC0415 - an extra
    except ImportError:
        return read_patiently

    fields = [("data", str | None, None), ("is_error", bool | None, None)]
    shape = msgspec.defstruct("Reply", fields, gc=False)
    read_shape = msgspec.json.Decoder(shape).decode
    unfit = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

    def read(reply: bytes) -> ToolResult:
        try:
            given = read_shape(reply.decode())  # of bytes it would not look at what it skips
        except unfit:
            return read_patiently(reply)
        return ToolResult(given.data or "", given.is_error or False)  # type: ignore[attr-defined]

    return read


read_tool_result: Callable[[bytes], ToolResult] = _make_reader()
