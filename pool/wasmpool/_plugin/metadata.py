"""What a plugin says of itself and answers, as types.

Read as the contract has it: unknown keys are ignored, so that a plugin may be newer than its
host; null stands for an absent value, as guests in Go write it; a value of the wrong type is an
`AbiError` that names its key.

A plugin is not trusted, so everything is bounded before it is looped over. At these bounds an
answer holds the loop for 5 ms, and plugins stay far below them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import attrs

from wasmpool._json import decode
from wasmpool_host.lowlevel import escaped

from .errors import AbiError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Metadata",
    "Tool",
    "ToolResult",
    "read_compact_specs",
    "read_metadata",
    "read_name_reply",
    "read_refusal",
    "read_tools",
]

_MOST_BYTES: Final = 1 << 20
"""Of one answer."""
_MOST_SIGNS: Final = 30_000
"""Commas, colons and brackets in one answer: each stands for a value, but for those in texts."""
_MOST_TOOLS: Final = 500
_MOST_PARAMETERS: Final = 100
"""Of one tool."""
_MOST_ENTRIES: Final = 1_000
"""Of any other list or object."""
_LONGEST_NAME: Final = 256
"""Characters of the names of plugins, tools, parameters and keys."""
_LONGEST_TEXT: Final = 64 << 10
"""Characters of any other text."""
_REFUSAL: Final = 4 << 10
"""Bytes that are kept of why credentials were refused."""


@final
@attrs.frozen
class Tool:
    """One thing that a plugin can do, in the plugin's own words.

    None of the texts is escaped: `wasmpool` shows them escaped, and so should others.
    """

    name: str
    """What `Plugin.execute` calls it by: 1 to 256 characters."""
    description: str = ""
    """What it does; "" if the plugin does not say. At most 65,536 characters."""
    parameters: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Each parameter's name, with a description of it; at most 100."""
    required: tuple[str, ...] = ()
    """The names of the parameters that may not be left out."""


@final
@attrs.frozen
class ToolResult:
    """What a tool answered."""

    data: str = ""
    """The answer's text as the plugin gave it, which for most tools is JSON; "" if it gave none.
    It has at most ``limits.payload`` bytes in the plugin's memory."""
    is_error: bool = False
    """True if ``data`` says what went wrong: by the tool's own judgement, or because the plugin is
    closed or the arguments cannot be written as JSON."""


@final
@attrs.frozen
class Metadata:
    """What a plugin says of itself; what it left out is empty. No text is escaped."""

    name: str = ""
    """Its name in this answer. `Plugin.name` is another one: what its export ``name`` answers, or
    the name that it was opened by."""
    version: str = ""
    """The plugin's version, as its author counts: any text."""
    abi_version: int | None = None
    """The version of the contract that it keeps to: 1 in every plugin that is loaded."""
    description: str = ""
    """What the plugin is for."""
    author: str = ""
    """Its author's name."""
    homepage: str = ""
    """A URL with more about it, unchecked."""
    license: str = ""
    """Its licence, by name or identifier."""
    capabilities: tuple[str, ...] = ()
    """What it says that it needs or offers; nothing is granted or refused because of it."""
    credential_keys: tuple[str, ...] = ()
    """The names of the credentials that its ``configure`` reads."""
    plain_text_keys: tuple[str, ...] = ()
    """Those of ``credential_keys`` whose values are no secrets."""
    optional_keys: tuple[str, ...] = ()
    """Those of ``credential_keys`` that may be left out."""
    placeholders: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """By the name of a credential, an example of what its value looks like."""


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
    _string("metadata: name", given.get("name"), _LONGEST_NAME)
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
    _check_count("tools", given, _MOST_TOOLS, "tools")
    return tuple(_tool(f"tools[{at}]", tool) for at, tool in enumerate(given or ()))


def read_compact_specs(reply: bytes) -> dict[str, tuple[str, ...]]:
    """Read what the export ``compact_specs`` answered: tool name -> dotted field paths.

    Raises:
        AbiError: it is not of the contract; the message names the tool.
    """
    given = _object("compact_specs", _json("compact_specs", reply))
    _check_count("compact_specs", given, _MOST_TOOLS, "tools")
    return {
        tool: _string_list(f"compact_specs: {_shown(tool)}", fields)
        for tool, fields in given.items()
    }


