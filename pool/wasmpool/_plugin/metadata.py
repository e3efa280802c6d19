"""How a plugin describes itself, and how these answers are read.

Unknown keys are ignored, so that a plugin can be newer than its host. A null is an absent value, as
guests in Go write it. A value of the wrong type is an `AbiError` that names its key.

A plugin is not trusted, so the size of everything is checked before a loop over it. An answer at
these limits blocks the event loop for 5 ms, and one that is all schemas for twice as long; real
plugins stay far below them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import attrs

from wasmpool._json import decode

from .errors import AbiError
from .mask import masked_start
from .tool_schema import input_schema, read_schema
from .wrong_answer import MAX_NAME, MAX_TEXT, shown, too_long, wrong_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Metadata",
    "Tool",
    "read_compact_specs",
    "read_metadata",
    "read_name_reply",
    "read_refusal",
    "read_tools",
]

_MAX_BYTES: Final = 1 << 20
"""Of one answer."""
_MAX_SIGNS: Final = 30_000
"""Commas, colons and brackets in one answer: a bound on the number of its values."""
_MAX_TOOLS: Final = 500
_MAX_PARAMETERS: Final = 100
"""Of one tool."""
_MAX_ENTRIES: Final = 1_000
"""Of any other list or object."""
_MAX_REFUSAL: Final = 4 << 10
"""Bytes of the reason for refused credentials that are kept."""


@final
@attrs.frozen
class Tool:
    """A tool of a plugin, as the plugin describes it.

    The texts are not escaped. Escape them before you show them in a terminal or a log.
    """

    name: str
    """Its name for `Plugin.execute`: 1 to 256 characters."""
    description: str = ""
    """What it does; "" if the plugin gives no description. At most 65,536 characters."""
    parameters: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The description of each parameter, by name; at most 100."""
    required: tuple[str, ...] = ()
    """The names of the parameters that every call must have."""
    schemas: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict[str, Any])
    """By name, the JSON Schema of each parameter for which the plugin gives one.

    It is valid JSON Schema 2020-12 with at most 50 levels. Each ``$ref`` begins with ``#``, for the
    parameter's schema, and leads to a schema in it. The plugin is not trusted, so count the steps
    when you validate: a schema may be recursive. And leave out ``pattern`` and
    ``patternProperties``: they are not checked, and an expression may backtrack for ever.
    """

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of all arguments: `schemas`, with each ``$ref`` changed to lead there.

        A parameter without a schema is a string, and no other argument is allowed. What `schemas`
        says of validation is true here, too. Made anew each time; do not change what is in it.
        """
        return input_schema(self.parameters, self.required, self.schemas)


@final
@attrs.frozen
class Metadata:
    """How a plugin describes itself; a value that it leaves out is empty. No text is escaped."""

    name: str = ""
    """Its name in the metadata. It can differ from `Plugin.name`, which is the answer of the export
    ``name``, or the name that it was opened with."""
    version: str = ""
    """The plugin's version: any text."""
    abi_version: int | None = None
    """The version of the contract: 1 in each plugin that is loaded."""
    description: str = ""
    """What the plugin is for."""
    author: str = ""
    """Its author's name."""
    homepage: str = ""
    """The URL of a page about it, unchecked."""
    license: str = ""
    """Its licence, by name or identifier."""
    capabilities: tuple[str, ...] = ()
    """What it claims to need or offer; this grants and refuses nothing."""
    credential_keys: tuple[str, ...] = ()
    """The names of the credentials that its ``configure`` reads."""
    plain_text_keys: tuple[str, ...] = ()
    """Those of ``credential_keys`` whose values are not secret."""
    optional_keys: tuple[str, ...] = ()
    """Those of ``credential_keys`` that may be left out."""
    placeholders: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """An example of a value, by the name of the credential."""


_TEXTS = ("name", "version", "description", "author", "homepage", "license")
_LISTS = ("capabilities", "credential_keys", "plain_text_keys", "optional_keys")


def read_metadata(reply: bytes) -> Metadata:
    """Read what the export ``metadata`` answered.

    Raises:
        AbiError: it does not fulfil the contract; the message names the key.
    """
    given = _object("metadata", _json("metadata", reply))
    version = given.get("abi_version")
    if not (version is None or type(version) is int):
        raise wrong_type("metadata: abi_version", "an integer", version)
    _string("metadata: name", given.get("name"), MAX_NAME)
    texts: dict[str, Any] = {key: _string(f"metadata: {key}", given.get(key)) for key in _TEXTS}
    lists: dict[str, Any] = {
        key: _string_list(f"metadata: {key}", given.get(key)) for key in _LISTS
    }
    placeholders = _strings("metadata: placeholders", given.get("placeholders"))
    return Metadata(abi_version=version, placeholders=placeholders, **texts, **lists)


def read_tools(reply: bytes) -> tuple[Tool, ...]:
    """Read what the export ``tools`` answered.

    Raises:
        AbiError: it does not fulfil the contract; the message names the tool and the key.
    """
    given = _json("tools", reply)
    if not isinstance(given, list | None):
        raise wrong_type("tools", "a list", given)
    _check_count("tools", given, _MAX_TOOLS, "tools")
    return tuple(_tool(f"tools[{at}]", tool) for at, tool in enumerate(given or ()))


