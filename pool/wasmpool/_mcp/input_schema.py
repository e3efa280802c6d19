"""The JSON Schema of a tool's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wasmpool._plugin.metadata import Tool
__all__ = ["input_schema", "parameter_schemas"]


def parameter_schemas(tool: Tool) -> dict[str, Any]:
    schemas = dict(getattr(tool, "schemas", {}))
    for name, description in tool.parameters.items():
        if name not in schemas:
            schemas[name] = {
                "type": "string",
                **({"description": description} if description else {}),
            }
    return schemas


def input_schema(tool: Tool) -> dict[str, Any]:
    given = getattr(tool, "input_schema", None)
    if given is not None:
        return dict(given)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": parameter_schemas(tool),
        "additionalProperties": False,
    }
    if tool.required:
        schema["required"] = list(tool.required)
    return schema
