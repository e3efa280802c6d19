"""The queue of fibers that compute: which one is served, and which one is handed back."""

from __future__ import annotations

import threading
import time

import attrs
import pytest
import trio
import trio.testing

from wasmpool_host._scheduling.epoch_ticker import Ticker
from wasmpool_host._scheduling.ready_queue import Job, ReadyQueue


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


@attrs.define(eq=False)
class Telling:
    """A fiber of one step, which notes that it has come back."""

    told: trio.Event
    error: Exception | None = None

    def step(self) -> bool:
        """Do nothing, or fail."""
        if self.error is not None:
            raise self.error
        return True

    def hasten(self) -> None:
        """Its step ends by itself."""

    def come_back(self) -> None:
        """Note it."""
        self.told.set()


@attrs.define(eq=False)
class Endless:
    """A fiber that is never done, and notes that it has come back."""

    told: trio.Event

    def step(self) -> bool:
        """Let other threads run."""
        time.sleep(0.0001)
        return False

    def hasten(self) -> None:
        """Its step ends soon anyway."""

    def come_back(self) -> None:
        """Note it."""
        self.told.set()


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


async def test_a_job_that_came_back_before_its_task_waits_is_no_checkpoint() -> None:
    """Its fiber is told, as no task is; the task that comes then goes on at once."""
    queue = ReadyQueue(1)
    told = trio.Event()
    fiber = Telling(told)
    job = Job(fiber)
    queue.submit(job)
    await told.wait()
    assert job.is_unclaimed
    with trio.testing.assert_no_checkpoints():
        await queue.wait(job)


async def test_an_error_of_a_job_is_raised_in_the_task_that_comes_later() -> None:
    """As in one that waited from the beginning."""
    queue = ReadyQueue(1)
    told = trio.Event()
    job = Job(Telling(told, ZeroDivisionError()))
    queue.submit(job)
    await told.wait()
    with pytest.raises(ZeroDivisionError):
        await queue.wait(job)


async def test_a_queued_job_is_stopped_at_once_and_another_is_hastened() -> None:
    """No task waits for them yet, so the fibers are told."""
    queue = ReadyQueue(1)
    running, queued = Job(Endless(trio.Event())), Job(Endless(trio.Event()))
    queue.submit(running)
    queue.submit(queued)
    queue.stop(queued)
    assert queued.is_unclaimed
    assert not running.returned
    queue.stop(running)
    assert isinstance(running.fiber, Endless)
    await running.fiber.told.wait()
    assert running.is_unclaimed


async def test_a_job_is_reclaimed_in_one_step() -> None:
    """Whether a worker has it or not; nothing is told of it afterwards."""
    queue = ReadyQueue(1)
    jobs = [Job(Endless(trio.Event())) for _ in range(2)]
    for job in jobs:
        queue.submit(job)
    for job in jobs:
        queue.reclaim(job)
        assert job.returned
    while queue.is_busy or queue.has_returned:
        await trio.lowlevel.checkpoint()
    for job in jobs:
        assert isinstance(job.fiber, Endless)
        assert not job.fiber.told.is_set()


async def test_a_guest_on_the_loop_makes_way_for_a_job_that_comes_back() -> None:
    """Its slice ends by a tick, unless so many workers compute that the tick would cost more."""
    ticks: list[None] = []
    queue = ReadyQueue(16)
    queue.on_loop = Ticker(lambda: ticks.append(None))
    told = trio.Event()
    queue.submit(Job(Telling(told)))
    await told.wait()
    assert len(ticks) == 1
    busy = [Job(Endless(trio.Event())) for _ in range(6)]
    for job in busy:
        queue.submit(job)
    told = trio.Event()
    queue.submit(Job(Telling(told)))
    await told.wait()
    assert len(ticks) == 1
    queue.on_loop = None
    for job in busy:
        queue.reclaim(job)
    while queue.is_busy or queue.has_returned:
        await trio.lowlevel.checkpoint()
