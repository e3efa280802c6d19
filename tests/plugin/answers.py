"""What a plugin's tools answer."""

from __future__ import annotations

import json
from typing import Any, Final

from wasmpool._plugin.tool_result import ToolResult

__all__ = ["CLOSED", "data"]

CLOSED: Final = ToolResult("wasm: module closed", is_error=True)
"""The answer of a plugin that is closed."""


def data(result: ToolResult) -> Any:
    """What a tool has answered; it is no error."""
    assert not result.is_error, result
    return json.loads(result.data)
