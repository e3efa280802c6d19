"""The guest of a job: one tool of a plugin, of an Extism plugin too, or a program."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol, final

import attrs

from wasmpool import (
    Component,
    GuestExit,
    GuestTrap,
    LinkError,
    Module,
    Plugin,
    Pool,
    open_pool,
)
from wasmpool._extism.recognise import is_extism
from wasmpool._plugin.module_kind import is_program
from wasmpool._plugin.options import check_options, copy_credentials, new_environment
from wasmpool._plugin.plugin import load_plugin
from wasmpool_host.lowlevel import escaped

from .choice import choose_tool
from .rows import LONGEST_LINE, BadLine, arguments, as_text, check_length

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wasmpool import ToolResult
    from wasmpool._lines import Line
    from wasmpool._plugin.options import PluginOptions
    from wasmpool_host.lowlevel import Source

    from .extism_tool import ExtismTool
    from .job import Job

__all__ = [
    "Answer",
    "Guest",
    "PluginTool",
    "Program",
    "is_program_source",
    "open_guest",
]

_log = logging.getLogger("wasmpool.guest.stderr")

_MOST_LOGGED: Final = 8 << 10
"""Bytes of the standard error of one run that are logged: as many as one record of a guest has."""
_MOST_LINES: Final = 64


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
        _log_lines(done.stderr)
        if "stdout" in done.truncated:
            raise BadLine(f"the output is too long: above the limit of {LONGEST_LINE} bytes")
        return Output(as_text(done.stdout, "the output"))


def _log_lines(printed: bytes) -> None:
    """Log what a program has printed: each line is a record, and there is an end to them."""
    if not printed:
        return
    *lines, rest = printed[:_MOST_LOGGED].split(b"\n", _MOST_LINES)
    if rest and len(lines) < _MOST_LINES:
        lines.append(rest)
    for line in lines:
        _log.warning("%s", escaped(line.decode(errors="backslashreplace"), tabs=True))
    left = len(printed) - len(b"\n".join(lines)) - 1
    if left > 0:
        _log.warning("... (%s more bytes)", f"{left:,}")


def is_program_source(source: Source) -> bool:
    """Return True for the source of a program, and False for what can at most be a plugin."""
    if source.is_component:  # no plugin is one
        return True
    if is_extism(source):
        return False
    return source.outline is not None and is_program(source.outline.exports)


@asynccontextmanager
async def open_guest(
    job: Job, source: Source, *, choose: str = "tool="
) -> AsyncGenerator[PluginTool | ExtismTool | Program]:
    """Open the guest of a job.

    Args:
        job: its ``tool`` may be None for a plugin with one tool.
        source: the module, as it was read from the job's file.
        choose: how its user chooses a tool, for messages.

    Raises:
        NoSuchTool: the plugin has not the tool, or has several and none is chosen.
        Exception: as `Module.compile`, `Component.compile` and `open_pool` for a program, as
            `open_extism` or `open_plugin` otherwise.
    """
    async with AsyncExitStack() as stack:
        if is_program_source(source):
            module = await _compile_program(source, job)
            pool = await stack.enter_async_context(open_pool(module, size=job.size))
            yield Program(pool, job.args)
        elif is_extism(source):
            from .extism_tool import open_extism_tool  # noqa: PLC0415 - as told there

            yield await open_extism_tool(stack, source, job, _plugin_options(job), choose)
        else:
            options = check_options("open_plugin", _plugin_options(job))
            environment = new_environment(options)
            credentials = copy_credentials(job.credentials)
            loading = load_plugin(source, environment, None, credentials, options)
            plugin = await stack.enter_async_context(loading)
            yield PluginTool(plugin, choose_tool(plugin, job.tool, choose))


async def _compile_program(source: Source, job: Job) -> Module | Component:
    if not source.is_component:
        return await Module.compile(source, limits=job.limits, cache=job.cache)
    component = await Component.compile(source, limits=job.limits, cache=job.cache)
    if not component.is_program:
        raise LinkError(f"{component} is no program: it exports no wasi:cli/run of version 0.2")
    return component


def _plugin_options(job: Job) -> PluginOptions:
    options: PluginOptions = {
        "size": job.size,
        "max_uses": job.max_uses,
        "pristine": job.pristine,
        "limits": job.limits,
        "cache": job.cache,
    }
    if job.http is not None:
        options["http"] = job.http
    return options
