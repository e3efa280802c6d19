"""The text of what a tool has answered."""

from __future__ import annotations

from mcp_types import CallToolResult, TextContent

__all__ = ["text_of"]


def text_of(result: CallToolResult) -> str:
    """Return the text of a result, which has nothing else."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text
