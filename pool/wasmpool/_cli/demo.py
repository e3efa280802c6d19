"""``wasmpool demo``: what the pool is for, in ten seconds, on a terminal or as plain text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import trio
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.text import Text

from .demo_race import CALLS, Kind, new_sides, run_race
from .standard_streams import write_out

if TYPE_CHECKING:
    from .demo_race import Cell, Side

__all__ = ["run_demo"]

DRAWN_EVERY: Final = 0.08
"""Seconds; it looks smooth."""
WIDTH: Final = 38
"""Columns of one panel; two fit into a terminal of 80 columns."""

COLOURS: Final = {Kind.WAIT: "cyan", Kind.COMPUTE: "green", Kind.SPIN: "red"}
LETTERS: Final = {Kind.WAIT: "w", Kind.COMPUTE: "c", Kind.SPIN: "S"}

NEXT: Final = """
Try next:
  wasmpool run                   call a plugin once for each line of a text
  wasmpool inspect FILE.wasm     see what a module imports and exports
  wasmpool run --help            see how to use your own plugin and input
"""


async def run_demo() -> int:
    """Run the race, show it, and return the exit status.

    Raises:
        OutputFailed: standard output cannot be written.
    """
    sides = new_sides()
    if _is_live():
        await _run_live(*sides)
    else:
        await run_race(*sides)
    write_out(_summary(*sides))
    return 0


def _is_live() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and Console().is_interactive


async def _run_live(locked: Side, pooled: Side) -> None:
    # No automatic refresh: rich's thread would read what the race is changing.
    with Live(_picture(locked, pooled), auto_refresh=False) as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_drawn, live, locked, pooled)
            await run_race(locked, pooled)
            nursery.cancel_scope.cancel()
        live.update(_picture(locked, pooled), refresh=True)


async def _keep_drawn(live: Live, locked: Side, pooled: Side) -> None:
    while True:
        await trio.sleep(DRAWN_EVERY)
        live.update(_picture(locked, pooled), refresh=True)


def _picture(locked: Side, pooled: Side) -> Group:
    legend = Text.assemble(
        (" w ", "black on cyan"), " waits for its host  ",
        (" c ", "black on green"), " computes  ",
        (" S ", "black on red"), " never ends, until it is stopped  ",
        (" . ", "dim"), " idle  ", (" ' ", "dim"), " new version",
    )  # fmt: skip
    return Group(Columns([_panel(locked), _panel(pooled)]), legend)


def _panel(side: Side) -> Panel:
    strip = Text()
    for cell in side.cells:
        strip.append_text(_block(cell))
    served = "..." if side.reloaded is None else f"after {side.reloaded:.2f} s"
    body = Group(
        strip,
        Text(f"{side.done:3} of {CALLS} calls, {side.seconds:5.2f} s"),
        Text(f"new version serves {served}"),
        ProgressBar(
            total=CALLS, completed=side.done, width=WIDTH - 4
        ),  # does not end with a newline
    )
    return Panel(body, title=side.title, width=WIDTH)


def _block(cell: Cell) -> Text:
    """Two columns: a letter for the kind of call, and `'` for an instance of the new version."""
    letter = "." if cell.kind is None else LETTERS[cell.kind]
    version = "'" if cell.generation > 1 else " "
    style = "dim" if cell.kind is None else f"black on {COLOURS[cell.kind]}"
    return Text(letter + version, style=style)


def _summary(locked: Side, pooled: Side) -> str:
    lines = [
        f"{CALLS} calls at once: most wait for their host, some compute, one never ends.",
        *(_line(side) for side in (locked, pooled)),
    ]
    return "\n".join(lines) + "\n" + NEXT


def _line(side: Side) -> str:
    assert side.took is not None
    assert side.reloaded is not None
    return (
        f"  {side.title + ':':28} {side.took:5.2f} s,"
        f" a new version serves after {side.reloaded:.2f} s"
    )
