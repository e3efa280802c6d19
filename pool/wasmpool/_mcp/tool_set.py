"""The tools that clients see: those of the catalog, or two that find and call them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, cast, final

import mcp_types

from wasmpool._plugin.tool_result import ToolResult

from .failure import refusal
from .reply import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping

    from .catalog import Catalog
    from .served_tool import ServedTool

__all__ = ["CatalogTools", "Mode", "Scripts", "SearchTools", "ToolSet", "new_tool_set"]

Mode: TypeAlias = Literal["plain", "search"]

_MAX_FOUND: Final = 100
"""Tools in one answer of a search."""
_MAX_FOUND_BYTES: Final = 256 << 10
"""Characters of one answer of a search, but for its last tool."""


class Scripts(Protocol):
    """Runs scripts that call tools."""

    def run(self, source: str, /) -> Awaitable[ToolResult]:
        """Run a script; every failure is a result with ``is_error``."""
        ...


class ToolSet(Protocol):
    """The tools that clients see."""

    def list(self) -> Mapping[str, mcp_types.Tool]:
        """The tools by name."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], /) -> ToolResult:
        """Call one; every failure is a result with ``is_error``."""
        ...


def new_tool_set(catalog: Catalog, mode: Mode, scripts: Scripts | None) -> ToolSet:
    """Return the tools for a mode.

    Raises:
        ValueError: there is no such mode.
    """
    if mode == "plain":
        return CatalogTools(catalog, scripts)
    if mode == "search":
        return SearchTools(catalog, scripts)
    raise ValueError(f"mode must be 'plain' or 'search', not {mode!r}")


@final
class CatalogTools:
    """The tools of the catalog, and one more for scripts."""

    def __init__(self, catalog: Catalog, scripts: Scripts | None) -> None:
        self._catalog: Final = catalog
        self._scripts: Final = scripts
        self._served: Mapping[str, ServedTool] = {}
        self._listed: Mapping[str, mcp_types.Tool] = {}

    def list(self) -> Mapping[str, mcp_types.Tool]:
        """The tools by name; the same object while nothing has changed."""
        served = dict(self._catalog.tools)
        if served != self._served or not self._listed:
            self._served = served
            listed = {name: _as_tool(served[name]) for name in sorted(served)}
            if self._scripts is not None:
                listed["execute"] = _SCRIPT
            self._listed = listed
        return self._listed

    async def call(self, name: str, arguments: Mapping[str, Any], /) -> ToolResult:
        """Call a tool of the catalog, or run a script."""
        if name == "execute" and self._scripts is not None:
            return await _run_script(self._scripts, arguments)
        return await self._catalog.call(name, arguments)


@final
class SearchTools:
    """Two tools instead of hundreds: one finds the catalog's tools, the other one calls them."""

    def __init__(self, catalog: Catalog, scripts: Scripts | None) -> None:
        self._catalog: Final = catalog
        self._scripts: Final = scripts
        execute = _EXECUTE if scripts is None else _EXECUTE_OR_SCRIPT
        self._listed: Final = {"execute": execute, "search": _SEARCH}

    def list(self) -> Mapping[str, mcp_types.Tool]:
        """The two tools."""
        return self._listed

    async def call(self, name: str, arguments: Mapping[str, Any], /) -> ToolResult:
        """Search, or call a tool of the catalog."""
        if name == "search":
            return self._search(arguments)
        if name == "execute":
            return await self._execute(arguments)
        return refusal("there are the tools 'search', which finds tools, and 'execute', for them")

    def _search(self, arguments: Mapping[str, Any]) -> ToolResult:
        problem = _problem(_SEARCH, arguments)
        if problem is not None:
            return refusal(f"the search was not made: {problem}")
        given = {"query": "", "plugin": None, "limit": 20, "offset": 0, **arguments}
        plugin = given["plugin"]
        if plugin is not None and plugin not in self._catalog.loader.plugins:
            names = ", ".join(map(repr, list(self._catalog.loader.plugins)[:20])) or "none"
            return refusal(f"there is no such plugin; there are: {names}")
        found = self._catalog.search(
            given["query"], plugin, min(given["limit"], _MAX_FOUND), given["offset"]
        )
        tools = list(_within_bytes(map(_found, found.tools)))
        answer: dict[str, Any] = {"total": found.total, "tools": tools}
        if found.offset + len(tools) < found.total and tools:
            answer["next_offset"] = found.offset + len(tools)
        return ToolResult(json.dumps(answer, ensure_ascii=False))

    async def _execute(self, arguments: Mapping[str, Any]) -> ToolResult:
        if "script" in arguments and self._scripts is not None:
            return await _run_script(self._scripts, arguments)
        problem = _problem(_EXECUTE, arguments)
        if problem is not None:
            return refusal(f"nothing was executed: {problem}")
        return await self._catalog.call(arguments["tool_name"], arguments.get("arguments") or {})


