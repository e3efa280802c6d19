"""Instances that do not serve again: each reason, and what comes in their place."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import FakeInstance, FakeModule, Trap
from tests.pool.seams import idle_slots, retired, settle

from wasmpool._pool.pool import open_pool
from wasmpool._pool.retire_reason import RetireReason

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_every_reason_is_counted_from_the_start(module: FakeModule) -> None:
    """``retired`` has each reason, by its own name and as a string."""
    async with open_pool(module) as pool:
        counts = pool.statistics().retired
        assert set(counts) == set(RetireReason)
        assert counts["trap"] == counts[RetireReason.TRAP] == 0


@pytest.mark.parametrize(
    "reason", ["trap", "exit", "host-error", "bad-pointer", "cancelled", "timeout"]
)
async def test_poisoned_instance_retires_with_its_own_reason(
    module: FakeModule, reason: str
) -> None:
    """And is replaced, as fewer than ``min_size`` are left."""
    async with open_pool(module) as pool:
        async with pool.lease():
            module.instances[0].poisoned = reason
        await settle(pool)
        assert retired(pool) == {reason: 1}
        assert pool.statistics().idle == 1


async def test_exception_in_the_block_retires_nothing(module: FakeModule) -> None:
    """With no call under way the instance is as good as before."""
    async with open_pool(module) as pool:
        with pytest.raises(KeyError):  # noqa: PT012 - it is the block that raises
            async with pool.lease() as lease:
                await lease.call("echo", 1)
                raise KeyError
        with trio.CancelScope() as scope:
            async with pool.lease():
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert retired(pool) == {}


async def test_discarded_instance_does_not_serve_again(module: FakeModule) -> None:
    """The lease itself goes on."""
    async with open_pool(module) as pool:
        async with pool.lease() as lease:
            lease.discard()
            assert await lease.call("echo", 1) == 1
        assert retired(pool) == {"discarded": 1}


async def test_max_uses_counts_leases(module: FakeModule) -> None:
    """Small numbers are exact; large ones carry a jitter of up to 5 %."""
    async with open_pool(module, max_uses=3) as pool:
        for _ in range(9):
            await pool.call("echo", 1)
        assert retired(pool) == {"uses": 3}
    async with open_pool(module, max_uses=1000, size=30, min_size=30) as pool:
        limits = {slot.last_use for slot in idle_slots(pool)}
        assert len(limits) > 5
        assert all(950 <= limit <= 1000 for limit in limits)


async def test_max_uses_of_one_gives_each_lease_a_pristine_instance(module: FakeModule) -> None:
    """A spare is begun when one is granted, up to ``min_size`` idle ones, within ``size``."""
    async with open_pool(module, size=3, min_size=1, max_uses=1) as pool:
        async with pool.lease() as first:
            assert pool.statistics().starting == 1
            await settle(pool)
            assert pool.statistics().idle == 1
            async with pool.lease(), pool.lease():
                await settle(pool)
                statistics = pool.statistics()
                assert (statistics.leased, statistics.idle, statistics.starting) == (3, 0, 0)
            assert await first.call("number") == 1
        numbers = [await pool.call("number") for _ in range(5)]
        assert len({*numbers, 1}) == 6
    assert module.most_live == 3


async def test_max_age_retires_idle_instances_and_leased_ones_at_the_end_of_their_lease(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """With a jitter of up to 5 %, so that they do not retire in step."""
    async with open_pool(module, size=2, min_size=2, max_age=100) as pool:
        async with pool.lease():
            await trio.sleep(94.9)
            assert retired(pool) == {}
            await trio.sleep(5.2)
            assert retired(pool) == {"age": 1}
        assert retired(pool) == {"age": 2}
        await settle(pool)
        assert pool.statistics().idle == 2
        expiries = {slot.expires for slot in idle_slots(pool)}
        assert len(expiries) == 2


async def test_max_idle_shrinks_to_min_size_from_the_least_recently_used(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """What is used stays, and what is kept warm does not go round in circles."""
    async with open_pool(module, size=4, min_size=1, max_idle=10) as pool:
        async with pool.lease(), pool.lease(), pool.lease(), pool.lease():
            pass
        used = await pool.call("number")
        for _ in range(4):
            await trio.sleep(4)
            assert await pool.call("number") == used
        assert retired(pool) == {"idle": 3}
        await trio.sleep(100)
        assert retired(pool) == {"idle": 3}
        assert [instance.number for instance in module.live] == [used]


async def test_max_memory_is_looked_at_after_each_lease(module: FakeModule) -> None:
    """Growing up to the limit is fine."""
    async with open_pool(module, max_memory=1000) as pool:
        await pool.call("grow", 1000)
        assert retired(pool) == {}
        await pool.call("grow", 1001)
        assert retired(pool) == {"memory": 1}


async def test_max_age_that_passes_during_a_check_retires_the_instance(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """The task in line has a new one; an age that passes after the check retires as ever."""

    async def check(instance: FakeInstance) -> None:
        await trio.sleep(3)

    async with open_pool(module, size=2, min_size=2, check=check, max_age=100) as pool:
        first, second = sorted(idle_slots(pool), key=lambda slot: slot.expires)
        second.expires = first.expires + 5  # it is checked when the first is too old
        await trio.sleep_until(first.expires - 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, "number")
            nursery.start_soon(pool.call, "number")
            await trio.sleep(2)
            assert retired(pool) == {}
        assert retired(pool) == {"age": 1}
        assert second in idle_slots(pool)
        await trio.sleep_until(second.expires + 0.1)
        assert retired(pool) == {"age": 2}


@pytest.mark.parametrize("answer", [False, 0, ValueError("no")])
async def test_check_that_says_no_or_raises_retires_as_unhealthy(
    module: FakeModule, autojump_clock: MockClock, answer: Any
) -> None:
    """It is asked only after more than a second of idling; the asker has another instance."""
    asked: list[int] = []

    async def check(instance: FakeInstance) -> Any:
        await trio.lowlevel.checkpoint()
        asked.append(instance.number)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with open_pool(module, check=check) as pool:
        await trio.sleep(1)
        assert await pool.call("number") == 1
        assert not asked
        await trio.sleep(1.1)
        assert await pool.call("number") == 2
        assert asked == [1]
        assert retired(pool) == {"unhealthy": 1}


async def test_check_that_hangs_is_bounded_by_start_timeout(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """And the asker is served by another instance then."""

    async def check(instance: FakeInstance) -> bool:
        await trio.sleep_forever()

    async with open_pool(module, size=1, check=check, start_timeout=3) as pool:
        await trio.sleep(2)
        before = trio.current_time()
        assert await pool.call("number") == 2
        assert trio.current_time() == pytest.approx(before + 3)


async def test_instance_whose_close_fails_is_logged_and_its_place_freed(
    module: FakeModule, caplog: pytest.LogCaptureFixture
) -> None:
    """A pool never loses capacity, whatever its instances do."""
    async with open_pool(module, size=1) as pool:
        module.close_errors.append(OSError("disk"))
        with pytest.raises(Trap):
            await pool.call("trap")
        assert await pool.call("number") == 2
    assert "closing instance 1 failed" in caplog.text


async def test_instance_whose_close_cannot_even_be_logged_frees_its_place(
    module: FakeModule,
) -> None:
    """What the logging raises ends the block, once the pool is closed."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError(record.getMessage())

    async def use() -> None:
        async with open_pool(module, size=1) as pool:
            module.close_errors.append(OSError("disk"))
            with pytest.raises(Trap):
                await pool.call("trap")
            await trio.sleep_forever()

    broken = Broken()
    logging.getLogger("wasmpool").addHandler(broken)
    try:
        with trio.fail_after(5), pytest.raises(RuntimeError, match="closing instance 1 failed"):
            await use()
    finally:
        logging.getLogger("wasmpool").removeHandler(broken)


async def test_replacement_begins_while_the_old_instance_still_closes(module: FakeModule) -> None:
    """Where there is room: nobody waits for a close that need not."""
    async with open_pool(module, size=2) as pool:
        module.close_gate = trio.Event()
        with pytest.raises(Trap):
            await pool.call("trap")
        assert pool.statistics().retiring == pool.statistics().starting == 1
        assert await pool.call("number") == 2
        module.close_gate.set()


async def test_max_idle_keeps_min_size_warm_when_all_are_due(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """Nothing is retired only to be started again."""
    async with open_pool(module, size=4, min_size=2, max_idle=10) as pool:
        async with pool.lease(), pool.lease(), pool.lease(), pool.lease():
            pass
        await trio.sleep(100)
        assert retired(pool) == {"idle": 2}
        assert module.starts == 4
