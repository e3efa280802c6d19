"""The guest of a job: one tool of a plugin, or a program. It answers lines."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Protocol, final

import attrs

from wasmpool import GuestExit, GuestTrap, Module, Plugin, Pool, open_pool
from wasmpool._plugin.module_kind import is_program
from wasmpool._plugin.options import check_options, copy_credentials, new_environment
from wasmpool._plugin.plugin import load_plugin

from .choice import choose_tool
from .rows import LONGEST_LINE, BadLine, arguments, as_text, check_length

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wasmpool import ToolResult
    from wasmpool._lines import Line
    from wasmpool._plugin.options import PluginOptions
    from wasmpool_host.lowlevel import Source

    from .job import Job

__all__ = ["Answer", "Guest", "PluginTool", "Program", "is_program_source", "open_guest"]

_log = logging.getLogger("wasmpool.guest.stderr")


class Answer(Protocol):
    """The answer to a line."""

    @property
    def data(self) -> str:
        """The text, or the error message."""
        ...

    @property
    def is_error(self) -> bool:
        """True if it is an error."""
        ...


class Guest(Protocol):
    """What answers lines."""

    async def answer(self, line: Line, /) -> Answer:
        """Answer a line. An exception is an answer as well: its message is the error."""
        ...


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


@final
@attrs.frozen
class Output:
    """What a run printed, or how it failed."""

    data: str
    is_error: bool = False


@final
@attrs.frozen
class Program:
    """A program on a pool."""

    pool: Pool
    args: tuple[str, ...]
    tool: None = attrs.field(init=False, default=None)

    @property
    def title(self) -> str:
        """What runs."""
        return self.args[0]

    async def answer(self, line: Line, /) -> Output:
        """Run the program with the line, its ending included, as standard input.

        Raises:
            BadLine: the line is too long, or the output is too long or not UTF-8.
            WasmpoolError: there was no instance, or the run took too long.
        """
        check_length(line)
        stdin = line.content + line.ending
        try:
            done = await self.pool.run(
                self.args, stdin=stdin, capture_limit=LONGEST_LINE, check=True
            )
        except (GuestExit, GuestTrap) as error:
            # A note has the last lines of standard error: there the program says what it was.
            return Output("\n".join([str(error), *getattr(error, "__notes__", ())]), is_error=True)
        if done.stderr:
            _log.warning("%s", done.stderr.decode(errors="backslashreplace"))
        if "stdout" in done.truncated:
            raise BadLine(f"the output is too long: above the limit of {LONGEST_LINE} bytes")
        return Output(as_text(done.stdout, "the output"))


def is_program_source(source: Source) -> bool:
    """Return True for the source of a program, and False for what can at most be a plugin."""
    return source.outline is not None and is_program(source.outline.exports)


@asynccontextmanager
async def open_guest(
    job: Job, source: Source, *, choose: str = "tool="
) -> AsyncGenerator[PluginTool | Program]:
    """Open the guest of a job.

    Args:
        job: its ``tool`` may be None for a plugin with one tool.
        source: the module, as it was read from the job's file.
        choose: how its user chooses a tool, for messages.

    Raises:
        NoSuchTool: the plugin has not the tool, or has several and none is chosen.
        Exception: as `Module.compile` and `open_pool` for a program, as `open_plugin` otherwise.
    """
    async with AsyncExitStack() as stack:
        if is_program_source(source):
            module = await Module.compile(source, limits=job.limits, cache=job.cache)
            pool = await stack.enter_async_context(open_pool(module, size=job.size))
            yield Program(pool, job.args)
            return
        options = check_options("open_plugin", _plugin_options(job))
        environment = new_environment(options)
        credentials = copy_credentials(job.credentials)
        loading = load_plugin(source, environment, None, credentials, options)
        plugin = await stack.enter_async_context(loading)
        yield PluginTool(plugin, choose_tool(plugin, job.tool, choose))


def _plugin_options(job: Job) -> PluginOptions:
    options: PluginOptions = {
        "size": job.size,
        "max_uses": job.max_uses,
        "limits": job.limits,
        "cache": job.cache,
    }
    if job.http is not None:
        options["http"] = job.http
    return options
