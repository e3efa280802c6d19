"""What is served: the tools of all plugins of a loader, by the names that clients call them by."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from wasmpool._plugin.tool_result import CLOSED
from wasmpool_host.lowlevel import escaped

from .exposure import Exposure
from .failure import failure, refusal
from .search import SearchIndex
from .served_tool import ServedTool
from .suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wasmpool._plugin.loader import Loader
    from wasmpool._plugin.metadata import Tool
    from wasmpool._plugin.plugin import Plugin
    from wasmpool._plugin.tool_result import ToolResult

    from .search import SearchResult

__all__ = ["Catalog", "NameTaken"]

_log = logging.getLogger("wasmpool.mcp")

_SHOWN: Final = 200
"""Characters of a client's text in a message."""


class NameTaken(ValueError):
    """Two plugins would be served with the same name of a tool."""


class Candidate(Protocol):
    """A plugin that is about to enter service."""

    @property
    def name(self) -> str:
        """The name that it would be loaded by."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools that it would have."""
        ...


@final
class Catalog:
    """The tools of all plugins of a loader, by the names that clients call them by.

    Args:
        loader: its plugins are served, also those that it loads later.
        exposures: by plugin name, what is served of it; all tools of a plugin that is not there.
    """

    # Invariant: `_tools` and `_index` belong to `_seen`, the plugins and their tools at that time.

    def __init__(self, loader: Loader, exposures: Mapping[str, Exposure] | None = None) -> None:
        self.loader: Final = loader
        self._exposures: Mapping[str, Exposure] = dict(exposures or {})
        self._seen: list[tuple[str, Plugin, tuple[Tool, ...]]] | None = []
        self._tools: dict[str, ServedTool] = {}
        self._index: SearchIndex | None = None

    def __repr__(self) -> str:
        return f"<Catalog: {len(self.tools)} tools of {len(self.loader.plugins)} plugins>"

    @property
    def tools(self) -> Mapping[str, ServedTool]:
        """The tools that are served now, by their served names."""
        self._look()
        return MappingProxyType(self._tools)

    def expose(self, exposures: Mapping[str, Exposure]) -> None:
        """Serve the plugins in another way from now on. Clients see it at the next load."""
        self._exposures = dict(exposures)
        self._seen = None

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call a tool for a client.

        Returns:
            the tool's answer. Whatever goes wrong is a result with ``is_error`` and a sentence: an
            unknown tool, wrong arguments, and every error of the guest, of its pool, and of the
            application's host functions.

        A cancel ends the call.
        """
        served = self.tools.get(name)
        if served is None:
            return self._unknown(name)
        problem = served.arguments.problem(arguments)
        if problem is not None:
            return refusal(f"the tool {name!r} was not called: {problem}")
        try:
            result = await served.plugin.execute(served.tool.name, arguments)
        except Exception as error:  # noqa: BLE001 - a client gets every error as a result
            return failure(served, error)
        if result == CLOSED and served.plugin.closed:
            return refusal(f"the tool {name!r} is gone: its plugin was unloaded during the call")
        return result

    def search(
        self, query: str, plugin: str | None = None, limit: int = 20, offset: int = 0
    ) -> SearchResult:
        """Return the tools that match a query, the best first.

        Args:
            query: words, of which each may be in a tool's name, its description or its parameters;
                without a word all tools match, in the order of their names.
            plugin: only tools of this plugin.
            limit: how many tools to return at most.
            offset: how many to leave out from the start.
        """
        self._look()
        if self._index is None:
            self._index = SearchIndex(self._tools)
        return self._index.search(query, plugin, limit, offset)

    def admit(self, candidate: Candidate) -> None:
        """Refuse a plugin of which a tool would have the served name of another plugin's tool.

        For ``open_loader(admit=...)``. If a pattern of the plugin's `Exposure` matches none of its
        tools, the log has a warning.

        Raises:
            NameTaken: the message names the tool and both plugins.
        """
        owners = {name: owner for name, owner, _ in self._walk() if owner != candidate.name}
        exposure = self._exposure(candidate.name)
        for tool in candidate.tools:
            name = exposure.served_name(tool)
            if name in owners:
                raise NameTaken(
                    f"plugin {candidate.name!r} has a tool {escaped(tool.name)!r}, and plugin "
                    f"{owners[name]!r} is served with one of that name: a prefix tells them apart"
                )
        for pattern in exposure.patterns_without_tool(candidate.tools):
            _log.warning(
                "plugin %r has no tool that matches the pattern %r%s",
                candidate.name, escaped(pattern),
                did_you_mean(pattern, [tool.name for tool in candidate.tools]),
            )  # fmt: skip

    # --- what is served ---

    def _exposure(self, plugin: str) -> Exposure:
        return self._exposures.get(plugin) or Exposure()

    def _look(self) -> None:
        """Read the plugins again if one has come, gone, or changed its tools."""
        now = [(name, plugin, plugin.tools) for name, plugin in self.loader.plugins.items()]
        seen = self._seen
        if seen is not None and len(now) == len(seen) and all(map(_is_same, now, seen)):
            return
        self._seen = now
        self._tools = {}
        self._index = None
        for name, owner, served in self._walk():
            if name in self._tools:
                _log.warning(
                    "the tool %r of plugin %r is not served: there is another one of this name",
                    escaped(name), owner,
                )  # fmt: skip
            else:
                self._tools[name] = served

    def _walk(self) -> Iterator[tuple[str, str, ServedTool]]:
        """All served names with their plugins' names, in the order of the loads."""
        for owner, plugin in self.loader.plugins.items():
            exposure = self._exposure(owner)
            for tool in plugin.tools:
                name = exposure.served_name(tool)
                if name is not None:
                    yield name, owner, ServedTool(name, owner, plugin, tool)

    def _unknown(self, name: str) -> ToolResult:
        if len(name) > _SHOWN:
            return refusal(f"there is no tool whose name has {len(name):,} characters")
        return refusal(f"there is no tool {escaped(name)!r}{did_you_mean(name, self._tools)}")


def _is_same(
    one: tuple[str, Plugin, tuple[Tool, ...]], other: tuple[str, Plugin, tuple[Tool, ...]]
) -> bool:
    return one[0] == other[0] and one[1] is other[1] and one[2] is other[2]
