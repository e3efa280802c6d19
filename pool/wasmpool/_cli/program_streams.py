"""The standard streams of this process, as a program has them.

A program reads what it asks for and no more, as if the descriptor were its own: in a shell, the
next command reads the rest. Each read and write runs in a worker thread, as in `streams`. A thread
that waits for input cannot be stopped. Nobody waits for it at the end, and input that comes after
a program has stopped waiting for it, as in a poll with a timeout, is kept for its next read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

import attrs
import trio

from .standard_streams import STDIN, check_open, reason_of, write_all
from .streams import read_some

if TYPE_CHECKING:
    import outcome  # trio's own

    from .run_stop import RunStop

__all__ = ["ProgramInput", "ProgramOutput"]


@final
@attrs.define(eq=False)
class _Read:
    """A read under way, or one that has ended and whose bytes were not taken."""

    ended: trio.Event = attrs.field(init=False, factory=trio.Event)
    result: outcome.Outcome[bytes] | None = attrs.field(init=False, default=None)


@final
@attrs.define(eq=False)
class ProgramInput(trio.abc.ReceiveStream):
    """Standard input."""

    _read: _Read | None = attrs.field(init=False, default=None)
    _rest: bytes = attrs.field(init=False, default=b"")

    def isatty(self) -> bool:
        """Return True if it is typed on a terminal."""
        return os.isatty(STDIN)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for the next bytes; ``b""`` at the end. A cancel loses none.

        Raises:
            trio.BrokenResourceError: it is closed, or cannot be read.
        """
        if not self._rest:
            await self._receive(max_bytes)
        else:
            await trio.lowlevel.checkpoint()
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes or len(self._rest) :]
        return data

    async def _receive(self, max_bytes: int | None) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._read is None:
            self._read = _begin(max_bytes)
        read = self._read
        await read.ended.wait()
        self._read = None
        assert read.result is not None
        try:
            self._rest = read.result.unwrap()
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def aclose(self) -> None:
        """Do nothing: the descriptor is the process's."""
        await trio.lowlevel.checkpoint()


def _begin(max_bytes: int | None) -> _Read:
    """Start a thread that reads."""
    read = _Read()
    token = trio.lowlevel.current_trio_token()

    def deliver(result: outcome.Outcome[bytes]) -> None:
        def end() -> None:
            read.result = result
            read.ended.set()

        try:
            token.run_sync_soon(end)
        except trio.RunFinishedError:
            return  # the command has ended

    trio.lowlevel.start_thread_soon(lambda: _read_stdin(max_bytes), deliver)
    return read


def _read_stdin(max_bytes: int | None) -> bytes:
    check_open(STDIN)
    return read_some(STDIN, max_bytes)


@final
@attrs.define(eq=False)
class ProgramOutput(trio.abc.SendStream):
    """Standard output or standard error. If it fails, the program is stopped."""

    _name: str
    """In error messages."""
    _descriptor: int
    _stop: RunStop

    def isatty(self) -> bool:
        """Return True if it is shown on a terminal."""
        return os.isatty(self._descriptor)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`; a cancel may leave a part of it unwritten."""
        try:
            check_open(self._descriptor)
            await trio.to_thread.run_sync(
                write_all, self._descriptor, bytes(data), abandon_on_cancel=True
            )
        except BrokenPipeError:
            self._stop.output_closed()
        except OSError as error:
            self._stop.output_failed(f"{self._name} cannot be written: {reason_of(error)}")
        else:
            return
        await trio.sleep_forever()  # until the cancel, which has come

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: `send_all` waits."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Do nothing: the descriptor is the process's."""
        await trio.lowlevel.checkpoint()
