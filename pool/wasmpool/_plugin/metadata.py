"""How a plugin describes itself, and how these answers are read.

Unknown keys are ignored, so that a plugin can be newer than its host. A null is an absent value, as
guests in Go write it. A value of the wrong type is an `AbiError` that names its key.

A plugin is not trusted, so the size of everything is checked before a loop over it. An answer at
these limits blocks the event loop for 5 ms; real plugins stay far below them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import attrs

from wasmpool._json import decode
from wasmpool_host.lowlevel import escaped

from .errors import AbiError
from .mask import masked_start

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
_MAX_NAME: Final = 256
"""Characters of the names of plugins, tools, parameters and keys."""
_MAX_TEXT: Final = 64 << 10
"""Characters of any other text."""
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
        raise _wrong("metadata: abi_version", "an integer", version)
    _string("metadata: name", given.get("name"), _MAX_NAME)
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
        raise _wrong("tools", "a list", given)
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
        tool: _string_list(f"compact_specs: {_shown(tool)}", fields)
        for tool, fields in given.items()
    }


def read_name_reply(reply: bytes) -> str:
    """Read what the export ``name`` answered.

    Raises:
        AbiError: it is not text, or is too long.
    """
    try:
        name = reply[: 4 * _MAX_NAME + 4].decode()
    except UnicodeDecodeError as broken:
        if len(reply) <= 4 * _MAX_NAME:
            message = f"name answers text that is not UTF-8: {broken}"
            raise AbiError(message) from broken
        name = ""  # it was cut within a character, and is too long in any case
    if len(reply) > 4 * _MAX_NAME or len(name) > _MAX_NAME:
        message = (
            f"name answers {len(reply):,} bytes: a plugin's name has at most {_MAX_NAME} characters"
        )
        raise AbiError(message)
    return name


def read_refusal(reply: bytes, secrets: Iterable[str] = ()) -> str:
    """Read why the export ``configure`` refused: the start of a long reason, without secrets."""
    text = masked_start(reply, secrets, _MAX_REFUSAL).decode(errors="replace")
    return text if len(reply) <= _MAX_REFUSAL else f"{text} ... ({len(reply):,} bytes)"


def _tool(where: str, given: Any) -> Tool:
    tool = _object(where, given)
    name = _string(f"{where}: name", tool.get("name"), _MAX_NAME)
    if not name:
        message = f"{where}: name is missing"
        raise AbiError(message)
    where = f"{where} ({_shown(name)})"
    parameters = tool.get("parameters")
    _check_count(where, parameters, _MAX_PARAMETERS, "parameters")
    return Tool(
        name,
        _string(f"{where}: description", tool.get("description")),
        _strings(f"{where}: parameters", parameters),
        _string_list(f"{where}: required", tool.get("required")),
    )


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
        raise _wrong(where, "an object", given)
    return given or {}


def _string(where: str, given: Any, limit: int = _MAX_TEXT) -> str:
    if not isinstance(given, str | None):
        raise _wrong(where, "a string", given)
    if given is not None and len(given) > limit:
        message = f"{where} has {len(given):,} characters, above the limit of {limit:,}"
        raise AbiError(message)
    return given or ""


def _strings(where: str, given: Any) -> dict[str, str]:
    strings = _object(where, given)
    _check_count(where, strings, _MAX_ENTRIES, "entries")
    for key, text in strings.items():
        # Checked before a message is formatted: nearly all are right.
        if len(key) > _MAX_NAME:
            message = (
                f"{where}: the name {_shown(key)} has {len(key):,} characters, above the limit of "
                f"{_MAX_NAME}"
            )
            raise AbiError(message)
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            _string(f"{where}: {_shown(key)}", text)
    return {key: text or "" for key, text in strings.items()}


def _string_list(where: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | None):
        raise _wrong(where, "a list of strings", given)
    _check_count(where, given, _MAX_ENTRIES, "entries")
    for at, text in enumerate(given or ()):
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            _string(f"{where}[{at}]", text)
    return tuple(text or "" for text in given or ())


def _check_count(where: str, given: Any, limit: int, what: str) -> None:
    if isinstance(given, (list, dict)) and len(given) > limit:
        raise AbiError(f"{where}: {len(given):,} {what}, above the limit of {limit:,}")


def _shown(name: str) -> str:
    """A name that the plugin chose, for a message."""
    return escaped(name if len(name) <= _MAX_NAME else f"{name[:40]}...")


def _wrong(where: str, wanted: str, given: Any) -> AbiError:
    return AbiError(f"{where} must be {wanted}, not {type(given).__name__}")
