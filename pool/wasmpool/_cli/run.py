"""One run: it reads lines, has them answered, and writes the results in the order of the input.

The calls are made as those of `Plugin.map` (`_in_order.py`), with a window that also bounds bytes.
A writer takes finished rows from its front.

A run is stopped by cancelling the scope around it. The writer is shielded from the cancel: the
finished rows before the first unfinished one are still written, within `LAST_WRITE` seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

import attrs
import trio

from wasmpool._in_order import InOrder
from wasmpool._lines import Line, LineSplitter
from wasmpool._window import Window

from .output_row import OutputRow
from .rows import LONGEST_LINE, data_row, error_row
from .standard_streams import reason_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .progress import Bar
    from .run_stop import RunStop
    from .streams import InputSource, OutputSink
    from .tally import Tally

__all__ = ["Answer", "Answering", "Run"]

ROWS_PER_TASK = 8
"""Rows in the window per caller: how far other calls can get ahead of a slow one."""

WINDOW_SIZE = 32 * 1024 * 1024
"""Bytes of input and results in the window: two lines of the maximum length."""

LAST_WRITE = 1.0
"""Seconds that a stopped run may still write; Ctrl-C should end it promptly."""


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


class Answering(Protocol):
    """What a run needs of a plugin or a program."""

    async def answer(self, line: Line, /) -> Answer:
        """Answer a line. An exception is an answer as well: its message is the error."""
        ...


@final
@attrs.define(eq=False, kw_only=True)
class Run:
    """One input, worked through with one tool of a plugin, or with a program."""

    guest: Answering
    source: InputSource
    sink: OutputSink
    tasks: int
    bar: Bar
    tally: Tally
    stop: RunStop

    _calls: InOrder[Line, OutputRow] = attrs.field(init=False)
    _lines: LineSplitter = attrs.field(init=False, factory=lambda: LineSplitter(LONGEST_LINE))
    _writing: trio.CancelScope = attrs.field(
        init=False, factory=lambda: trio.CancelScope(shield=True)
    )
    _written: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        window = Window[Line, OutputRow](rows=self.tasks * ROWS_PER_TASK, size=WINDOW_SIZE)
        self._calls = InOrder(
            function=self._answer,
            calls=self.tasks,
            window=window,
            weigh_item=lambda line: len(line.content),
            weigh_outcome=lambda row: len(row.content),
        )

    async def work(self) -> None:
        """Answer each line; returns when all is written, or soon after a stop."""
        self.tally.start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self.bar.keep_fresh)
                try:
                    await self._calls.work(self._read())
                    await self._written.wait()
                finally:
                    self._writing.deadline = trio.current_time() + LAST_WRITE
                nursery.cancel_scope.cancel()
        finally:
            self.tally.end()

    async def _read(self) -> AsyncGenerator[Line]:
        try:
            while chunk := await self.source.read():
                for line in self._lines.feed(chunk):
                    yield line
        except OSError as error:
            self.stop.input_failed(f"{self.source.name} cannot be read: {reason_of(error)}")
            return
        for line in self._lines.end():
            yield line

    async def _answer(self, line: Line) -> OutputRow:
        try:
            result = await self.guest.answer(line)
        except Exception as error:  # noqa: BLE001 - a line that fails must not stop the run
            content = error_row(str(error) or type(error).__name__)
            return OutputRow(content, failed=True, size=line.size)
        content = error_row(result.data) if result.is_error else data_row(result.data)
        return OutputRow(content, failed=result.is_error, size=line.size)

    async def _write(self) -> None:
        with self._writing:
            try:
                while rows := await self._calls.window.take():
                    async with self.bar.out_of_the_way(self.sink):
                        await self.sink.write(b"".join(row.content for row in rows))
                    self.tally.count(rows)
            except BrokenPipeError:
                self.stop.output_closed()
            except OSError as error:
                self.stop.output_failed(f"{self.sink.name} cannot be written: {reason_of(error)}")
        self._written.set()
