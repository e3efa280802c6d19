"""What the command asks for, and the way from there to the exit status.

Whatever can be wrong with it is looked at before the output is touched: a mistake leaves an
existing file as it is.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from wasmpool.example import PATH as EXAMPLE

from .ends import open_input, open_output
from .log import show_log
from .plugin import choose_tool, open_job_plugin
from .preview import PREVIEW_ROWS, Preview
from .progress import Bar
from .run import Run
from .sample_text import SAMPLE_LINES
from .shown import shown, shown_lines
from .standard import OutputFailed, write_error
from .stop import Stop
from .table import print_table
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmpool import Histogram, Pool

    from .streams import Sink, Source

__all__ = ["Job", "run_job"]


@attrs.frozen(kw_only=True)
class Job:
    """The options of ``wasmpool run``."""

    plugin: str | None
    tool: str | None
    input: str | None
    output: str | None
    size: int
    tasks: int
    timeout: float | None
    """Seconds that each call may take."""
    allow_hosts: tuple[str, ...] = ()
    """Where the plugin's HTTP requests may go."""
    credentials: Mapping[str, str] | None = None
    max_uses: int | None = None
    """Calls after which an instance is replaced."""
    memory: int | None = None
    """Bytes of linear memory that an instance may have."""

    @property
    def path(self) -> Path:
        """The plugin's file."""
        return EXAMPLE if self.plugin is None else Path(self.plugin)

    @property
    def plugin_name(self) -> str:
        """What errors call that file."""
        return shown(str(EXAMPLE) if self.plugin is None else self.plugin)

    @property
    def reads_sample(self) -> bool:
        """Whether the input is the generated text."""
        return self.plugin is None and self.input is None


async def run_job(job: Job) -> int:
    """Do the job, print its table, return the exit status.

    Raises:
        WrongUse: it cannot be begun.
        OutputFailed: standard error takes no messages.
    """
    log, stop, tally = show_log(), Stop(), Tally()
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
            plugin = await open_job_plugin(stack, job)
            tool = choose_tool(plugin, job)
            source = await open_input(stack, job)
            sink = await open_output(stack, job, source)
            pool, title = plugin.pool, f"wasmpool run: {tool} of {plugin.name}"
            _say_what_is_read(job, source, sink)
            bar = Bar(tally, source.size, hidden=source.is_terminal)
            log.make_room = bar.hide
            await Run(
                plugin=plugin,
                tool=tool,
                source=source,
                sink=sink,
                tasks=job.tasks,
                bar=bar,
                tally=tally,
                stop=stop,
            ).work()
            note_calls()
    statistics = pool.statistics() if pool else None
    status = stop.status if stop.status is not None else int(tally.failures > 0)
    try:
        print_table(title, tally, statistics, calls, interrupted=stop.is_interrupt)
        if stop.message:
            write_error(f"Error: {shown_lines(stop.message)}\n")
    except OutputFailed:
        if stop.status is None:
            raise
    return status


def _say_what_is_read(job: Job, source: Source, sink: Sink) -> None:
    if job.reads_sample:
        hint = f"no --input: working through {source.name} of {SAMPLE_LINES:,} lines"
        if isinstance(sink, Preview):
            hint += f"; the first {PREVIEW_ROWS} results are shown, --output FILE keeps all"
        write_error(f"{hint} (--input - reads standard input)\n")
    if source.is_terminal:
        write_error("reading from the terminal; Ctrl-D ends\n")
