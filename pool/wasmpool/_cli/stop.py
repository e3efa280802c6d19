"""Why a run ends before its input does, and Ctrl-C as the first of the reasons."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

import attrs
import trio

from .standard import FAILED, INTERRUPTED, OUTPUT_CLOSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Stop"]


def _nothing() -> None:
    pass


@final
@attrs.define(eq=False)
class Stop:
    """The scope around the run's work, and what cancelled it; the first reason counts."""

    scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    status: int | None = attrs.field(init=False, default=None)
    """The exit status that the reason asks for; None as long as there is none."""
    message: str | None = attrs.field(init=False, default=None)
    """A sentence for the user, if it needs one."""
    notice: Callable[[], None] = attrs.field(init=False, default=_nothing)
    """Called right before the work is cancelled."""

    @property
    def is_interrupt(self) -> bool:
        """Whether it was Ctrl-C."""
        return self.status == INTERRUPTED

    def interrupted(self) -> None:
        """Ctrl-C."""
        self._stop(INTERRUPTED)

    def output_closed(self) -> None:
        """The reader of the output has seen enough, as ``head`` does."""
        self._stop(OUTPUT_CLOSED)

    def output_failed(self, message: str) -> None:
        """There is no room on the disk, for instance."""
        self._stop(FAILED, message)

    def input_failed(self, message: str) -> None:
        """No more lines, though the input goes on; those before are answered."""
        if self.status is None:
            self.status, self.message = FAILED, message

    def _stop(self, status: int, message: str | None = None) -> None:
        if self.status is None:
            self.status, self.message = status, message
            self.notice()
        self.scope.cancel()

    @contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Ctrl-C stops the run by cancelling it; a second one ends the process at once.

        Nothing is raised in the middle of what runs: see "signal handlers" in docs/operating.md.
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
