"""The list of tools in pages, for ``tools/list``.

A cursor holds the name after which the next page begins, in the order of the names. So it stays
valid when tools come and go between two pages.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, ListToolsResult, Tool

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["page"]

_MOST: Final = 100
"""Tools of a page."""
_MAX_BYTES: Final = 512 << 10
"""Of a page, but for its last tool."""
_MAX_CURSOR: Final = 4 << 10
"""Characters; no longer one is made."""


def page(tools: Mapping[str, Tool], cursor: str | None) -> ListToolsResult:
    """Return the page that a cursor stands for; the first one without a cursor.

    Raises:
        MCPError: it is no cursor of this server.
    """
    names = sorted(tools)
    start = 0 if cursor is None else bisect_right(names, _name(cursor))
    end = start
    size = 0
    while end < len(names) and end - start < _MOST and size < _MAX_BYTES:
        size += _size(tools[names[end]])
        end += 1
    following = _cursor(names[end - 1]) if end < len(names) else None
    return ListToolsResult(tools=[tools[name] for name in names[start:end]], next_cursor=following)


def _size(tool: Tool) -> int:
    return len(tool.description or "") + len(str(tool.input_schema))


def _cursor(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode(errors="surrogatepass")).decode()


def _name(cursor: str) -> str:
    try:
        name = base64.b64decode(_within_bounds(cursor), altchars=b"-_", validate=True)
        return name.decode(errors="surrogatepass")
    except (ValueError, binascii.Error):
        raise MCPError(INVALID_PARAMS, "the cursor is not one of this server") from None


def _within_bounds(cursor: str) -> str:
    if len(cursor) > _MAX_CURSOR:
        raise ValueError("it is too long")
    return cursor
