"""A tool that is served: the plugin's tool, under the name that clients call it by."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, final

import attrs

from .arguments import ArgumentCheck

if TYPE_CHECKING:
    from wasmpool._plugin.metadata import Tool
    from wasmpool._plugin.plugin import Plugin

__all__ = ["ServedTool"]


@final
@attrs.frozen(slots=False, eq=False)  # not slots: of the cached property
class ServedTool:
    """A tool of a plugin, as clients see it."""

    name: str
    """The name that clients call it by."""
    owner: str
    """The name of its plugin in the loader."""
    plugin: Plugin
    tool: Tool
    """As the plugin describes it."""

    @cached_property
    def arguments(self) -> ArgumentCheck:
        """The check of its arguments."""
        return ArgumentCheck(self.tool)
