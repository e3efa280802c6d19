"""A run of a program takes an instance for itself: it retires after it, and a spare is begun."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.seams import check_invariants, retired, settle

from wasmpool import GuestTrap, Module, PoolClosed, open_pool

if TYPE_CHECKING:
    from tests.pool.fakes import FakeModule

FOR_EVER: Any = (trio.Event(),)
PROGRAM = Path(__file__).parents[1] / "guests" / "c_program.wasm"


async def test_an_instance_runs_once(module: FakeModule) -> None:
    """Each run has another one, which retires as finished."""
    async with open_pool(module, size=2) as pool:
        numbers = [(await pool.run((), export="number")).returncode for _ in range(5)]
        await settle(pool)
        assert len(set(numbers)) == 5
        assert retired(pool) == {"finished": 5}


async def test_a_spare_is_begun_when_a_run_begins(module: FakeModule) -> None:
    """So that with ``min_size`` ready ones a run waits for no start."""
    async with open_pool(module, size=4, min_size=2) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: pool.run(FOR_EVER, export="wait"))
        await settle(pool)
        statistics = pool.statistics()
        assert (statistics.leased, statistics.idle) == (1, 2)
        nursery.cancel_scope.cancel()
    assert retired(pool)["cancelled"] == 1


async def test_spares_stay_within_the_size(module: FakeModule) -> None:
    """A run of each instance leaves no room: the next one waits."""
    async with open_pool(module, size=2, min_size=2) as pool, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: pool.run(FOR_EVER, export="wait"))
        await settle(pool)
        statistics = pool.statistics()
        assert (statistics.leased, statistics.idle, statistics.waiting) == (2, 0, 1)
        nursery.cancel_scope.cancel()


async def test_a_run_that_is_refused_costs_no_instance(module: FakeModule) -> None:
    """Its arguments were wrong: nothing has run."""
    async with open_pool(module, size=1) as pool:
        first = await pool.call("number")
        with pytest.raises(TypeError, match="args"):
            await pool.run(["a list"], export="number")
        await settle(pool)
        assert await pool.call("number") == first
        assert retired(pool) == {}


async def test_a_lease_runs_one_program(module: FakeModule) -> None:
    """After that its instance is of no more use, and retires with the lease."""
    async with open_pool(module, size=1) as pool:
        async with pool.lease() as lease:
            await lease.call("number")
            await lease.run((), export="number")
            check_invariants(pool)
        await settle(pool)
        assert retired(pool) == {"finished": 1}


async def test_a_reload_in_the_middle_of_a_run(make_module: object) -> None:
    """The old generation's run ends where it is; the new one has its own spares."""
    one, two = make_module(1), make_module(2)  # type: ignore[operator]
    async with open_pool(one, size=2, min_size=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: pool.run(FOR_EVER, export="wait"))
        await settle(pool)
        nursery.start_soon(pool.reload, two)
        await settle(pool)
        assert pool.generation == 2
        nursery.cancel_scope.cancel()


async def test_a_closing_pool_refuses_a_run(module: FakeModule) -> None:
    """As it does a call."""
    async with open_pool(module) as pool:
        await pool.aclose()
        with pytest.raises(PoolClosed):
            await pool.run()


# --- a program in C ---


async def test_a_trap_carries_the_last_words() -> None:
    """What a panic has printed is on the error, and in its note."""
    async with open_pool(await Module.compile(PROGRAM)) as pool:
        with pytest.raises(GuestTrap) as caught:
            await pool.run(["program", "panic", "at the disco\nred\x1b[31m"])
        assert caught.value.stderr == b"panic: at the disco\nred\x1b[31m\n"
        (note,) = caught.value.__notes__
        assert note.splitlines()[1:] == ["  panic: at the disco", "  red\\x1b[31m"]
        await settle(pool)
        assert retired(pool) == {"trap": 1}


async def test_a_cancelled_run_ends() -> None:
    """An endless program is stopped, and the pool serves on."""
    async with open_pool(await Module.compile(PROGRAM)) as pool:
        with trio.move_on_after(0.05) as scope:
            await pool.run(["program", "spin"])
        assert scope.cancelled_caught
        assert (await pool.run(["program", "exit", "3"])).returncode == 3
        await settle(pool)
        assert retired(pool) == {"cancelled": 1, "finished": 1}
