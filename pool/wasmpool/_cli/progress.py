"""The progress bar: on standard error, only while somebody watches it and types nothing."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, final

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .streams import Sink
    from .tally import Tally

__all__ = ["Bar"]

REDRAWN_EVERY = 0.1
"""Seconds. Quick enough for the eye; a drawing costs about a millisecond of the loop."""


@final
@attrs.define(eq=False)
class Bar:
    """One line at the foot of the terminal; nothing at all where standard error cannot show it."""

    tally: Tally
    size: int | None
    """Of the input, in bytes, if it is known: then there is a percentage."""
    hidden: bool = False
    """Whether it would be in the way from beginning to end."""

    # Held while something is written to the terminal: the bar is not drawn into the middle of it.
    _terminal: trio.Lock = attrs.field(init=False, factory=trio.Lock)
    _progress: Progress = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[calls]} calls, {task.fields[failures]} failed"),
            BarColumn(),
            *([TextColumn("{task.percentage:>3.0f} %")] if self.size is not None else []),
            TimeElapsedColumn(),
            *([TimeRemainingColumn()] if self.size is not None else []),
            console=Console(stderr=True),
            auto_refresh=False,  # its thread would draw while results are written
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.add_task("", total=self.size, calls=0, failures=0)

    async def keep_fresh(self) -> None:
        """Draw the bar until cancelled."""
        if self.hidden or not self._can_be_drawn():
            return
        try:
            while True:
                async with self._terminal:
                    self._draw()
                await trio.sleep(REDRAWN_EVERY)
        except OSError:
            return  # a terminal that is gone needs no bar; the results may go elsewhere
        finally:
            self.hide()

    @asynccontextmanager
    async def out_of_the_way(self, sink: Sink) -> AsyncGenerator[None]:
        """Room to write to `sink`: where that is a terminal, the bar goes and comes back later."""
        async with self._terminal:
            if sink.is_terminal:
                self.hide()
            yield

    def hide(self) -> None:
        """Take the bar away, until it is drawn the next time."""
        if self._progress.live.is_started:  # else it would write a line's ending
            with suppress(OSError):
                self._progress.stop()

    def _can_be_drawn(self) -> bool:
        # A dumb terminal, as some editors have, cannot take a line back.
        return (
            sys.stderr is not None and sys.stderr.isatty() and self._progress.console.is_interactive
        )

    def _draw(self) -> None:
        for task in self._progress.task_ids:
            self._progress.update(
                task,
                completed=self.tally.size,
                calls=self.tally.calls,
                failures=self.tally.failures,
            )
        self._progress.start()
        self._progress.refresh()
