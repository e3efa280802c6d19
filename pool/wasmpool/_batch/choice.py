"""The choice of a plugin's tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmpool._shown import name_list, shown

if TYPE_CHECKING:
    from wasmpool import Plugin

__all__ = ["NoSuchTool", "choose_tool"]


class NoSuchTool(ValueError):
    """A plugin has no tool of that name, or has several and none was chosen."""


def choose_tool(plugin: Plugin, wanted: str | None, choose: str) -> str:
    """Return the name of the tool to call: the plugin's only one, if none is wanted.

    Args:
        plugin: a plugin that is open.
        wanted: the name that its user has given, or None.
        choose: how its user chooses a tool, for messages.

    Raises:
        NoSuchTool: the message names the tools to choose from.
    """
    names = [tool.name for tool in plugin.tools]
    owner = f"plugin '{shown(plugin.name)}'"
    if not names:
        raise NoSuchTool(f"{owner} has no tools")
    if wanted is None and len(names) > 1:
        raise NoSuchTool(
            f"{owner} has {len(names)} tools, choose one with {choose}: {name_list(names)}"
        )
    if wanted is not None and wanted not in names:
        raise NoSuchTool(f"{owner} has no tool '{shown(wanted)}'; it has: {name_list(names)}")
    return names[0] if wanted is None else wanted
