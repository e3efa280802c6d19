"""One run: it reads lines, has them answered, and writes the results in the order of the input.

A reader admits lines to a window (`window.py`), callers answer them, and a writer takes finished
rows from its front. They wait for each other, so the slowest sets the pace, and memory stays
bounded. A caller is started when a line finds no free one, up to `tasks` callers, so a large limit
costs nothing for a small input.

A run is stopped by cancelling the scope around it. The writer is shielded from the cancel: the
finished rows before the first unfinished one are still written, within `LAST_WRITE` seconds.
"""

from __future__ import annotations

import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, final

import attrs
import trio

from wasmpool._lines import Line, LineSplitter

from .rows import LONGEST_LINE, data_row, error_row
from .standard_streams import reason_of
from .window import Row, Window

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

    _window: Window = attrs.field(init=False)
    _lines: LineSplitter = attrs.field(init=False, factory=lambda: LineSplitter(LONGEST_LINE))
    _writing: trio.CancelScope = attrs.field(
        init=False, factory=lambda: trio.CancelScope(shield=True)
    )
    _written: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._window = Window(rows=self.tasks * ROWS_PER_TASK, size=WINDOW_SIZE)

    async def work(self) -> None:
        """Answer each line; returns when all is written, or soon after a stop."""
        self.tally.start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self.bar.keep_fresh)
                try:
                    await self._call()
                    self._window.end()
                    await self._written.wait()
                finally:
                    self._window.end()
                    self._writing.deadline = trio.current_time() + LAST_WRITE
                nursery.cancel_scope.cancel()
        finally:
            self.tally.end()

    async def _call(self) -> None:
        # The channel needs no limit: the window limits it.
        asking, asked = trio.open_memory_channel[tuple[Line, Row]](math.inf)
        callers = 0
        async with trio.open_nursery() as nursery, asking, aclosing(self._read()) as lines:
            async for line in lines:
                row = await self._window.admit(line)
                asking.send_nowait((line, row))
                if callers < self.tasks and asked.statistics().current_buffer_used:
                    nursery.start_soon(self._answer_lines, asked)
                    callers += 1
                    await (
                        trio.lowlevel.checkpoint()
                    )  # so that it may be free again for the next line

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

    async def _answer_lines(self, asked: trio.MemoryReceiveChannel[tuple[Line, Row]]) -> None:
        async for line, row in asked:
            result, failed = await self._answer(line)
            self._window.finish(row, result, failed=failed)
            del line, row, result  # an idle task must not keep them in memory

    async def _answer(self, line: Line) -> tuple[bytes, bool]:
        try:
            result = await self.guest.answer(line)
        except Exception as error:  # noqa: BLE001 - a line that fails must not stop the run
            return error_row(str(error) or type(error).__name__), True
        if result.is_error:
            return error_row(result.data), True
        return data_row(result.data), False

    async def _write(self) -> None:
        with self._writing:
            try:
                while rows := await self._window.take():
                    async with self.bar.out_of_the_way(self.sink):
                        await self.sink.write(b"".join(row.result for row in rows))
                    self.tally.count(rows)
            except BrokenPipeError:
                self.stop.output_closed()
            except OSError as error:
                self.stop.output_failed(f"{self.sink.name} cannot be written: {reason_of(error)}")
        self._written.set()
