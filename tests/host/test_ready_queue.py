"""The line of fibers that compute: who is served, and who is handed back."""

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
    """Steps that are never enough, until they are told that they are."""

    done: threading.Event = attrs.field(factory=threading.Event)

    def step(self) -> bool:
        """Wait a moment."""
        return self.done.wait(0.001)

    def hasten(self) -> None:
        """It is about to end."""


@attrs.define(eq=False)
class Waiting:
    """One step, which waits for something for a while."""

    event: threading.Event
    came: bool = False

    def step(self) -> bool:
        """Whether it came is kept."""
        self.came = self.event.wait(20)
        return True

    def hasten(self) -> None:
        """It ends when it does."""


async def test_a_job_that_is_cancelled_just_as_it_gives_way_does_not_stand_in_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is handed back at once, and not when its turn comes again."""
    queue = ReadyQueue(1)
    back = threading.Event()
    other = Waiting(back)
    serve = ReadyQueue._serve

    def serve_and_be_cancelled(self: ReadyQueue, job: Job) -> bool:
        enough = serve(self, job)
        if not enough:  # it is to give way; and now, not in the line yet, it is cancelled
            trio.from_thread.run_sync(scope.cancel, trio_token=token)
        return enough

    monkeypatch.setattr(ReadyQueue, "_serve", serve_and_be_cancelled)
    token = trio.lowlevel.current_trio_token()
    scope = trio.CancelScope()

    async def compute() -> None:
        with scope:
            job = Job(Computing(), trio.lowlevel.current_task())
            await queue.run(job)
            back.set()
            assert job.raise_cancel is not None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(compute)
        await trio.testing.wait_all_tasks_blocked()
        await queue.run(Job(other, trio.lowlevel.current_task()))
    assert other.came
