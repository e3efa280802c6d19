"""The commands of one file of the suite, as ``wasm-tools json-from-wast`` writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Action", "Command", "Value", "read_commands"]


@attrs.frozen
class Value:
    """An argument, or a pattern that a result must match.

    ``content`` is what the JSON has: a number's bits or a kind of NaN as a str, a list of them for
    a v128 (its lanes are of type ``lane``), a list of patterns for ``either``; None for any
    reference of the type.
    """

    type: str
    content: Any = None
    lane: str | None = None

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Value:
        if entry["type"] == "either":
            return cls("either", tuple(map(cls.read, entry["values"])))
        return cls(entry["type"], entry.get("value"), entry.get("lane_type"))


@attrs.frozen
class Action:
    """The call of a function, or the reading of a global; ``module`` None is the latest one."""

    type: str
    field: str
    module: str | None
    args: tuple[Value, ...]

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Action:
        args = tuple(map(Value.read, entry.get("args", ())))
        return cls(entry["type"], entry["field"], entry.get("module"), args)


@attrs.frozen
class Command:
    """One command. What its type does not have is None, or empty."""

    type: str
    line: int
    path: Path | None
    """The module's file."""
    name: str | None
    """How the script calls the module."""
    action: Action | None
    expected: tuple[Value, ...]
    text: str
    """What should be wrong, in the words of the reference interpreter."""
    register_as: str
    definition: str | None
    """Of ``module_instance``: which definition is instantiated."""

    @classmethod
    def read(cls, entry: Mapping[str, Any], folder: Path) -> Command:
        return cls(
            entry["type"],
            entry["line"],
            folder / entry["filename"] if "filename" in entry else None,
            entry.get("instance", entry.get("name")),
            Action.read(entry["action"]) if "action" in entry else None,
            tuple(map(Value.read, entry.get("expected", ()))),
            entry.get("text", ""),
            entry.get("as", ""),
            entry.get("module") if entry["type"] == "module_instance" else None,
        )


def read_commands(path: Path) -> list[Command]:
    """Read the commands of a converted file."""
    return [Command.read(each, path.parent) for each in json.loads(path.read_text())["commands"]]
