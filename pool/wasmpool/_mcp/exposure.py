"""Which tools of a plugin are served, and under which names."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool._plugin.metadata import Tool

__all__ = ["Exposure"]


@final
@attrs.frozen
class Exposure:
    """Which tools of a plugin are served, and how they are named."""

    tools: tuple[str, ...] = ("*",)
    """Patterns of names, as in a shell: ``"github_*"``. A tool that matches none is not served."""
    prefix: str = ""
    """What the served name has before the tool's own name."""

    def patterns_without_tool(self, tools: Sequence[Tool]) -> list[str]:
        """Return the patterns that match none of a plugin's tools; ``"*"`` is never one."""
        return [
            pattern
            for pattern in self.tools
            if pattern != "*" and not any(fnmatchcase(tool.name, pattern) for tool in tools)
        ]

    def served_name(self, tool: Tool) -> str | None:
        """Return the name that a tool is served by; None for one that is not served."""
        if not any(fnmatchcase(tool.name, pattern) for pattern in self.tools):
            return None
        return f"{self.prefix}{tool.name}"
