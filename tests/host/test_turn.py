"""The budget of a scheduler pass, and the line of those for whom it was too small."""

from __future__ import annotations

import trio
import trio.testing

from wasmpool_host._turn import BUDGET, HALF, Turn


async def test_what_was_spent_is_forgotten_in_a_later_pass() -> None:
    """Or many passes of short calls would add up to one that is full."""
    turn = Turn()
    turn.spent = HALF * 1.5
    assert not turn.is_over()
    turn.spent += HALF
    assert turn.is_over()
    while turn.spent:
        await trio.lowlevel.checkpoint()
    assert not turn.is_over()


async def test_who_waits_goes_on_whoever_else_gives_up() -> None:
    """The first in line, who sees to the others, and some of the others are cancelled."""
    turn = Turn()
    turn.spent = 2 * BUDGET
    scopes = [trio.CancelScope() for _ in range(300)]
    gone_on: set[int] = set()

    async def wait(number: int) -> None:
        with scopes[number]:
            await turn.wait()
            gone_on.add(number)
            turn.spent += BUDGET / 10

    async with trio.open_nursery() as nursery:
        for number in range(len(scopes)):
            nursery.start_soon(wait, number)
        await trio.lowlevel.checkpoint()
        for scope in (scopes[0], *scopes[7::3]):
            scope.cancel()
    cancelled = {number for number, scope in enumerate(scopes) if scope.cancelled_caught}
    assert gone_on == set(range(len(scopes))) - cancelled
    assert len(cancelled) > 50
    turn.is_over()
    while turn.spent:  # there is nobody left who would not let it be forgotten
        await trio.lowlevel.checkpoint()


async def test_they_go_on_in_passes_that_are_not_much_longer_than_the_budget() -> None:
    """However many there are; and newcomers go to the end of the line."""
    turn = Turn()
    turn.spent = 2 * BUDGET
    slices: list[int] = []
    passes = 0

    async def wait() -> None:
        await turn.wait()
        turn.spent += BUDGET / 4
        slices.append(passes)

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(wait)
        await trio.lowlevel.checkpoint()
        while len(slices) < 200:
            assert turn.is_over() or not turn._line  # for who comes now
            await trio.lowlevel.checkpoint()
            passes += 1
    assert max(slices.count(each) for each in set(slices)) <= 2 * 4
