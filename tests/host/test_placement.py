"""Where calls of medium length run: what the clock, the tasks and the workers say."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from wasmpool_host._scheduling import placement
from wasmpool_host._scheduling.placement import RECENT, WORTH_ONE_CPU, WORTH_SEVERAL, Placement
from wasmpool_host._scheduling.ready_queue import Job, ReadyQueue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

WORTH = 2 * WORTH_ONE_CPU


@attrs.define(eq=False)
class Held:
    """A fiber that stays in its worker until it is released."""

    release: threading.Event = attrs.field(factory=threading.Event)

    def step(self) -> bool:
        """Wait for the release."""
        return self.release.wait(20)

    def hasten(self) -> None:
        """Nobody stops it."""

    def come_back(self) -> None:
        """A task waits for it."""


@attrs.define(eq=False)
class Clock:
    """A clock that is set by hand."""

    now: float = 100.0

    def __call__(self) -> float:
        """The time that was set."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the placement reads."""
    made = Clock()
    monkeypatch.setattr(placement, "perf_counter", made)
    return made


@pytest.fixture
async def release() -> AsyncGenerator[list[Held]]:
    """Fibers to be released at the end of the test, also where it fails."""
    held: list[Held] = []
    yield held
    for each in held:
        each.release.set()


async def ran_by_another_task(where: Placement, clock: Clock) -> None:
    """Have another task's guest end on the loop now."""

    async def run() -> None:
        where.note_end(clock.now)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)


async def test_a_task_that_calls_alone_keeps_its_guests_here(clock: Clock) -> None:
    """No other call would use the loop meanwhile."""
    where = Placement(ReadyQueue(16))
    assert not where.prefers_worker(WORTH)
    where.note_end(clock.now)
    assert not where.prefers_worker(WORTH)


async def test_the_second_of_two_tasks_sends_its_guest_away(clock: Clock) -> None:
    """Another task's guest has just computed here. A while later that means nothing."""
    where = Placement(ReadyQueue(16))
    await ran_by_another_task(where, clock)
    clock.now += RECENT / 2
    assert where.prefers_worker(WORTH)
    clock.now += RECENT
    assert not where.prefers_worker(WORTH)


@pytest.mark.parametrize(("cpus", "worth"), [(2, WORTH_ONE_CPU), (16, WORTH_SEVERAL)])
async def test_a_call_must_be_worth_the_way(clock: Clock, cpus: int, worth: float) -> None:
    """With several other CPUs less is enough, as only the trio thread's own time counts."""
    where = Placement(ReadyQueue(cpus))
    await ran_by_another_task(where, clock)
    assert where.prefers_worker(worth * 1.01)
    assert not where.prefers_worker(worth * 0.99)


async def test_nothing_is_sent_away_where_there_is_one_cpu(clock: Clock) -> None:
    """A thread would only take turns with the loop."""
    where = Placement(ReadyQueue(1))
    await ran_by_another_task(where, clock)
    assert not where.prefers_worker(WORTH)


async def test_workers_fill_all_cpus_but_the_loops(clock: Clock, release: list[Held]) -> None:
    """While one computes, calls go to others, at any time; the last CPU is the trio thread's."""
    queue = ReadyQueue(3)
    where = Placement(queue)
    assert not where.prefers_worker(WORTH)

    async def compute() -> None:
        held = Held()
        release.append(held)
        job = Job(held)
        queue.submit(job)
        await queue.wait(job)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(compute)
        await trio.testing.wait_all_tasks_blocked()
        clock.now += 60
        assert where.prefers_worker(WORTH)
        nursery.start_soon(compute)
        await trio.testing.wait_all_tasks_blocked()
        assert not where.prefers_worker(WORTH)
        for each in release:
            each.release.set()
    assert not queue.is_busy
