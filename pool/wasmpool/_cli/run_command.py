"""``wasmpool run``: from its options to the exit status.

All options are checked before the output is touched, so a mistake leaves an existing file as it is.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from wasmpool._batch.ordered import OrderedRows

from .begin import RunFiles, begin, shows_few
from .input_output import open_input, open_output
from .log import show_log
from .preview import PREVIEW_ROWS
from .progress import Bar
from .run import Run
from .run_places import prepare_places
from .run_stop import RunStop
from .sample_text import SAMPLE_LINES
from .shown import shown_lines
from .standard_streams import OutputFailed, write_error
from .table import print_table
from .tally import Tally

if TYPE_CHECKING:
    from wasmpool import Histogram, Pool
    from wasmpool._batch.places import Places

    from .run_options import RunOptions
    from .streams import FileSink, InputSource

__all__ = ["run_lines"]


async def run_lines(options: RunOptions) -> int:
    """Run the command, print the table, and return the exit status.

    Raises:
        WrongUse: the run cannot start.
        OutputFailed: standard error cannot be written.
    """
    log, stop, tally = show_log(), RunStop(), Tally()
    pool: Pool | None = None
    calls: Histogram | None = None
    title = "wasmpool run"
    places: Places | None = None

    def note_calls() -> None:
        nonlocal calls
        if pool and calls is None:
            calls = pool.statistics().lease_seconds

    stop.notice = note_calls  # before the cancel, which also ends calls
    with stop.on_interrupt(), stop.scope:
        async with AsyncExitStack() as stack:
            prepared = await prepare_places(stack, options)
            source = await open_input(stack, options)
            sink, errors = await open_output(stack, options, source)
            pool, title = prepared.pool, f"wasmpool run: {prepared.title}"
            _print_hint(options, source, sink)
            begun = await begin(options, prepared, RunFiles(source, sink, errors))
            tally.go_on(begun.kept, begun.skipped)
            bar = Bar(tally, source.size, hidden=source.is_terminal)
            log.make_room = bar.hide
            places = await stack.enter_async_context(prepared.opening)
            rows = OrderedRows(
                places,
                begun.blocks,
                numbered=options.numbered,
                retries=options.retries,
                first_line=begun.kept.count + 1,
                tasks=options.tasks,
            )
            run = Run(
                rows=rows, source=source, results=begun.results, bar=bar, tally=tally, stop=stop
            )
            await run.work()
            note_calls()
    statistics = pool.statistics() if pool else None
    facts = places.facts() if places else ()
    status = (
        stop.status if stop.status is not None else int(tally.failures + tally.kept_failures > 0)
    )
    try:
        print_table(title, tally, statistics, calls, facts, interrupted=stop.is_interrupt)
        if stop.message:
            write_error(f"Error: {shown_lines(stop.message)}\n")
    except OutputFailed:
        if stop.status is None:
            raise
    return status


def _print_hint(options: RunOptions, source: InputSource, sink: FileSink) -> None:
    if options.reads_sample:
        hint = f"no --input: the input is a generated text of {SAMPLE_LINES:,} lines"
        if shows_few(options, sink):
            hint += f"; the first {PREVIEW_ROWS} results are shown, --output FILE keeps all"
        write_error(f"{hint} (--input - reads standard input)\n")
    if source.is_terminal:
        write_error("reading lines from the terminal; Ctrl-D ends the input\n")
