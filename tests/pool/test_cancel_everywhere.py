"""Cancellation at every checkpoint: none leaves a pool other than it should be.

Each operation is run beside another one, first to count the checkpoints that it has, then again
once for each, cancelled there. Afterwards the pool has all its places, or is closed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import FakeInstance, FakeModule, Trap, new_module
from tests.pool.seams import check_invariants
from trio.testing import MockClock

from wasmpool._errors import LeaseDeadlock, LeaseRevoked, PoolClosed, PoolUnavailable, ReloadFailed
from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.pool.fakes import Kinds
    from trio.lowlevel import Task

_ENOUGH = 200  # checkpoints: no operation here has as many


class World:
    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.modules = [new_module(1, kinds)]
        self.pool: Pool

    def module(self) -> FakeModule:
        self.modules.append(new_module(len(self.modules) + 1, self.kinds))
        return self.modules[-1]

    async def setup(self, instance: FakeInstance) -> None:
        await trio.lowlevel.checkpoint()

    async def check(self, instance: FakeInstance) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    # --- what is cancelled, and what goes on beside it ---

    async def ask(self) -> None:
        async with self.pool.lease():
            pass

    async def lease(self) -> None:
        async with self.pool.lease() as lease:
            await lease.call("step")
            await lease.call("step")

    async def call(self) -> None:
        await self.pool.call("step")

    async def all_at_once(self) -> None:
        """More than there are instances: some wait, some start."""
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(self.call)

    async def trap(self) -> None:
        with pytest.raises(Trap):
            await self.pool.call("trap")

    async def failing_start(self) -> None:
        self.modules[0].script.append(ValueError("no start"))
        await self.ask()

    async def reload(self) -> None:
        await self.pool.reload(self.module(), grace=1)

    async def failing_reload(self) -> None:
        module = self.module()
        module.script.append(ValueError("bad"))
        with pytest.raises(ReloadFailed):
            await self.pool.reload(module)

    async def resize(self) -> None:
        await self.pool.resize(1)
        await self.pool.resize(2)

    async def close(self) -> None:
        await self.pool.aclose(grace=1)

    async def hold(self) -> None:
        async with self.pool.lease(), self.pool.lease():
            await trio.sleep(0.5)

    async def hold_for_too_long(self) -> None:
        async with self.pool.lease() as lease:
            await lease.call("sleep", 3)


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when its task has come to its n-th checkpoint; looks at the pool at each."""

    def __init__(self, n: int, world: World) -> None:
        self.left = n
        self.world = world
        self.task: Task | None = None
        self.broken: list[AssertionError] = []
        self.scope = trio.CancelScope()

    def after_task_step(self, task: Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()
        if hasattr(self.world, "pool") and not self.broken:
            try:
                check_invariants(self.world.pool)
            except AssertionError as error:  # trio would drop it, and the instrument
                self.broken.append(error)


async def story(
    n: int, operation: str, other: str, head_start: int, kinds: Kinds, **options: Any
) -> bool:
    """Run it once; whether it had an n-th checkpoint."""
    world = World(kinds)
    cancel = CancelAt(n, world)

    async def cancelled() -> None:
        with cancel.scope:
            cancel.task = trio.lowlevel.current_task()
            await run(getattr(world, operation))
        cancel.task = None

    async def run(function: Callable[[], Awaitable[None]]) -> None:
        try:
            await function()
        except* (PoolClosed, PoolUnavailable, LeaseRevoked, LeaseDeadlock):
            pass  # what goes on beside it may have that effect

    opened = open_pool(
        world.modules[0], size=2, setup=world.setup, check=world.check, grace=1, **options
    )
    async with opened as world.pool:
        trio.lowlevel.add_instrument(cancel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, getattr(world, other))
            for _ in range(head_start):
                await trio.lowlevel.checkpoint()
            nursery.start_soon(cancelled)
        trio.lowlevel.remove_instrument(cancel)
        await everything_works(world.pool)
    if cancel.broken:
        raise cancel.broken[0]
    assert world.pool.state == "closed"
    check_invariants(world.pool)
    for module in world.modules:
        assert not module.violations
        assert not module.live
        assert not module.starting
    return cancel.left <= 0


async def everything_works(pool: Pool) -> None:
    if pool.state == "open":
        await pool.resize(2)
        await trio.sleep(6)  # a start that failed is forgotten
        with trio.fail_after(20):  # above each grace
            async with pool.lease(), pool.lease():
                assert pool.statistics().leased == 2
    check_invariants(pool)
    assert pool.statistics().waiting == 0


OPERATIONS = ["ask", "lease", "call", "reload", "failing_reload", "resize", "close"]
OTHERS = [
    "all_at_once", "trap", "failing_start", "reload", "resize", "close", "hold",
    "hold_for_too_long",
]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_cancelled_at_every_checkpoint(operation: str, other: str, kinds: Kinds) -> None:
    """Invariants, capacity and the end of the block are what they are without a cancel."""
    for head_start in (0, 3):
        for n in range(1, _ENOUGH):
            run = partial(story, n, operation, other, head_start, kinds)
            if not trio.run(run, clock=MockClock(autojump_threshold=0)):
                break
        else:
            pytest.fail(f"{operation} has more than {_ENOUGH} checkpoints")


@pytest.mark.parametrize("operation", ["ask", "close"])
def test_cancelled_at_every_checkpoint_where_the_queue_is_served(
    operation: str, kinds: Kinds
) -> None:
    """The same with queue_on_close="serve" and with pristine instances."""
    for n in range(1, _ENOUGH):
        run = partial(
            story, n, operation, "all_at_once", 1, kinds, queue_on_close="serve", max_uses=1
        )
        if not trio.run(run, clock=MockClock(autojump_threshold=0)):
            return
    pytest.fail(f"{operation} has more than {_ENOUGH} checkpoints")


def test_cancelled_at_every_checkpoint_while_it_opens_and_ends(kinds: Kinds) -> None:
    """A cancelled open leaves nothing; a cancelled block closes what it has."""

    async def story(n: int) -> bool:
        world = World(kinds)
        cancel = CancelAt(n, world)
        trio.lowlevel.add_instrument(cancel)
        with cancel.scope:
            cancel.task = trio.lowlevel.current_task()
            async with open_pool(world.modules[0], min_size=3, setup=world.setup) as world.pool:
                await world.call()
                await world.reload()
        cancel.task = None
        trio.lowlevel.remove_instrument(cancel)
        assert not cancel.broken
        for module in world.modules:
            assert not module.live
            assert not module.starting
        return cancel.left <= 0

    for n in range(1, _ENOUGH):
        if not trio.run(story, n, clock=MockClock(autojump_threshold=0)):
            assert n > 10
            return
    pytest.fail(f"opening has more than {_ENOUGH} checkpoints")
