"""The queue of fibers that compute: which one is served, and which one is handed back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs
import trio
import trio.testing

from wasmpool_host._scheduling.ready_queue import Job, ReadyQueue

if TYPE_CHECKING:
    import pytest


@attrs.define(eq=False)
class Computing:
    """A fiber that is not done until its event is set."""

    done: threading.Event = attrs.field(factory=threading.Event)

    def step(self) -> bool:
        """Wait a moment."""
        return self.done.wait(0.001)

    def hasten(self) -> None:
        """Its step ends soon anyway."""

    def come_back(self) -> None:
        """A task waits for it."""


@attrs.define(eq=False)
class Waiting:
    """A fiber of one step, which waits for an event."""

    event: threading.Event
    came: bool = False

    def step(self) -> bool:
        """Keep whether the event was set in time."""
        self.came = self.event.wait(20)
        return True

    def hasten(self) -> None:
        """Its step ends by itself."""

    def come_back(self) -> None:
        """A task waits for it."""


async def test_a_job_that_is_cancelled_as_it_gives_way_is_not_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is handed back at once, not when its turn comes again."""
    queue = ReadyQueue(1)
    back = threading.Event()
    other = Waiting(back)
    serve = ReadyQueue._serve

    def serve_and_be_cancelled(self: ReadyQueue, job: Job) -> bool:
        done = serve(self, job)
        if not done:  # it gives way, and is cancelled now, before it is in the queue
            trio.from_thread.run_sync(scope.cancel, trio_token=token)
        return done

    monkeypatch.setattr(ReadyQueue, "_serve", serve_and_be_cancelled)
    token = trio.lowlevel.current_trio_token()
    scope = trio.CancelScope()

    async def compute() -> None:
        with scope:
            job = Job(Computing())
            queue.submit(job)
            await queue.wait(job)
            back.set()
            assert job.raise_cancel is not None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(compute)
        await trio.testing.wait_all_tasks_blocked()
        job = Job(other)
        queue.submit(job)
        await queue.wait(job)
    assert other.came
