"""The moment at which a reload puts a plugin's new revision in service."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

__all__ = ["Switch"]


@final
class Switch:
    """A task status that calls ``take_over`` in the same step as the pool's switch."""

    def __init__(self, take_over: Callable[[], None], task_status: trio.TaskStatus[int]) -> None:
        self._take_over = take_over
        self._task_status = task_status
        self.done = False

    def started(self, value: int | None = None) -> None:
        """Put the revision in service; ``value`` is the new generation's number."""
        assert value is not None
        self.done = True
        self._take_over()
        self._task_status.started(value)
