"""The plugin of a run, and the tool that is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs

from wasmpool import (
    AbiError,
    CompileError,
    ConfigureError,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    HttpPolicy,
    LinkError,
    PoolUnavailable,
    open_plugin,
)

from .limits import limits_of
from .rows import arguments
from .shown import name_list, shown
from .standard_streams import reason_of
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

    from wasmpool import Plugin, Pool, ToolResult
    from wasmpool._lines import Line
    from wasmpool._plugin.options import PluginOptions

    from .run_options import RunOptions

__all__ = ["PluginTool", "choose_name", "choose_tool", "open_run_plugin", "plugin_options"]

EXAMPLE_TOOL: Final = "word_count"

NOT_A_PLUGIN = (AbiError, CompileError, GuestExit, GuestMemoryError, GuestTrap, LinkError)
"""The errors of a file that cannot be used as a plugin."""


@final
@attrs.frozen
class PluginTool:
    """One tool of a plugin."""

    plugin: Plugin
    tool: str

    @property
    def pool(self) -> Pool:
        """The plugin's pool."""
        return self.plugin.pool

    @property
    def title(self) -> str:
        """What is called."""
        return f"{self.tool} of {self.plugin.name}"

    async def answer(self, line: Line, /) -> ToolResult:
        """Call the tool with the arguments of the line.

        Raises:
            BadLine: the line has none.
            Exception: as `Plugin.execute`.
        """
        return await self.plugin.execute(self.tool, arguments(line))


async def open_run_plugin(stack: AsyncExitStack, options: RunOptions) -> PluginTool:
    """Open the plugin, until the stack is closed, and choose its tool.

    Raises:
        WrongUse: the file cannot be read or used as a plugin, or does not accept an option.
    """
    plugin = await _open(stack, options)
    return PluginTool(plugin, choose_tool(plugin, options))


async def _open(stack: AsyncExitStack, options: RunOptions) -> Plugin:
    name = options.plugin_name
    chosen = plugin_options(options)
    try:
        opening = open_plugin(options.path, credentials=options.credentials, **chosen)
        return await stack.enter_async_context(opening)
    except OSError as error:
        raise WrongUse(f"the plugin {name} cannot be read: {reason_of(error)}") from error
    except ConfigureError as error:
        raise WrongUse(str(error)) from error
    except PoolUnavailable as error:  # users of the command do not know of the pool
        cause = error.__cause__ or error
        why = str(cause) or type(cause).__name__
        raise WrongUse(f"{name} cannot be used as a plugin: {why}") from error
    except NOT_A_PLUGIN as error:
        raise WrongUse(f"{name} cannot be used as a plugin: {error}") from error


def plugin_options(options: RunOptions) -> PluginOptions:
    """Return the options of `open_plugin`. Without an allowed host, the plugin can reach none.

    Raises:
        WrongUse: a limit is out of its range.
    """
    chosen: PluginOptions = {
        "size": options.size,
        "max_uses": options.max_uses,
        "limits": limits_of(timeout=options.timeout, memory=options.memory),
    }
    if options.allow_hosts:
        chosen["http"] = HttpPolicy(allow_hosts=options.allow_hosts)
    return chosen


def choose_tool(plugin: Plugin, options: RunOptions) -> str:
    """Return the name of the tool to call.

    Raises:
        WrongUse: the plugin has no tool of that name, or has several and none was chosen.
    """
    return choose_name([tool.name for tool in plugin.tools], plugin.name, options)


def choose_name(names: Sequence[str], plugin: str, options: RunOptions) -> str:
    """Return which of the names of a plugin's tools is called.

    Raises:
        WrongUse: as `choose_tool`.
    """
    owner = f"plugin '{shown(plugin)}'"
    wanted = EXAMPLE_TOOL if options.tool is None and options.plugin is None else options.tool
    if not names:
        raise WrongUse(f"{owner} has no tools")
    if wanted is None and len(names) > 1:
        raise WrongUse(
            f"{owner} has {len(names)} tools, choose one with --tool: {name_list(names)}"
        )
    if wanted is not None and wanted not in names:
        raise WrongUse(f"{owner} has no tool '{shown(wanted)}'; it has: {name_list(names)}")
    return names[0] if wanted is None else wanted
