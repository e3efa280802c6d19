"""A tool's result in the form of the protocol.

The text comes from a guest. It may be large, no JSON, JSON that is too deep for a client's parser,
or have halves of surrogate pairs, which no UTF-8 can express. So structured content is given only
where the text is a JSON object within bounds, and the text itself always.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mcp_types import CallToolResult, TextContent

if TYPE_CHECKING:
    from wasmpool._plugin.tool_result import ToolResult

__all__ = ["MAX_TEXT", "as_call_result", "clean"]

MAX_TEXT: Final = 4 << 20
"""Characters of an answer, as large as a request may be. A model reads far less."""
_MAX_STRUCTURED: Final = 1 << 20
"""Characters of an answer that is read as JSON."""
_MAX_SIGNS: Final = 30_000
"""Commas, colons and brackets of it, a bound on the number of its values: 20 ms."""
_MAX_DEPTH: Final = 64
"""Levels of it; parsers give up at 200, some earlier."""


def as_call_result(result: ToolResult) -> CallToolResult:
    """Return a result in the form of the protocol."""
    if len(result.data) > MAX_TEXT:
        size = len(result.data)
        message = f"the tool's answer has {size:,} characters, above the limit of {MAX_TEXT:,}"
        return CallToolResult(content=[TextContent(text=message)], is_error=True)
    return CallToolResult(
        content=[TextContent(text=clean(result.data))],
        structured_content=None if result.is_error else _as_object(result.data),
        is_error=result.is_error,
    )


def clean(text: str) -> str:
    """Return a text that can be written as UTF-8: halves of surrogate pairs are replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass").decode(errors="replace")
    return text


def _as_object(text: str) -> dict[str, Any] | None:
    """Return a text as the JSON object that it is; None if it is not, or is above a bound."""
    if text[:1] != "{" or len(text) > _MAX_STRUCTURED:
        return None
    if sum(map(text.count, ",:[{")) > _MAX_SIGNS:
        return None
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if type(value) is dict and _is_plain(value) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _is_plain(value: Any) -> bool:
    """Return True for a value that is not too deep, and that UTF-8 and JSON can express."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for each in level:
            if type(each) is dict:
                inner += each
                inner += each.values()
            elif type(each) is list:
                inner += each
            elif type(each) is str and clean(each) is not each:
                return False
            elif type(each) is float and each in (float("inf"), float("-inf")):
                return False  # from a number such as 1e999
        if not inner:
            return True
        level = inner
    return False
