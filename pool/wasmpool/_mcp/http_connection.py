"""The life of a connection over HTTP: it ends when it has had no request for a while."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Self, final

import trio

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["CONNECTION", "IDLE_SECONDS", "HttpConnection"]

CONNECTION: Final = "wasmpool.connection"
"""The key of a connection in the state that an ASGI server hands to each request."""
IDLE_SECONDS: Final = 10.0
"""For the headers of a request, and between two requests."""


@final
class HttpConnection:
    """A block that is cancelled when it has had no request for `IDLE_SECONDS`."""

    def __init__(self) -> None:
        self._requests = 0
        self._scope = trio.CancelScope()

    def __enter__(self) -> Self:
        self._scope.__enter__()
        self._scope.deadline = trio.current_time() + IDLE_SECONDS
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return self._scope.__exit__(kind, error, traceback)

    def begin_request(self) -> None:
        """A request has come, with all of its headers."""
        self._requests += 1
        self._scope.deadline = math.inf

    def end_request(self) -> None:
        """It has been answered, or its client is gone."""
        self._requests -= 1
        if not self._requests:
            self._scope.deadline = trio.current_time() + IDLE_SECONDS
