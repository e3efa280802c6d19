"""What a tool answered, out of the bytes that the export ``execute`` replied.

The contract's shape is ``{"data"?: str, "is_error"?: bool}``, and what has not this shape is data
as it stands. With the extra ``plugin`` a reply is read and held against the shape in one go, in
C; one that does not fit is looked at again, with more patience. A large one is read in pieces, and
the loop has its turn between them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import trio

from wasmpool._json_pieces import in_turns, read_members, read_text

from .metadata import ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool._json_pieces import Members, Steps

__all__ = ["read_large_result", "read_patiently", "read_tool_result"]

_MOST_TOKENS: Final = 100_000
"""Of a large reply, 0.1 s in all. A reply with more of them is data as it stands."""

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
"""Read a reply of at most `SMALL` bytes, at once."""


async def read_large_result(reply: bytes) -> ToolResult:
    """Read a reply in pieces.

    The guest has returned, and what it did must not be lost: a cancel is not delivered here.
    """
    return await in_turns(_read_in_pieces(reply), trio.lowlevel.cancel_shielded_checkpoint)


def _read_in_pieces(reply: bytes) -> Steps[ToolResult]:
    try:
        members = yield from read_members(reply, ("data", "is_error"), _MOST_TOKENS)
    except ValueError:
        members = None
    if members is not None:
        data = _data(members)
        is_error = _is_error(members)
        if data is not None and is_error is not None:
            return ToolResult(data, is_error)
    pieces: list[str] = []
    yield from read_text(reply, pieces.append)
    return ToolResult("".join(pieces))


def _data(members: Members) -> str | None:
    value = members.get("data", b"null")
    if isinstance(value, list):
        return "".join(value)
    if value.startswith(b'"'):
        return value[1:-1].decode()  # plain ASCII without an escape
    return "" if value == b"null" else None


def _is_error(members: Members) -> bool | None:
    value = members.get("is_error", b"null")
    if value == b"true":
        return True
    return False if value in (b"false", b"null") else None
