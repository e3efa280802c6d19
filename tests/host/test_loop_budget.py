"""The budget of a scheduler pass, and the line of those for whom it was too small."""

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
    """Or many passes of short calls would add up to one that is full."""
    budget = LoopBudget()
    budget.spent = SOFT_LIMIT * 1.5
    assert not budget.is_exhausted()
    budget.spent += SOFT_LIMIT
    assert budget.is_exhausted()
    while budget.spent:
        await trio.lowlevel.checkpoint()
    assert not budget.is_exhausted()


async def test_who_waits_goes_on_whoever_else_gives_up() -> None:
    """The first in line, who sees to the others, and some of the others are cancelled."""
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
    while budget.spent:  # there is nobody left who would not let it be forgotten
        await trio.lowlevel.checkpoint()


async def test_who_holds_nothing_lets_some_passes_go_by() -> None:
    """Until there is one with room; where there is none for long, he goes on all the same."""
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
    budget._usher = trio.lowlevel.current_root_task()  # so nothing is forgotten
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await trio.lowlevel.checkpoint()
        before = passes
        await budget.yield_passes()
        assert 2 <= passes - before <= 4

        for _ in range(loop_budget._MOST):
            nursery.start_soon(budget.yield_passes)
        while budget._passing < loop_budget._MOST:
            await trio.lowlevel.checkpoint()
        before = passes
        await budget.yield_passes()
        assert passes == before  # there are enough who do
        nursery.cancel_scope.cancel()
    assert not budget._passing


async def test_who_has_no_stack_left_to_be_parked_does_not_stand_in_line() -> None:
    """It would be woken, some time later, wherever it is then."""
    budget = LoopBudget()
    budget._usher = trio.lowlevel.current_root_task()
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
        assert not budget._line
    assert refused > 5
    assert parked > 5


class Cpu:
    """The thread's CPU time, as far as the slices of a test have taken it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(loop_budget, "thread_time", lambda: self.seconds)


async def passes_of(
    budget: LoopBudget, slice_after: Callable[[int], float], cpu: Cpu, share: float = 1
) -> Counter[int]:
    """How many slices of 200 tasks there are in each pass, by its number.

    ``slice_after`` says how long one takes after so many others, of which the CPU has ``share``.
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
            assert budget.is_exhausted() or not budget._line  # for who comes now
            await trio.lowlevel.checkpoint()
            passes += 1
    return counts


async def test_they_go_on_in_passes_that_are_not_much_longer_than_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many there are; and newcomers go to the end of the line."""
    counts = await passes_of(LoopBudget(), lambda _: BUDGET / 4, Cpu(monkeypatch))
    assert max(counts.values()) <= 2 * 4


async def test_those_that_do_not_fit_after_all_go_back_to_the_front(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After short slices many are let go at once; if theirs are long the pass ends all the same."""
    counts = await passes_of(
        LoopBudget(), lambda before: BUDGET * (0.01 if before < 120 else 1.5), Cpu(monkeypatch)
    )
    assert max(counts.values()) > 20
    assert max([counts[number] for number in sorted(counts)][-50:]) <= 2


async def test_a_thread_that_shares_its_cpu_still_lets_many_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How many fit is learned from what the guests took, not from what the kernel did."""
    budget = LoopBudget()
    await passes_of(budget, lambda _: BUDGET / 100, Cpu(monkeypatch))
    fitting = budget._fitting
    assert fitting > 20
    await passes_of(budget, lambda _: BUDGET * 2, Cpu(monkeypatch), share=1 / 200)
    assert budget._fitting >= fitting
