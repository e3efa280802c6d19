"""The pool's work for a lease does not depend on how large it is, nor on how many wait.

Counted in interpreter steps, which noise cannot change; ``bench/pool_cost.py`` has the times.
"""

from __future__ import annotations

import gc
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from tests.pool.fakes import FakeModule
from tests.pool.seams import give_back_slot, slot_of, take_slot, waiting_tasks
from trio.testing import wait_all_tasks_blocked

from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def steps(function: Callable[[], object]) -> int:
    """How many bytecode instructions of Python run in a synchronous function."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    gc.disable()  # finalizers would be counted
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def lease_and_give_back(pool: Pool) -> None:
    task = trio.lowlevel.current_task()
    give_back_slot(pool, take_slot(pool, task, (lease_and_give_back.__code__, 0)))


async def test_lease_and_give_back_take_the_same_steps_at_any_size() -> None:
    """With 1, 10 and 300 instances."""
    counted = set()
    for size in (1, 10, 300):
        async with open_pool(FakeModule(), size=size, min_size=size) as pool:
            steps(partial(lease_and_give_back, pool))  # tracing changes code when first used
            counted.add(steps(partial(lease_and_give_back, pool)))
    assert len(counted) == 1
    assert 0 < counted.pop() < 1000


async def test_hand_over_and_cancel_take_the_same_steps_at_any_length_of_the_line() -> None:
    """With 10 and 2,000 waiters."""
    handed, cancelled = [], []
    for length in (4, 10, 2000):  # the first is for the tracing, which changes code when first used
        async with open_pool(FakeModule(), size=1) as pool, trio.open_nursery() as nursery:
            scopes: dict[trio.lowlevel.Task, trio.CancelScope] = {}
            lease = await pool.lease().__aenter__()
            for _ in range(length):
                nursery.start_soon(wait, pool, scopes)
            await wait_all_tasks_blocked()
            line, slot = waiting_tasks(pool), slot_of(lease)
            middle = list(line)[length // 2]
            cancelled.append(steps(scopes[middle].cancel))
            assert len(line) == length - 1
            assert middle not in line
            handed.append(steps(partial(give_back_slot, pool, slot)))
            assert len(line) == length - 2
            nursery.cancel_scope.cancel()
    assert handed[1] == handed[2]
    assert cancelled[1] == cancelled[2]


async def wait(pool: Pool, scopes: dict[trio.lowlevel.Task, trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        scopes[trio.lowlevel.current_task()] = scope
        async with pool.lease():
            await trio.sleep_forever()