def read_compact_specs(reply: bytes) -> dict[str, tuple[str, ...]]:
    """Read what the export ``compact_specs`` answered: tool name -> dotted field paths.

    Raises:
        AbiError: it does not fulfil the contract; the message names the tool.
    """
    given = _object("compact_specs", _json("compact_specs", reply))
    _check_count("compact_specs", given, _MAX_TOOLS, "tools")
    return {
        tool: _string_list(f"compact_specs: {shown(tool)}", fields)
        for tool, fields in given.items()
    }


def read_name_reply(reply: bytes) -> str:
    """Read what the export ``name`` answered.

    Raises:
        AbiError: it is not text, or is too long.
    """
    try:
        name = reply[: 4 * MAX_NAME + 4].decode()
    except UnicodeDecodeError as broken:
        if len(reply) <= 4 * MAX_NAME:
            message = f"name answers text that is not UTF-8: {broken}"
            raise AbiError(message) from broken
        name = ""  # it was cut within a character, and is too long in any case
    if len(reply) > 4 * MAX_NAME or len(name) > MAX_NAME:
        message = (
            f"name answers {len(reply):,} bytes: a plugin's name has at most {MAX_NAME} characters"
        )
        raise AbiError(message)
    return name


def read_refusal(reply: bytes, secrets: Iterable[str] = ()) -> str:
    """Read why the export ``configure`` refused: the start of a long reason, without secrets."""
    text = masked_start(reply, secrets, _MAX_REFUSAL).decode(errors="replace")
    return text if len(reply) <= _MAX_REFUSAL else f"{text} ... ({len(reply):,} bytes)"


def _tool(where: str, given: Any) -> Tool:
    tool = _object(where, given)
    name = _string(f"{where}: name", tool.get("name"), MAX_NAME)
    if not name:
        message = f"{where}: name is missing"
        raise AbiError(message)
    where = f"{where} ({shown(name)})"
    parameters = _object(f"{where}: parameters", tool.get("parameters"))
    _check_count(where, parameters, _MAX_PARAMETERS, "parameters")
    schemas = _schemas(f"{where}: parameters", parameters)
    descriptions = {
        key: schemas[key].get("description") if key in schemas else given
        for key, given in parameters.items()
    }
    return Tool(
        name,
        _string(f"{where}: description", tool.get("description")),
        _strings(f"{where}: parameters", descriptions),
        _string_list(f"{where}: required", tool.get("required")),
        schemas,
    )


def _schemas(where: str, parameters: dict[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Read the schemas of the parameters that have one instead of a description."""
    schemas: dict[str, Mapping[str, Any]] = {}
    for key, given in parameters.items():
        if isinstance(given, dict):
            schemas[key] = read_schema(f"{where}: {shown(key)}", given)
        elif not isinstance(given, str | None):
            raise wrong_type(f"{where}: {shown(key)}", "a description or a schema", given)
    return schemas


def _json(export: str, reply: bytes) -> Any:
    if not reply:
        return None
    if len(reply) > _MAX_BYTES:
        message = f"{export} answers {len(reply):,} bytes, above the limit of {_MAX_BYTES:,}"
        raise AbiError(message)
    signs = sum(map(reply.count, (b",", b":", b"[", b"{")))
    if signs > _MAX_SIGNS:
        message = (
            f"{export} answers JSON that is too large: {signs:,} commas, colons and brackets, "
            f"above the limit of {_MAX_SIGNS:,}"
        )
        raise AbiError(message)
    try:
        return decode(reply)
    except ValueError as broken:
        message = (
            f"{export} answers invalid JSON: {broken}. It is read from the pointer in the upper 32"
            " bits of the i64, with the size in the lower 32"
        )
        raise AbiError(message) from broken


def _object(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict | None):
        raise wrong_type(where, "an object", given)
    return given or {}


def _string(where: str, given: Any, limit: int = MAX_TEXT) -> str:
    if not isinstance(given, str | None):
        raise wrong_type(where, "a string", given)
    if given is not None and len(given) > limit:
        raise too_long(where, given, limit)
    return given or ""


def _strings(where: str, given: Any) -> dict[str, str]:
    strings = _object(where, given)
    _check_count(where, strings, _MAX_ENTRIES, "entries")
    for key, text in strings.items():
        # Checked before a message is formatted: nearly all are right.
        if len(key) > MAX_NAME:
            raise too_long(f"{where}: the name {shown(key)}", key, MAX_NAME)
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            _string(f"{where}: {shown(key)}", text)
    return {key: text or "" for key, text in strings.items()}


def _string_list(where: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | None):
        raise wrong_type(where, "a list of strings", given)
    _check_count(where, given, _MAX_ENTRIES, "entries")
    for at, text in enumerate(given or ()):
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            _string(f"{where}[{at}]", text)
    return tuple(text or "" for text in given or ())


def _check_count(where: str, given: Any, limit: int, what: str) -> None:
    if isinstance(given, (list, dict)) and len(given) > limit:
        raise AbiError(f"{where}: {len(given):,} {what}, above the limit of {limit:,}")
