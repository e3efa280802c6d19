"""A tool's result, and how it is read from the reply of the export ``execute``.

The contract's reply is ``{"data"?: str, "is_error"?: bool}``. Any other reply is taken as the
result's text, unchanged. With the extra ``plugin``, msgspec parses a reply and checks its shape in
one step; a reply that it refuses is read again by the slower, more tolerant reader. A large reply
is read in pieces, so that other tasks run in between.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from wasmpool._json_pieces import read_members, read_text, run_cooperatively

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool._json_pieces import Cooperative, Members

__all__ = ["CLOSED", "ToolResult", "read_large_result", "read_tolerantly", "read_tool_result"]

_MAX_TOKENS: Final = 100_000
"""Of a large reply, 0.1 s in all. The text of a reply with more tokens is the result."""

_decode: Final = json.JSONDecoder(parse_int=len).decode
"""No number is used here, and Python refuses to convert one with too many digits."""


@final
@attrs.frozen
class ToolResult:
    """What a tool answered."""

    data: str = ""
    """The answer's text as the plugin gave it, for most tools JSON; "" if the plugin gave none.
    It has at most ``limits.payload`` bytes in the plugin's memory."""
    is_error: bool = False
    """True if ``data`` is an error message: the tool failed, the plugin is closed, or the arguments
    cannot be written as JSON."""


CLOSED: Final = ToolResult("wasm: module closed", is_error=True)
"""The answer of a plugin that is closed."""


def read_tolerantly(reply: bytes) -> ToolResult:
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
        return read_tolerantly

    read_shape = msgspec.json.Decoder(ToolResult).decode
    refusals = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

    def read(reply: bytes) -> ToolResult:
        try:
            return read_shape(reply.decode())  # given bytes, it does not check what it skips
        except refusals:  # also for a member that is null, and so missing
            return read_tolerantly(reply)

    return read


read_tool_result: Callable[[bytes], ToolResult] = _make_reader()
"""Read a reply of at most `SMALL` bytes in one step."""


async def read_large_result(reply: bytes) -> ToolResult:
    """Read a reply in pieces.

    A cancel is not delivered here: the guest has returned, and its result must not be lost.
    """
    work = _read_in_pieces(reply)
    return await run_cooperatively(work, trio.lowlevel.cancel_shielded_checkpoint)


def _read_in_pieces(reply: bytes) -> Cooperative[ToolResult]:
    try:
        members = yield from read_members(reply, ("data", "is_error"), _MAX_TOKENS)
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
