"""The table at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from .shown import shown
from .standard_streams import write_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wasmpool import Histogram, PoolStatistics

    from .tally import Tally

__all__ = ["print_table"]


def print_table(  # noqa: PLR0913 - the parts of the table
    title: str,
    tally: Tally,
    pool: PoolStatistics | None,
    calls: Histogram | None,
    facts: Iterable[tuple[str, str]],
    *,
    interrupted: bool,
) -> None:
    """Print the table to standard error.

    Args:
        title: what ran; not trusted, as the plugin's name could look like markup.
        tally: the counts of the run.
        pool: the pool's statistics at the end; None if the run was stopped before there was a pool.
        calls: the times of calls that the end of the run did not cut off.
        facts: names and values to show besides.
        interrupted: True if Ctrl-C ended the run.

    Raises:
        OutputFailed: standard error cannot be written.
    """
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    if interrupted:
        table.add_row("interrupted", "by Ctrl-C")
    for row in _rows(tally, pool, calls):
        table.add_row(*row)
    for name, value in facts:
        table.add_row(shown(name), shown(value))
    console = Console(stderr=True)
    # Rich only renders: if it wrote to a closed pipe, it would end the process.
    with console.capture() as drawn:
        console.print(table)
    write_error(f"{shown(title)}\n{drawn.get()}")


def _rows(
    tally: Tally, pool: PoolStatistics | None, calls: Histogram | None
) -> Iterator[tuple[str, str]]:
    rate = tally.calls / tally.seconds if tally.seconds else 0.0
    yield "calls", str(tally.calls)
    yield "failures", str(tally.failures)
    if tally.kept:
        yield "lines of earlier runs", str(tally.kept)
        yield "  failures", str(tally.kept_failures)
    yield "seconds", f"{tally.seconds:.3f}"
    yield "calls per second", f"{rate:.0f}"
    if pool is None or calls is None:
        return
    yield "p50 of the call", _quantile(calls, 0.5)
    yield "p99 of the call", _quantile(calls, 0.99)
    yield "instances started", str(pool.started)
    yield "instances retired", str(pool.closed)
    for reason, count in pool.retired.items():
        if count:
            yield f"  {reason}", str(count)


def _quantile(calls: Histogram, share: float) -> str:
    if not calls.count:
        return "-"
    seconds = calls.quantile(share)
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
