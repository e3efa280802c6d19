"""The budget of a scheduler pass, and the queue of the tasks that wait for a later pass."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from typing import TYPE_CHECKING

import trio
import trio.testing

from wasmpool_host._scheduling import loop_budget
from wasmpool_host._scheduling.loop_budget import BUDGET, SOFT_LIMIT, LoopBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


async def test_what_was_spent_is_forgotten_in_a_later_pass() -> None:
    """Otherwise many passes of short calls would add up to a full one."""
    budget = LoopBudget()
    budget.spent = SOFT_LIMIT * 1.5
    assert not budget.is_exhausted()
    budget.spent += SOFT_LIMIT
    assert budget.is_exhausted()
    while budget.spent:
        await trio.lowlevel.checkpoint()
    assert not budget.is_exhausted()


async def test_a_waiting_task_continues_if_others_are_cancelled() -> None:
    """The leader, which wakes the others, and some of the others are cancelled."""
    budget = LoopBudget()
    budget.spent = 2 * BUDGET
    scopes = [trio.CancelScope() for _ in range(300)]
    gone_on: set[int] = set()

    async def wait(number: int) -> None:
        with scopes[number]:
            await budget.wait()
            gone_on.add(number)
            budget.spent += BUDGET / 10

    async with trio.open_nursery() as nursery:
        for number in range(len(scopes)):
            nursery.start_soon(wait, number)
        await trio.lowlevel.checkpoint()
        for scope in (scopes[0], *scopes[7::3]):
            scope.cancel()
    cancelled = {number for number, scope in enumerate(scopes) if scope.cancelled_caught}
    assert gone_on == set(range(len(scopes))) - cancelled
    assert len(cancelled) > 50
    budget.is_exhausted()
    while budget.spent:  # no leader is left, so the next pass resets it
        await trio.lowlevel.checkpoint()


async def test_a_task_that_holds_nothing_yields_some_passes() -> None:
    """Until one has room; if none has room for long, the task continues all the same."""
    budget = LoopBudget()
    budget.spent = 2 * BUDGET
    assert budget.is_exhausted()
    await budget.yield_passes()
    assert not budget.spent

    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    budget.spent = 2 * BUDGET
    budget._leader = trio.lowlevel.current_root_task()  # so nothing is reset
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await trio.lowlevel.checkpoint()
        before = passes
        await budget.yield_passes()
        assert 2 <= passes - before <= 4

        for _ in range(loop_budget._MAX_TASKS):
            nursery.start_soon(budget.yield_passes)
        while budget._yielding < loop_budget._MAX_TASKS:
            await trio.lowlevel.checkpoint()
        before = passes
        await budget.yield_passes()
        assert passes == before  # enough tasks yield already
        nursery.cancel_scope.cancel()
    assert not budget._yielding


async def test_a_task_without_stack_left_to_park_is_not_queued() -> None:
    """It would be woken some time later, while it waits for something else."""
    budget = LoopBudget()
    budget._leader = trio.lowlevel.current_root_task()
    refused = parked = 0

    async def wait(deeper: int) -> None:
        if deeper:
            await wait(deeper - 1)
        else:
            await budget.wait()

    depth = sys.getrecursionlimit() - len(inspect.stack())
    for left in range(60):
        scope = trio.move_on_after(0)
        try:
            with scope:
                await wait(depth - left)
        except RecursionError:
            refused += 1
        parked += scope.cancelled_caught
        assert not budget._queue
    assert refused > 5
    assert parked > 5


class Cpu:
    """The thread's CPU time: the sum of what the slices of a test used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(loop_budget, "thread_time", lambda: self.seconds)


async def passes_of(
    budget: LoopBudget, slice_after: Callable[[int], float], cpu: Cpu, share: float = 1
) -> Counter[int]:
    """The number of slices in each pass, for 200 tasks.

    ``slice_after(n)`` is the time of the slice after ``n`` others; ``share`` of it is CPU time.
    """
    budget.spent = 2 * BUDGET
    counts: Counter[int] = Counter()
    passes = 0

    async def wait() -> None:
        await budget.wait()
        took = slice_after(counts.total())
        budget.spent += took
        cpu.seconds += took * share
        counts[passes] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(wait)
        await trio.lowlevel.checkpoint()
        while counts.total() < 200:
            assert budget.is_exhausted() or not budget._queue  # so that a new task waits
            await trio.lowlevel.checkpoint()
            passes += 1
    return counts


async def test_they_go_on_in_passes_that_are_not_much_longer_than_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many tasks wait; and new tasks go to the end of the queue."""
    counts = await passes_of(LoopBudget(), lambda _: BUDGET / 4, Cpu(monkeypatch))
    assert max(counts.values()) <= 2 * 4


async def test_those_that_do_not_fit_after_all_go_back_to_the_front(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After short slices many are woken at once; if their slices are long, the pass ends anyway."""
    counts = await passes_of(
        LoopBudget(), lambda before: BUDGET * (0.01 if before < 120 else 1.5), Cpu(monkeypatch)
    )
    assert max(counts.values()) > 20
    assert max([counts[number] for number in sorted(counts)][-50:]) <= 2


async def test_a_thread_that_shares_its_cpu_still_lets_many_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How many fit is learned from the guests' own time, without that of other threads."""
    budget = LoopBudget()
    await passes_of(budget, lambda _: BUDGET / 100, Cpu(monkeypatch))
    batch_size = budget._batch_size
    assert batch_size > 20
    await passes_of(budget, lambda _: BUDGET * 2, Cpu(monkeypatch), share=1 / 200)
    assert budget._batch_size >= batch_size
