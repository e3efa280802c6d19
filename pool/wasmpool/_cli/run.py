"""One run: it has the lines of an input answered, and writes the results in their order.

The rows come from `OrderedRows`. A run is stopped by cancelling the scope around it. The writer is
shielded from the cancel: the finished rows before the first unfinished one are still written,
within `LAST_WRITE` seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio

from wasmpool._batch.places import PlacesFailed

from .standard_streams import reason_of

if TYPE_CHECKING:
    from wasmpool._batch.ordered import Done, OrderedRows

    from .progress import Bar
    from .results import Results
    from .run_stop import RunStop
    from .streams import InputSource
    from .tally import Tally

__all__ = ["Run"]

LAST_WRITE = 1.0
"""Seconds that a stopped run may still write; Ctrl-C should end it promptly."""


@final
@attrs.define(eq=False, kw_only=True)
class Run:
    """One input, worked through with one tool of a plugin, or with a program."""

    rows: OrderedRows
    source: InputSource
    results: Results
    bar: Bar
    tally: Tally
    stop: RunStop

    _writing: trio.CancelScope = attrs.field(
        init=False, factory=lambda: trio.CancelScope(shield=True)
    )
    _written: trio.Event = attrs.field(init=False, factory=trio.Event)

    async def work(self) -> None:
        """Answer each line; returns when all is written, or soon after a stop."""
        self.tally.start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self.bar.keep_fresh)
                try:
                    await self.rows.work()
                    await self._written.wait()
                finally:
                    self._writing.deadline = trio.current_time() + LAST_WRITE
                nursery.cancel_scope.cancel()
        finally:
            self.tally.end()

    async def _write(self) -> None:
        with self._writing:
            try:
                while done := await self._take():
                    async with self.bar.out_of_the_way(self.results.output):
                        await self.results.write(done)
                    self.tally.count(done)
                await self.results.finish()
            except BrokenPipeError:
                self.stop.output_closed()
            except OSError as error:
                name = self.results.writes
                self.stop.output_failed(f"{name} cannot be written: {reason_of(error)}")
        self._written.set()

    async def _take(self) -> list[Done]:
        try:
            return await self.rows.take()
        except OSError as error:
            self.stop.input_failed(f"{self.source.name} cannot be read: {reason_of(error)}")
        except PlacesFailed as failed:
            self.stop.places_failed(str(failed))
        return []
