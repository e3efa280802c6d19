"""Stopping a run before the end of its input: by Ctrl-C, or by a failed input or output."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

import attrs
import trio

from .standard_streams import FAILED, INTERRUPTED, OUTPUT_CLOSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RunStop"]


def _nothing() -> None:
    pass


@final
@attrs.define(eq=False)
class RunStop:
    """The cancel scope around a run, and why it was cancelled; the first reason counts."""

    scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    status: int | None = attrs.field(init=False, default=None)
    """The exit status for the reason; None if the run was not stopped."""
    message: str | None = attrs.field(init=False, default=None)
    """A message for the user, if there is one."""
    notice: Callable[[], None] = attrs.field(init=False, default=_nothing)
    """Called right before the run is cancelled."""

    @property
    def is_interrupt(self) -> bool:
        """True if the reason is Ctrl-C."""
        return self.status == INTERRUPTED

    def interrupted(self) -> None:
        """Stop because of Ctrl-C."""
        self._stop(INTERRUPTED)

    def output_closed(self) -> None:
        """Stop because the reader of the output has closed the pipe, as ``head`` does."""
        self._stop(OUTPUT_CLOSED)

    def output_failed(self, message: str) -> None:
        """Stop because the output failed, as with a full disk."""
        self._stop(FAILED, message)

    def places_failed(self, message: str) -> None:
        """Stop because no more lines can be answered."""
        self._stop(FAILED, message)

    def input_failed(self, message: str) -> None:
        """End the input early; the lines before are still answered."""
        if self.status is None:
            self.status, self.message = FAILED, message

    def _stop(self, status: int, message: str | None = None) -> None:
        if self.status is None:
            self.status, self.message = status, message
            self.notice()
        self.scope.cancel()

    @contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """A block in which Ctrl-C cancels the run, and a second Ctrl-C ends the process at once.

        The handler raises no exception in the running code: see "signal handlers" in
        docs/operating.md.
        """
        token = trio.lowlevel.current_trio_token()

        def interrupt(_signal: int, _frame: object) -> None:
            if self.scope.cancel_called:
                os._exit(INTERRUPTED)
            token.run_sync_soon(self.interrupted, idempotent=True)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
