"""What a plugin says of itself and answers, as types.

Read as the contract has it: unknown keys are ignored, so that a plugin may be newer than its
host; null stands for an absent value, as guests in Go write it; a value of the wrong type is an
`AbiError` that names its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import attrs

from ._json import decode
from ._plugin_errors import AbiError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Metadata",
    "Tool",
    "ToolResult",
    "read_compact_specs",
    "read_metadata",
    "read_tools",
]


@final
@attrs.frozen
class Tool:
    """One thing that a plugin can do."""

    name: str
    """What `Plugin.execute` calls it by."""
    description: str = ""
    """What it does, in the plugin's words."""
    parameters: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Each parameter's name, with a description of it."""
    required: tuple[str, ...] = ()
    """The parameters that may not be left out."""


@final
@attrs.frozen
class ToolResult:
    """What a tool answered."""

    data: str = ""
    """Text, which for most tools is JSON."""
    is_error: bool = False
    """Whether ``data`` says what went wrong, by the tool's own judgement."""


@final
@attrs.frozen
class Metadata:
    """What a plugin says of itself; what it left out is empty."""

    name: str = ""
    """Its name here; `Plugin.name` is what its export ``name`` answers, or the override."""
    version: str = ""
    """Of the plugin, as its author counts."""
    abi_version: int | None = None
    """Of the contract that it keeps to: 1 in every plugin that is loaded."""
    description: str = ""
    """What it is for."""
    author: str = ""
    """Who wrote it."""
    homepage: str = ""
    """Where there is more about it: a URL."""
    license: str = ""
    """What it may be used for."""
    capabilities: tuple[str, ...] = ()
    """What it says that it needs or offers; nothing is granted or refused by it."""
    credential_keys: tuple[str, ...] = ()
    """The credentials that ``configure`` looks at."""
    plain_text_keys: tuple[str, ...] = ()
    """Those of them that are no secrets."""
    optional_keys: tuple[str, ...] = ()
    """Those of them that may be left out."""
    placeholders: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """An example of each credential's form."""


_TEXTS = ("name", "version", "description", "author", "homepage", "license")
_LISTS = ("capabilities", "credential_keys", "plain_text_keys", "optional_keys")


def read_metadata(reply: bytes) -> Metadata:
    """Read what the export ``metadata`` answered.

    Raises:
        AbiError: it is not of the contract; the message names the key.
    """
    given = _object("metadata", _json("metadata", reply))
    version = given.get("abi_version")
    if not (version is None or type(version) is int):
        raise _wrong("metadata: abi_version", "an integer", version)
    texts: dict[str, Any] = {key: _string(f"metadata: {key}", given.get(key)) for key in _TEXTS}
    lists: dict[str, Any] = {
        key: _string_list(f"metadata: {key}", given.get(key)) for key in _LISTS
    }
    placeholders = _strings("metadata: placeholders", given.get("placeholders"))
    return Metadata(abi_version=version, placeholders=placeholders, **texts, **lists)


def read_tools(reply: bytes) -> tuple[Tool, ...]:
    """Read what the export ``tools`` answered.

    Raises:
        AbiError: it is not of the contract; the message names the tool and the key.
    """
    given = _json("tools", reply)
    if not isinstance(given, list | None):
        raise _wrong("tools", "a list", given)
    return tuple(_tool(f"tools[{at}]", tool) for at, tool in enumerate(given or ()))


def read_compact_specs(reply: bytes) -> dict[str, tuple[str, ...]]:
    """Read what the export ``compact_specs`` answered: tool name -> dotted field paths.

    Raises:
        AbiError: it is not of the contract; the message names the tool.
    """
    given = _object("compact_specs", _json("compact_specs", reply))
    return {tool: _string_list(f"compact_specs: {tool}", fields) for tool, fields in given.items()}


def _tool(where: str, given: Any) -> Tool:
    tool = _object(where, given)
    name = _string(f"{where}: name", tool.get("name"))
    if not name:
        message = f"{where}: name is missing"
        raise AbiError(message)
    return Tool(
        name,
        _string(f"{where} ({name}): description", tool.get("description")),
        _strings(f"{where} ({name}): parameters", tool.get("parameters")),
        _string_list(f"{where} ({name}): required", tool.get("required")),
    )


def _json(export: str, reply: bytes) -> Any:
    if not reply:
        return None
    try:
        return decode(reply)
    except ValueError as broken:
        message = f"{export} answers no JSON: {broken}"
        raise AbiError(message) from broken


def _object(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict | None):
        raise _wrong(where, "an object", given)
    return given or {}


def _string(where: str, given: Any) -> str:
    if not isinstance(given, str | None):
        raise _wrong(where, "a string", given)
    return given or ""


def _strings(where: str, given: Any) -> dict[str, str]:
    return {key: _string(f"{where}: {key}", text) for key, text in _object(where, given).items()}


def _string_list(where: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | None):
        raise _wrong(where, "a list of strings", given)
    return tuple(_string(f"{where}[{at}]", text) for at, text in enumerate(given or ()))


def _wrong(where: str, wanted: str, given: Any) -> AbiError:
    return AbiError(f"{where} must be {wanted}, not {type(given).__name__}")
