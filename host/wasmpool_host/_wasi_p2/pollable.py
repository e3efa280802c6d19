"""``wasi:io/poll``: a component waits in the calling task, and holds up nobody."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, final

import trio

from wasmpool_host._wasi.clock import MAX_SUBSCRIPTIONS, deadline_of, monotonic

from .failure import broken_contract, check_class
from .resource import Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmpool_host._wasi.process import Process

__all__ = ["ALWAYS", "Event", "Pollable", "Timer", "poll"]


class Event(Protocol):
    """What a component can wait for."""

    def is_ready(self) -> bool:
        """True if there is nothing to wait for."""
        ...

    async def wait(self) -> None:
        """Wait until it may be ready. A cancel loses nothing."""
        ...


@final
class _Always:
    """Nothing to wait for: files are always ready."""

    def is_ready(self) -> bool:
        return True

    async def wait(self) -> None:
        await trio.lowlevel.checkpoint()


ALWAYS = _Always()


@final
class Timer:
    """The monotonic clock reaches an instant."""

    def __init__(self, instant: int) -> None:
        self._instant = instant
        self.deadline: float = deadline_of(instant)
        """In trio's time."""

    def is_ready(self) -> bool:
        return monotonic() >= self._instant

    async def wait(self) -> None:
        await trio.sleep_until(self.deadline)


@final
class Pollable(Resource):
    """A handle of an event."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event: Event = event

    def ready(self) -> bool:
        """True if the event has happened."""
        return self.event.is_ready()

    async def block(self) -> None:
        """Wait for the event."""
        await _wait_for_any([self.event])


async def poll(_process: Process, pollables: Sequence[Pollable]) -> list[int]:
    """Wait for one of the events; return the indices of all that have happened.

    Raises:
        GuestTrap: there is none, or there are more than 1,024.
    """
    if not 0 < len(pollables) <= MAX_SUBSCRIPTIONS:
        message = (
            f"wasi:io/poll: a list of {len(pollables):,} pollables; it must have one at least, and"
            f" {MAX_SUBSCRIPTIONS:,} at most"
        )
        raise broken_contract(message)
    for each in pollables:
        check_class(each, Pollable)
    await _wait_for_any([each.event for each in pollables])
    return [number for number, each in enumerate(pollables) if each.ready()]


async def _wait_for_any(events: Sequence[Event]) -> None:
    """Wait until one is ready. It is always a checkpoint."""
    if any(event.is_ready() for event in events):
        await trio.lowlevel.checkpoint()
        return
    timers = [event.deadline for event in events if isinstance(event, Timer)]
    deadline = min(timers, default=math.inf)
    # Two handles of one stream have the same event, and one task waits for it.
    others = {id(event): event for event in events if not isinstance(event, Timer)}
    while not any(event.is_ready() for event in events):
        await _wait(deadline, list(others.values()))


async def _wait(deadline: float, events: Sequence[Event]) -> None:
    """Wait until a time of trio's, or for one of the events.

    What a stream of the caller's raises comes out as itself, as it does where it is alone.
    """
    failed: list[Exception] = []
    with trio.CancelScope(deadline=deadline) as scope:
        if not events:
            await trio.sleep_forever()
        if len(events) == 1:
            await events[0].wait()
            return
        async with trio.open_nursery() as nursery:
            for event in events:
                nursery.start_soon(_wait_and_cancel, event, scope, failed)
    if failed:  # behind the scope, whose cancel has ended the others
        raise failed[0]


async def _wait_and_cancel(event: Event, scope: trio.CancelScope, failed: list[Exception]) -> None:
    try:
        await event.wait()
    except Exception as error:  # noqa: BLE001 - raised by the one who waits: not in a group
        failed.append(error)
    scope.cancel()
