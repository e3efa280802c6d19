"""What the command asks for, and the way from there to the exit status.

Whatever can be wrong with it is looked at before the output is touched: a mistake leaves an
existing file as it is.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click

from wasmpool import (
    AbiError,
    CompileError,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    Limits,
    LinkError,
    PoolUnavailable,
    open_plugin,
)
from wasmpool.example import PATH as EXAMPLE

from .progress import Bar
from .run import Run
from .sample_text import SAMPLE_LINES
from .stop import Stop
from .streams import SampleSource, open_sink, open_source
from .table import print_table
from .tally import Tally

if TYPE_CHECKING:
    from wasmpool import Histogram, Plugin, Pool

    from .streams import Sink, Source

__all__ = ["Job", "WrongUse", "run_job"]

EXAMPLE_TOOL: Final = "word_count"

NO_PLUGIN = (AbiError, CompileError, GuestExit, GuestMemoryError, GuestTrap, LinkError)
"""What a file that does not serve as a plugin ends in."""


class WrongUse(click.ClickException):
    """The command asks for what cannot be done; nothing has been done."""

    exit_code = 2


@attrs.frozen(kw_only=True)
class Job:
    """The options of ``wasmpool run``."""

    plugin: str | None
    tool: str | None
    input: str | None
    output: str
    size: int
    tasks: int
    timeout: float | None
    """Seconds that each call may take."""


async def run_job(job: Job) -> int:
    """Do the job, print its table, return the exit status.

    Raises:
        WrongUse: it cannot be begun.
    """
    stop, tally = Stop(), Tally()
    pool: Pool | None = None
    calls: Histogram | None = None
    title = "wasmpool run"

    def note_calls() -> None:
        nonlocal calls
        if pool and calls is None:
            calls = pool.statistics().lease_seconds

    stop.notice = note_calls  # before the cancel, which ends calls too
    with stop.on_interrupt(), stop.scope:
        async with AsyncExitStack() as stack:
            source = await _source(stack, job)
            plugin = await _plugin(stack, job)
            tool = _tool(plugin, job)
            sink = await _sink(stack, job)
            pool, title = plugin.pool, f"wasmpool run: {tool} of {plugin.name}"
            _say_what_is_read(job, source)
            await Run(
                plugin=plugin,
                tool=tool,
                source=source,
                sink=sink,
                tasks=job.tasks,
                bar=Bar(tally, source.size, hidden=source.is_terminal),
                tally=tally,
                stop=stop,
            ).work()
            note_calls()
    statistics = pool.statistics() if pool else None
    print_table(title, tally, statistics, calls, interrupted=stop.is_interrupt)
    if stop.message:
        click.echo(f"Error: {stop.message}", err=True)
    if stop.status is not None:
        return stop.status
    return 1 if tally.failures else 0


async def _source(stack: AsyncExitStack, job: Job) -> Source:
    if job.input is None:
        return SampleSource()
    try:
        return await stack.enter_async_context(open_source(job.input))
    except OSError as error:
        raise WrongUse(f"the input {job.input} cannot be read: {error.strerror}") from error


def _say_what_is_read(job: Job, source: Source) -> None:
    if job.input is None:
        hint = f"no --input: working through {source.name} of {SAMPLE_LINES:,} lines"
        click.echo(f"{hint} (--input - reads standard input)", err=True)
    if source.is_terminal:
        click.echo("reading from the terminal; Ctrl-D ends", err=True)


async def _plugin(stack: AsyncExitStack, job: Job) -> Plugin:
    path = EXAMPLE if job.plugin is None else Path(job.plugin)
    try:
        limits = Limits(call_seconds=job.timeout)
    except ValueError as error:
        raise WrongUse(f"--timeout: {error}") from error
    try:
        return await stack.enter_async_context(open_plugin(path, size=job.size, limits=limits))
    except OSError as error:
        raise WrongUse(f"the plugin {path} cannot be read: {error.strerror}") from error
    except PoolUnavailable as error:  # the pool's own words say nothing to who has not opened one
        cause = error.__cause__ or error
        why = str(cause) or type(cause).__name__
        raise WrongUse(f"{path} cannot be used as a plugin: {why}") from error
    except NO_PLUGIN as error:
        raise WrongUse(f"{path} cannot be used as a plugin: {error}") from error


def _tool(plugin: Plugin, job: Job) -> str:
    names = [tool.name for tool in plugin.tools]
    choice = ", ".join(names)
    wanted = EXAMPLE_TOOL if job.tool is None and job.plugin is None else job.tool
    if not names:
        raise WrongUse(f"plugin {plugin.name!r} has no tools")
    if wanted is None and len(names) > 1:
        raise WrongUse(
            f"plugin {plugin.name!r} has {len(names)} tools, choose one by --tool: {choice}"
        )
    if wanted is not None and wanted not in names:
        raise WrongUse(f"plugin {plugin.name!r} has no tool {wanted!r}; it has: {choice}")
    return names[0] if wanted is None else wanted


async def _sink(stack: AsyncExitStack, job: Job) -> Sink:
    if job.input is not None and _same_file(Path(job.input), Path(job.output)):
        raise WrongUse(f"the output {job.output} is the input too, which would be lost")
    try:
        return await stack.enter_async_context(open_sink(job.output))
    except OSError as error:
        raise WrongUse(f"the output {job.output} cannot be written: {error.strerror}") from error


def _same_file(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.samefile(other)
