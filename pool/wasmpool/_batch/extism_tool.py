"""One tool of an Extism plugin: it answers lines. Few jobs need it, so it is imported late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

import attrs

from wasmpool import ExtismError, ExtismPlugin, Pool, ToolResult, open_extism
from wasmpool._extism.tools import as_text, tool_names

from .choice import choose_name
from .rows import check_length

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from wasmpool._lines import Line
    from wasmpool._plugin.options import PluginOptions
    from wasmpool_host.lowlevel import Source

    from .job import Job

__all__ = ["ExtismTool", "open_extism_tool"]


@final
@attrs.frozen
class ExtismTool:
    """One export of an Extism plugin."""

    plugin: ExtismPlugin
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
        """Call the export with the line, without its ending, as it stands.

        Raises:
            BadLine: the line is too long.
            Exception: as `ExtismPlugin.call`, but for an error of the guest's own.
        """
        check_length(line)
        try:
            return ToolResult(as_text(await self.plugin.call(self.tool, line.content)))
        except ExtismError as error:
            return ToolResult(error.text or str(error), is_error=True)


async def open_extism_tool(
    stack: AsyncExitStack, source: Source, job: Job, options: PluginOptions, choose: str
) -> ExtismTool:
    """Open the plugin of a job, until the stack is closed, and choose what is called.

    Raises:
        NoSuchTool, Exception: as `open_guest`.
    """
    options.setdefault("http", None)  # no host, unless the user allows one
    name = Path(job.file).stem
    opening = open_extism(source, name=name, config=job.credentials, **options)
    plugin = await stack.enter_async_context(opening)
    names = tool_names(plugin.exports)
    return ExtismTool(plugin, choose_name(names, plugin.name, job.tool, choose))