def read_name_reply(reply: bytes) -> str:
    """Read what the export ``name`` answered.

    Raises:
        AbiError: it is no text, or a long one.
    """
    try:
        name = reply[: 4 * _LONGEST_NAME + 4].decode()
    except UnicodeDecodeError as broken:
        if len(reply) <= 4 * _LONGEST_NAME:
            message = f"name answers no UTF-8 text: {broken}"
            raise AbiError(message) from broken
        name = ""  # cut in the middle of a character, and too long in any case
    if len(reply) > 4 * _LONGEST_NAME or len(name) > _LONGEST_NAME:
        message = (
            f"name answers {len(reply):,} bytes: a plugin's name has at most {_LONGEST_NAME} "
            "characters"
        )
        raise AbiError(message)
    return name


def read_refusal(reply: bytes) -> str:
    """Read why the export ``configure`` refused; the beginning of a long text."""
    text = reply[:_REFUSAL].decode(errors="replace")
    return text if len(reply) <= _REFUSAL else f"{text} ... ({len(reply):,} bytes)"


def _tool(where: str, given: Any) -> Tool:
    tool = _object(where, given)
    name = _string(f"{where}: name", tool.get("name"), _LONGEST_NAME)
    if not name:
        message = f"{where}: name is missing"
        raise AbiError(message)
    where = f"{where} ({_shown(name)})"
    parameters = tool.get("parameters")
    _check_count(where, parameters, _MOST_PARAMETERS, "parameters")
    return Tool(
        name,
        _string(f"{where}: description", tool.get("description")),
        _strings(f"{where}: parameters", parameters),
        _string_list(f"{where}: required", tool.get("required")),
    )


def _json(export: str, reply: bytes) -> Any:
    if not reply:
        return None
    if len(reply) > _MOST_BYTES:
        message = f"{export} answers {len(reply):,} bytes, above the limit of {_MOST_BYTES:,}"
        raise AbiError(message)
    signs = sum(map(reply.count, (b",", b":", b"[", b"{")))
    if signs > _MOST_SIGNS:
        message = (
            f"{export} answers no JSON of a plugin: {signs:,} commas, colons and brackets, above "
            f"the limit of {_MOST_SIGNS:,}"
        )
        raise AbiError(message)
    try:
        return decode(reply)
    except ValueError as broken:
        message = f"{export} answers no JSON: {broken}"
        raise AbiError(message) from broken


def _object(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict | None):
        raise _wrong(where, "an object", given)
    return given or {}


def _string(where: str, given: Any, longest: int = _LONGEST_TEXT) -> str:
    if not isinstance(given, str | None):
        raise _wrong(where, "a string", given)
    if given is not None and len(given) > longest:
        message = f"{where} has {len(given):,} characters, above the limit of {longest:,}"
        raise AbiError(message)
    return given or ""


def _strings(where: str, given: Any) -> dict[str, str]:
    strings = _object(where, given)
    _check_count(where, strings, _MOST_ENTRIES, "entries")
    for key, text in strings.items():
        # Looked at before anything is formatted: it is right nearly always.
        if len(key) > _LONGEST_NAME:
            message = (
                f"{where}: the name {_shown(key)} has {len(key):,} characters, above the limit of "
                f"{_LONGEST_NAME}"
            )
            raise AbiError(message)
        if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
            _string(f"{where}: {_shown(key)}", text)
    return {key: text or "" for key, text in strings.items()}


def _string_list(where: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | None):
        raise _wrong(where, "a list of strings", given)
    _check_count(where, given, _MOST_ENTRIES, "entries")
    for at, text in enumerate(given or ()):
        if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
            _string(f"{where}[{at}]", text)
    return tuple(text or "" for text in given or ())


def _check_count(where: str, given: Any, most: int, what: str) -> None:
    if isinstance(given, (list, dict)) and len(given) > most:
        raise AbiError(f"{where}: {len(given):,} {what}, above the limit of {most:,}")


def _shown(name: str) -> str:
    """A plugin's own name for something, in a message."""
    return escaped(name if len(name) <= _LONGEST_NAME else f"{name[:40]}...")


def _wrong(where: str, wanted: str, given: Any) -> AbiError:
    return AbiError(f"{where} must be {wanted}, not {type(given).__name__}")
