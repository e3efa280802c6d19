"""``max_wait=0``: a task waits in no line, but for an instance that is begun for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import Trap
from tests.pool.seams import check_invariants
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool._errors import LeaseDeadlock, PoolTimeout, PoolUnavailable
from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pool.fakes import FakeInstance, FakeModule


class Askers:
    """Tasks that call, and what each came to."""

    def __init__(self, pool: Pool, nursery: trio.Nursery) -> None:
        self.pool = pool
        self.nursery = nursery
        self.answers: list[Any] = []

    async def ask(self, count: int = 1) -> None:
        for _ in range(count):
            self.nursery.start_soon(self._call, len(self.answers))
            self.answers.append(None)
            await self.settle()

    async def _call(self, number: int) -> None:
        try:
            self.answers[number] = await self.pool.call("number")
        except (PoolTimeout, PoolUnavailable) as error:
            self.answers[number] = type(error)

    async def settle(self) -> None:
        await wait_all_tasks_blocked()
        check_invariants(self.pool)


async def test_asker_has_the_instance_that_is_started_for_it(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """However long the start takes, within ``start_timeout``."""

    async def setup(instance: FakeInstance) -> None:
        await trio.sleep(7)

    async with open_pool(module, size=2, min_size=0, max_wait=0, setup=setup) as pool:
        before = trio.current_time()
        assert await pool.call("number") == 1
        async with pool.lease():
            assert await pool.call("number") == 2
        assert trio.current_time() == before + 14
        assert pool.statistics().timed_out == 0
        assert pool.statistics().started == 2


async def test_asker_without_a_start_of_its_own_is_told_at_once(module: FakeModule) -> None:
    """Those before it wait for the instances that are being started, one each."""
    async with (
        open_pool(module, size=2, min_size=0, max_wait=0) as pool,
        trio.open_nursery() as nursery,
    ):
        askers = Askers(pool, nursery)
        gates = [trio.Event(), trio.Event()]
        module.script.extend(gates)
        await askers.ask(3)
        assert askers.answers == [None, None, PoolTimeout]
        gates[1].set()
        await askers.settle()
        assert askers.answers[0] is not None
        gates[0].set()
        await askers.settle()
        assert PoolTimeout not in askers.answers[:2]
        assert pool.statistics().timed_out == 1


async def test_asker_has_an_instance_that_is_given_back_before_its_start_is_done(
    module: FakeModule,
) -> None:
    """Whatever is ready first goes to the first in line."""
    async with open_pool(module, size=2, max_wait=0) as pool, trio.open_nursery() as nursery:
        askers = Askers(pool, nursery)
        module.script.append(gate := trio.Event())
        async with pool.lease():
            await askers.ask()
        await askers.settle()
        assert askers.answers == [1]
        gate.set()


async def test_asker_whose_start_fails_does_not_wait_for_a_lease_to_end(
    module: FakeModule,
) -> None:
    """The one whose start goes on waits on; with none alive the cause is told."""
    async with open_pool(module, size=3, max_wait=0) as pool, trio.open_nursery() as nursery:
        askers = Askers(pool, nursery)
        module.script.extend([gate := trio.Event(), ValueError("no start")])
        async with pool.lease():
            await askers.ask(2)
            assert askers.answers == [None, PoolTimeout]
            gate.set()
            await askers.settle()
            assert askers.answers[0] == len(module.instances) == 2
    async with open_pool(module, size=3, min_size=0, max_wait=0) as pool:
        module.script.append(ValueError("no start"))
        with pytest.raises(PoolUnavailable):
            await pool.call("number")


async def test_asker_waits_for_a_check_and_then_for_the_start_in_its_place(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """An unhealthy instance does not cost the asker its place."""

    async def check(instance: FakeInstance) -> bool:
        await trio.sleep(1)
        return instance.healthy

    async with open_pool(module, size=1, max_wait=0, check=check) as pool:
        await trio.sleep(2)
        assert await pool.call("number") == 1
        await trio.sleep(2)
        module.instances[0].healthy = False
        assert await pool.call("number") == 2
        assert pool.statistics().retired["unhealthy"] == 1


async def test_asker_waits_for_the_place_of_an_instance_that_is_being_closed(
    module: FakeModule,
) -> None:
    """No lease has to end for it; one more asker than there are places is told at once."""
    module.close_gate = gate = trio.Event()
    async with open_pool(module, size=1, max_wait=0) as pool, trio.open_nursery() as nursery:
        askers = Askers(pool, nursery)
        with pytest.raises(Trap):
            await pool.call("trap")
        await askers.ask(2)
        assert askers.answers == [None, PoolTimeout]
        gate.set()
        await askers.settle()
        assert askers.answers == [2, PoolTimeout]


async def test_asker_does_not_wait_for_what_a_reload_starts(
    make_module: Callable[..., FakeModule],
) -> None:
    """It may take long, and may fail."""
    new = make_module(2)
    new.script.append(gate := trio.Event())
    async with (
        open_pool(make_module(1), size=1, max_wait=0) as pool,
        trio.open_nursery() as nursery,
    ):
        askers = Askers(pool, nursery)
        async with pool.lease():
            nursery.start_soon(pool.reload, new)
            await askers.settle()
            await askers.ask()
            assert askers.answers == [PoolTimeout]
        gate.set()


async def test_asker_whose_start_has_no_place_any_more_is_told(module: FakeModule) -> None:
    """A resize leaves nothing for it but the line."""
    async with open_pool(module, size=2, max_wait=0) as pool, trio.open_nursery() as nursery:
        askers = Askers(pool, nursery)
        module.script.append(gate := trio.Event())
        async with pool.lease():
            await askers.ask()
            await pool.resize(1)
            assert askers.answers == [None]
            gate.set()
            await askers.settle()
            assert askers.answers == [PoolTimeout]


async def test_reload_fails_no_asker_that_waits_for_a_start(
    make_module: Callable[..., FakeModule],
) -> None:
    """Its start comes too late, and it has an instance of the new generation."""
    old, new = make_module(1), make_module(2)
    async with (
        open_pool(old, size=3, min_size=0, max_wait=0) as pool,
        trio.open_nursery() as nursery,
    ):
        askers = Askers(pool, nursery)
        gates = [trio.Event() for _ in range(3)]
        old.script.extend(gates)
        await askers.ask(3)
        nursery.start_soon(pool.reload, new)
        await askers.settle()
        for gate in gates:
            gate.set()
        await askers.settle()
        assert None not in askers.answers
        assert PoolTimeout not in askers.answers
        assert not any(instance.calls for instance in old.instances)


async def test_holder_that_asks_again_has_lease_deadlock(module: FakeModule) -> None:
    """Whatever ``max_wait`` is."""
    async with open_pool(module, size=1, max_wait=0) as pool, pool.lease():
        with pytest.raises(LeaseDeadlock):
            await pool.call("number")
