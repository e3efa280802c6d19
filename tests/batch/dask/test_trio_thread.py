from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from wasmpool._batch.dask.trio_thread import Ended, TrioThread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from wasmpool._batch.dask.trio_thread import Job

SECONDS = 30.0


class Shared:
    """What the jobs of a test share."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.began = threading.Event()
        self.ended: list[str] = []
        self.is_closed = False


shared_by: list[Shared] = []


@asynccontextmanager
async def open_shared() -> AsyncGenerator[Shared]:
    shared = Shared()
    shared_by.append(shared)
    try:
        yield shared
    finally:
        shared.is_closed = True


@pytest.fixture
def thread() -> Iterator[TrioThread[Shared]]:
    thread = TrioThread("of a test", open_shared)
    yield thread
    thread.stop()


async def linger(shared: Shared) -> None:
    shared.began.set()
    try:
        await trio.sleep_forever()
    finally:
        shared.ended.append("ended")


def test_jobs_have_results_and_errors(thread: TrioThread[Shared]) -> None:
    """Both come to the thread that waits, and the work has run in the one of the trio run."""

    async def where(shared: Shared) -> tuple[int, int]:
        await trio.lowlevel.checkpoint()
        return shared.thread, threading.get_ident()

    async def fail(shared: Shared) -> None:
        raise KeyError(shared.thread)

    expected, found = thread.begin(where).result.result(SECONDS)
    assert expected == found != threading.get_ident()
    with pytest.raises(KeyError):
        thread.begin(fail).result.result(SECONDS)
    assert thread.begin(where).result.result(SECONDS) == (expected, found)


def test_a_cancelled_job_has_ended_before_it_says_so(thread: TrioThread[Shared]) -> None:
    """Only that one; a second cancel, and one after its end, do nothing."""
    other = thread.begin(linger)
    job = thread.begin(linger)
    shared_by[-1].began.wait(SECONDS)
    thread.cancel(job)
    thread.cancel(job)
    with pytest.raises(Ended):
        job.result.result(SECONDS)
    thread.cancel(job)
    assert shared_by[-1].ended == ["ended"]
    assert not other.result.done()


def test_the_end_of_the_thread_ends_all_jobs(thread: TrioThread[Shared]) -> None:
    """What they share is closed, and later jobs end at once."""
    jobs = [thread.begin(linger) for _ in range(3)]
    shared_by[-1].began.wait(SECONDS)
    thread.stop()
    assert not [each for each in threading.enumerate() if each.name == "of a test"]
    assert shared_by[-1].is_closed
    for job in [*jobs, thread.begin(linger)]:
        with pytest.raises(Ended):
            job.result.result(0)
    thread.cancel(jobs[0])
    thread.stop()
    assert thread.is_over


def test_jobs_given_while_it_ends_all_have_a_result() -> None:
    """However the threads interleave, nobody waits for ever."""
    for _ in range(20):
        thread = TrioThread("of a test", open_shared)
        jobs: list[Job[Shared]] = []
        giver = threading.Thread(
            target=lambda to, into: into.extend(to.begin(linger) for _ in range(20)),
            args=(thread, jobs),
        )
        giver.start()
        thread.stop()
        giver.join()
        for job in jobs:
            with pytest.raises(Ended):
                job.result.result(SECONDS)
