"""The exports of an Extism plugin as tools, whose arguments and answers are texts.

An input and an output are bytes. The input is given as a text, or in base64. An output that is no
UTF-8 is given as a JSON object with base64 in it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from wasmpool._plugin.errors import AbiError
from wasmpool._plugin.metadata import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["as_text", "input_of", "tool_names", "tools_of"]

_MOST: Final = 500
"""Tools of one plugin, as in the contract of plugins."""
_LONGEST: Final = 256
"""Characters of a name, as there."""
_PROGRAM: Final = "_start"
"""Runs a program, which is for a command and not for a tool."""

_PARAMETERS: Final = {
    "input": "The input, as a text.",
    "input_base64": "The input in base64, where it is no text.",
}


def tool_names(exports: Sequence[str]) -> tuple[str, ...]:
    """Return which exports are tools.

    Raises:
        AbiError: there are too many, or one has too long a name.
    """
    names = tuple(name for name in exports if name != _PROGRAM)
    if len(names) > _MOST:
        raise AbiError(f"it has {len(names):,} exports that can be called, above {_MOST}")
    longest = max(map(len, names), default=0)
    if longest > _LONGEST:
        raise AbiError(f"an export has a name of {longest:,} characters, above {_LONGEST}")
    return names


def tools_of(plugin: str, exports: Sequence[str]) -> tuple[Tool, ...]:
    """Return the tools of a plugin of this name.

    Raises:
        AbiError: as `tool_names`.
    """
    return tuple(
        Tool(name, f"Calls {name} of the Extism plugin {plugin}.", dict(_PARAMETERS))
        for name in tool_names(exports)
    )


def input_of(args: Mapping[str, Any] | None) -> bytes:
    """Return the input of a call with these arguments.

    Raises:
        TypeError: one is no string.
        ValueError: there are others, both are given, or one cannot be read.
    """
    given = dict(args or ())
    text, encoded = given.pop("input", None), given.pop("input_base64", None)
    if given:
        raise ValueError(f"there is no argument {next(iter(given))!r}: give input or input_base64")
    if text is not None and encoded is not None:
        raise ValueError("input and input_base64 are both given")
    for value in (text, encoded):
        if not isinstance(value, str | None):
            raise TypeError(f"the input must be a string, not {type(value).__name__}")
    if encoded is not None:
        return base64.b64decode(encoded, validate=True)
    return (text or "").encode()


def as_text(output: bytes) -> str:
    """Return an output as a text: ``{"output_base64": ...}`` if it is no UTF-8."""
    try:
        return output.decode()
    except UnicodeDecodeError:
        return f'{{"output_base64": "{base64.b64encode(output).decode()}"}}'
