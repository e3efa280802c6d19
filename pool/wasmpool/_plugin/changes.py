"""What changes in a loader, for those who subscribe.

A subscription keeps, for each name, only its latest change. So its memory is bounded by the number
of names, and a slow reader is never behind the present: what a change says and the loader's state
together are always enough.
"""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Generator

    from .plugin import Plugin

__all__ = ["Change", "ChangeFeed", "ChangeKind", "Changes"]


class ChangeKind(StrEnum):
    """What happened to a plugin."""

    LOADED = "loaded"
    """A plugin entered service under a name that was free."""
    RELOADED = "reloaded"
    """Another module, configuration or plugin serves under the name: the tools may differ. Or the
    same one serves, and what failed before is over."""
    UNLOADED = "unloaded"
    """The plugin takes no more calls, because it was unloaded or closed. Or it failed to load, and
    what failed is gone."""
    FAILED = "failed"
    """A load or a reload failed. What served under the name continues to serve."""


@final
@attrs.frozen(kw_only=True)
class Change:
    """One change of a loader."""

    kind: ChangeKind
    """What happened."""
    name: str
    """The name that the plugin is loaded by."""
    plugin: Plugin | None = None
    """The plugin in service under the name after the change; None if there is none."""
    error: Exception | None = None
    """Why it failed, as `Loader.failures` has it after the change; None if nothing did."""


@final
class Changes:
    """An async iterator of changes; `Loader.changes` makes it. It ends when the loader closes.

    Of several changes of one name that were not yet read, it gives the last.
    """

    def __init__(self) -> None:
        self._unread: dict[str, Change] = {}
        self._news: Final = trio.lowlevel.ParkingLot()
        self._ended = False

    def __aiter__(self) -> Changes:
        """Return itself."""
        return self

    async def __anext__(self) -> Change:
        """Return the next change, or wait for one. A cancel loses none."""
        await trio.lowlevel.checkpoint()
        while not self._unread:
            if self._ended:
                raise StopAsyncIteration
            await self._news.park()
        return self._unread.pop(next(iter(self._unread)))

    def _add(self, change: Change) -> None:
        self._unread.pop(change.name, None)  # the last change stands at the end
        self._unread[change.name] = change
        self._news.unpark_all()

    def _end(self) -> None:
        self._ended = True
        self._news.unpark_all()


@final
class ChangeFeed:
    """The subscriptions of one loader."""

    def __init__(self) -> None:
        self._open: dict[int, Changes] = {}
        self._ended = False

    @contextlib.contextmanager
    def subscribe(self) -> Generator[Changes]:
        """A subscription for the length of the block."""
        changes = Changes()
        if self._ended:
            changes._end()  # noqa: SLF001 - a part of this file
        self._open[id(changes)] = changes
        try:
            yield changes
        finally:
            del self._open[id(changes)]
            changes._end()  # noqa: SLF001 - as above

    def publish(self, change: Change) -> None:
        """Tell all subscriptions."""
        for changes in self._open.values():
            changes._add(change)  # noqa: SLF001 - a part of this file

    def end(self) -> None:
        """End all subscriptions once they are read."""
        self._ended = True
        for changes in self._open.values():
            changes._end()  # noqa: SLF001 - as above
