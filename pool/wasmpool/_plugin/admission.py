"""A host's say in what enters service: two plugins may not offer the same tool, for example."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .metadata import Metadata, Tool
    from .plugin import Plugin

__all__ = ["Admit", "Candidate"]


@final
@attrs.frozen(kw_only=True)
class Candidate:
    """A plugin, or a new module or configuration of one, that is about to enter service."""

    name: str
    """The name that it is loaded by."""
    tools: tuple[Tool, ...]
    """The tools that it offers."""
    metadata: Metadata
    """How it describes itself."""
    replaces: Plugin | None
    """The plugin that serves under this name now; None if the name is free."""


Admit: TypeAlias = "Callable[[Candidate], object]"
"""Called in the same step in which the candidate enters service. What it raises refuses that."""