async def _run_script(scripts: Scripts, arguments: Mapping[str, Any]) -> ToolResult:
    problem = _problem(_SCRIPT, arguments)
    if problem is not None:
        return refusal(f"nothing was executed: {problem}")
    return await scripts.run(arguments["script"])


def _as_tool(served: ServedTool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=clean(served.name),
        description=clean(served.tool.description) or None,
        input_schema=_clean_schema(served.tool.input_schema),
    )


def _clean_schema(schema: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(schema, ensure_ascii=False)
    cleaned = clean(text)
    return schema if cleaned is text else cast("dict[str, Any]", json.loads(cleaned))


def _found(served: ServedTool) -> dict[str, Any]:
    return {
        "name": served.name,
        "plugin": served.owner,
        "description": served.tool.description,
        "input_schema": served.tool.input_schema,
    }


def _within_bytes(found: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    size = 0
    for each in found:
        size += len(json.dumps(each))
        yield each
        if size > _MAX_FOUND_BYTES:
            return


def _problem(tool: mcp_types.Tool, arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments of a tool of this file; None if nothing is."""
    properties = tool.input_schema["properties"]
    for name, value in arguments.items():
        if name not in properties:
            return f"there is no argument {name[:200]!r}; there are: {', '.join(properties)}"
        wanted = properties[name]["type"]
        if type(value) is not _TYPES[wanted]:
            return f"the argument {name!r} must be of type {wanted}"
        if wanted == "integer" and value < properties[name]["minimum"]:
            return f"the argument {name!r} must be at least {properties[name]['minimum']}"
    missing = [name for name in tool.input_schema.get("required", ()) if name not in arguments]
    return f"the argument {missing[0]!r} is missing" if missing else None


_TYPES: Final = {"string": str, "integer": int, "object": dict}


def _tool(
    name: str, description: str, properties: dict[str, Any], required: tuple[str, ...] = ()
) -> mcp_types.Tool:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return mcp_types.Tool(
        name=name,
        description=description,
        input_schema={**schema, **({"required": list(required)} if required else {})},
    )


_SCRIPT_PROPERTY: Final = {
    "type": "string",
    "description": (
        "Python that calls tools: api.call(tool, **arguments) returns a tool's answer and raises "
        'its error; api.try_call(tool, **arguments) returns {"ok": true, "data": ...} or '
        '{"ok": false, "error": ...}; api.map(tool, [arguments, ...], limit=8) makes the calls at '
        "the same time and keeps their order. What it prints, and its last expression, come back."
    ),
}
_EXECUTE_PROPERTIES: Final = {
    "tool_name": {"type": "string", "description": "the name of the tool, as a search gives it"},
    "arguments": {"type": "object", "description": "its arguments, by its input_schema"},
}

_SEARCH: Final = _tool(
    "search",
    "Find tools by words of their names, descriptions and parameters. The best come first, each "
    "with the schema of its arguments. Call them with `execute`.",
    {
        "query": {"type": "string", "description": "words; without any, all tools are listed"},
        "plugin": {"type": "string", "description": "only tools of this plugin"},
        "limit": {"type": "integer", "minimum": 1, "default": 20, "description": "at most so many"},
        "offset": {
            "type": "integer",
            "minimum": 0,
            "default": 0,
            "description": "leave out so many",
        },
    },
)
_EXECUTE: Final = _tool(
    "execute", "Call a tool that `search` has found.", _EXECUTE_PROPERTIES, ("tool_name",)
)
_EXECUTE_OR_SCRIPT: Final = _tool(
    "execute",
    "Call a tool that `search` has found, by its name; or run a script that calls many.",
    {**_EXECUTE_PROPERTIES, "script": _SCRIPT_PROPERTY},
)
_SCRIPT: Final = _tool(
    "execute", "Run a script that calls tools.", {"script": _SCRIPT_PROPERTY}, ("script",)
)
