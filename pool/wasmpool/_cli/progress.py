"""The progress bar: on standard error, only on a terminal, and only if the input is not typed."""

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

    from .streams import OutputSink
    from .tally import Tally

__all__ = ["Bar"]

REDRAWN_EVERY = 0.1
"""Seconds; it looks smooth. Drawing blocks the loop for about a millisecond."""


@final
@attrs.define(eq=False)
class Bar:
    """One line at the bottom of the terminal, if standard error is one."""

    tally: Tally
    size: int | None
    """Of the input, in bytes. If it is known, the bar shows a percentage."""
    hidden: bool = False
    """True if it is never shown."""

    # Held while something is written to the terminal, so that the bar is not drawn in between.
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
            auto_refresh=False,  # a thread would draw while results are written
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
            return  # the terminal is gone, but the results may go elsewhere
        finally:
            self.hide()

    @asynccontextmanager
    async def out_of_the_way(self, sink: OutputSink) -> AsyncGenerator[None]:
        """A block that may write to `sink`; if that is a terminal, the bar is hidden first."""
        async with self._terminal:
            if sink.is_terminal:
                self.hide()
            yield

    def hide(self) -> None:
        """Hide the bar until it is drawn again."""
        if self._progress.live.is_started:  # otherwise it would write a newline
            with suppress(OSError):
                self._progress.stop()

    def _can_be_drawn(self) -> bool:
        # A dumb terminal, as in some editors, cannot erase a line.
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
