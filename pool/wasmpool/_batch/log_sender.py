"""The log of a process of a batch, as records that the batch logs."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, final

import trio

from .messages import message_of

if TYPE_CHECKING:
    from wasmpool._frames import Frames

__all__ = ["LogSender", "log_record"]

_MOST_WAITING: Final = 1000
"""Records; of more at once, the last are left out."""
_LONGEST: Final = 64 << 10
"""Characters of a record's text."""


@final
class LogSender(logging.Handler):
    """Sends the records of all loggers, in their order.

    Args:
        frames: where to.
    """

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        self._frames = frames
        self._token = trio.lowlevel.current_trio_token()
        self._waiting: deque[dict[str, Any]] = deque()
        self._left_out = 0
        self._ready = trio.lowlevel.ParkingLot()

    def show(self, level: int) -> None:
        """Handle the records of all loggers from a level on, until the process ends."""
        root = logging.getLogger()
        root.addHandler(self)
        root.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record sent; called in any thread."""
        if len(self._waiting) >= _MOST_WAITING:
            self._left_out += 1
            return
        fields = {"say": "log", "name": record.name, "level": record.levelno}
        self._waiting.append({**fields, "text": self.format(record)[:_LONGEST]})
        self._token.run_sync_soon(self._ready.unpark_all, idempotent=True)

    async def send(self) -> None:
        """Send records until cancelled."""
        while True:
            await self.send_waiting()
            await self._ready.park()

    async def send_waiting(self) -> None:
        """Send what there is."""
        while self._waiting:
            await self._frames.send(message_of(self._waiting.popleft()))
        if self._left_out:
            count, self._left_out = self._left_out, 0
            logging.getLogger("wasmpool.batch").warning("%d records were left out", count)


def log_record(head: dict[str, Any]) -> None:
    """Log a record that was sent."""
    logging.getLogger(str(head["name"])).log(int(head["level"]), "%s", head["text"])
