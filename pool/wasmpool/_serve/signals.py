"""The signals of a server: the first ends it with a grace, the second ends it at once."""

from __future__ import annotations

import os
import signal
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Signals"]

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def _is_hung_up(descriptor: int) -> bool:
    """Return True if a terminal is gone, as when its window is closed."""
    try:
        termios.tcgetattr(descriptor)
    except (OSError, termios.error):
        return True
    return False


@final
class Signals:
    """What the signals have asked for.

    Attributes:
        stopping: set by the first SIGINT or SIGTERM.
    """

    def __init__(self) -> None:
        self.stopping: Final = trio.Event()
        self._reload = trio.Event()

    def _reload_asked(self) -> None:
        self._reload.set()

    async def wait_for_reload(self) -> None:
        """Wait for a SIGHUP since the last one that was waited for."""
        await self._reload.wait()
        self._reload = trio.Event()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """A block in which the signals are handled.

        A second SIGINT or SIGTERM ends the process from within its handler, so that nothing that
        the server waits for can hold it up. The handlers raise no exception in the running code:
        see "signal handlers" in docs/operating.md.

        A SIGHUP asks for a reload, unless it comes from a terminal that is gone: that is an end.
        """
        token = trio.lowlevel.current_trio_token()
        asked = False

        def end(number: int, _frame: object) -> None:
            nonlocal asked
            if asked:
                os._exit(128 + number)
            asked = True
            token.run_sync_soon(self.stopping.set)

        terminals = [each for each in (0, 1, 2) if os.isatty(each)]

        def reload(number: int, frame: object) -> None:
            if any(map(_is_hung_up, terminals)):
                end(number, frame)
                return
            token.run_sync_soon(self._reload_asked, idempotent=True)

        before = {number: signal.signal(number, end) for number in _ENDING}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, reload)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
