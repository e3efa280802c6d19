"""What has gone wrong in a call, as a sentence for the client."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from wasmpool._errors import LeaseRevoked, PoolSaturated, PoolTimeout, PoolUnavailable
from wasmpool._plugin.tool_result import ToolResult
from wasmpool_host import CallTimeout, WasmpoolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .served_tool import ServedTool

__all__ = ["failure", "refusal"]

_log = logging.getLogger("wasmpool.mcp")

_LONGEST: Final = 4 << 10
"""Characters of a message."""


def refusal(sentence: str) -> ToolResult:
    """Return a result that says why a call was not made."""
    return ToolResult(sentence, is_error=True)


def failure(served: ServedTool, error: Exception) -> ToolResult:
    """Return the result for a call that has raised an error."""
    if not isinstance(error, (WasmpoolError, ValueError)):
        # From a host function of the application: what it says is not for clients.
        _log.error("the call of the tool %r failed", served.name, exc_info=error)
        return refusal(f"the tool {served.name!r} failed: an error of the server, which logged it")
    return refusal(f"the tool {served.name!r} {_kind(error)}: {_message(error)}")


_KINDS: Final[Mapping[type[Exception], str]] = {
    CallTimeout: "took too long",
    LeaseRevoked: "was stopped",
    PoolSaturated: "is busy",
    PoolTimeout: "is busy",
    PoolUnavailable: "is not available",
    ValueError: "was not called",
}


def _kind(error: Exception) -> str:
    return next((said for kind, said in _KINDS.items() if isinstance(error, kind)), "failed")


def _message(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
