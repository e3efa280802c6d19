"""The Extism plugin of a run, and the export that is called: each line is the input of one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from wasmpool import ExtismError, PoolUnavailable, ToolResult, open_extism
from wasmpool._extism.tools import as_text, tool_names

from .rows import check_length
from .run_plugin import NOT_A_PLUGIN, choose_name, plugin_options
from .standard_streams import reason_of
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from wasmpool import ExtismPlugin, Pool
    from wasmpool._lines import Line
    from wasmpool_host.lowlevel import Source

    from .run_options import RunOptions

__all__ = ["ExtismTool", "open_run_extism"]


@final
@attrs.frozen
class ExtismTool:
    """One export of an Extism plugin."""

    plugin: ExtismPlugin
    export: str

    @property
    def pool(self) -> Pool:
        """The plugin's pool."""
        return self.plugin.pool

    @property
    def title(self) -> str:
        """What is called."""
        return f"{self.export} of {self.plugin.name}"

    async def answer(self, line: Line, /) -> ToolResult:
        """Call the export with the line, without its ending, as it stands.

        Raises:
            BadLine: the line is too long.
            Exception: as `ExtismPlugin.call`, but for an error of the guest's own.
        """
        check_length(line)
        try:
            return ToolResult(as_text(await self.plugin.call(self.export, line.content)))
        except ExtismError as error:
            return ToolResult(error.text or str(error), is_error=True)


async def open_run_extism(stack: AsyncExitStack, options: RunOptions, source: Source) -> ExtismTool:
    """Open the plugin, until the stack is closed, and choose what is called.

    Raises:
        WrongUse: it cannot be used as an Extism plugin.
    """
    name = options.plugin_name
    chosen = plugin_options(options)
    chosen.setdefault("http", None)  # else its manifest decides
    try:
        opening = open_extism(source, name=options.path.stem, config=options.credentials, **chosen)
        plugin = await stack.enter_async_context(opening)
        exports = tool_names(plugin.exports)
    except OSError as error:
        raise WrongUse(f"a file of {name} cannot be read: {reason_of(error)}") from error
    except PoolUnavailable as error:  # users of the command do not know of the pool
        cause = error.__cause__ or error
        why = str(cause) or type(cause).__name__
        raise WrongUse(f"{name} cannot be used as an Extism plugin: {why}") from error
    except (*NOT_A_PLUGIN, ValueError) as error:
        raise WrongUse(f"{name} cannot be used as an Extism plugin: {error}") from error
    return ExtismTool(plugin, choose_name(exports, plugin.name, options))
