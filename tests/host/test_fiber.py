"""Driving a call: slices, threads, cancels and interrupts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.host.seams import starts_in_thread

from wasmpool_host import (
    Caller,
    CallTimeout,
    GuestTrap,
    InstanceClosed,
    Limits,
    Module,
    host_function,
)
from wasmpool_host._instance.fiber import Fiber

if TYPE_CHECKING:
    from tests.host.instance_of import DrivenInstanceOf, InstanceOf

SPIN = """(module $m
  (func (export "spin") (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.add (i32.mul (local.get 1) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $l (local.get 0)))
    (local.get 1))
  (func (export "forever") (loop $l (br $l))))"""

SPIN_FOREVER_IN_START = "(module (func $s (loop $l (br $l))) (start $s))"

LONG = 40_000_000
"""Rounds: many slices, on any machine."""


def spin(rounds: int) -> int:
    """What the guest's `spin` gives, for a few rounds."""
    value = 0
    for _ in range(rounds):
        value = (value * 1664525 + 1013904223) % 2**32
    return value - 2**32 if value >= 2**31 else value


async def test_a_short_call_needs_no_thread(instance_of: InstanceOf) -> None:
    """It is done on the trio thread, at the first poll; only the ticker is started for it."""
    instance = await instance_of(SPIN)
    before = set(threading.enumerate())
    for _ in range(100):
        assert await instance.call("spin", 10) == spin(10)
    assert {thread.name for thread in set(threading.enumerate()) - before} <= {"wasmpool ticker"}


async def test_a_long_call_lets_the_loop_go_on(instance_of: InstanceOf) -> None:
    """Another task runs many times before the guest is done."""
    instance = await instance_of(SPIN)
    turns = 0
    async with trio.open_nursery() as nursery:

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.sleep(0.001)
                turns += 1

        nursery.start_soon(count)
        await instance.call("spin", LONG)
        nursery.cancel_scope.cancel()
    assert turns > 10


async def test_many_guests_compute_at_once_and_each_has_its_own_result(
    instance_of: InstanceOf,
) -> None:
    """More guests than threads: each is served, slice by slice."""
    module = await Module.compile(SPIN)
    instances = [await instance_of(module) for _ in range(8)]
    results: dict[int, object] = {}

    async def use(k: int) -> None:
        results[k] = await instances[k].call("spin", 3_000_000 + k)

    async with trio.open_nursery() as nursery:
        for k in range(8):
            nursery.start_soon(use, k)
    assert len(set(results.values())) == 8
    assert results[3] == await instances[0].call("spin", 3_000_003)


@pytest.mark.parametrize("endless", [1, 6])
async def test_a_cancel_ends_exactly_one_guest(instance_of: InstanceOf, endless: int) -> None:
    """Also where endless guests fill all threads; the others go on until they are cancelled."""
    module = await Module.compile(SPIN)
    instances = [await instance_of(module) for _ in range(endless)]
    scopes = [trio.CancelScope() for _ in range(endless)]
    ended = [trio.Event() for _ in range(endless)]

    async def use(k: int) -> None:
        with scopes[k]:
            await instances[k].call("forever")
        ended[k].set()

    async with trio.open_nursery() as nursery:
        for k in range(endless):
            nursery.start_soon(use, k)
        await trio.testing.wait_all_tasks_blocked()
        for k in reversed(range(endless)):
            scopes[k].cancel()
            await ended[k].wait()
            assert instances[k].poisoned == "cancelled"
            assert [each.poisoned for each in instances[:k]] == [None] * k


async def test_endless_guests_starve_nobody(instance_of: InstanceOf) -> None:
    """With more endless guests than threads, another guest's computation is still done."""
    module = await Module.compile(SPIN)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon((await instance_of(module)).call, "forever")
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(20):
            assert await (await instance_of(module)).call("spin", LONG) is not None
        nursery.cancel_scope.cancel()


async def test_a_cancel_during_instantiate_leaves_nothing(instance_of: InstanceOf) -> None:
    """A start function that never ends is cancelled like any call."""
    with trio.move_on_after(0.02) as scope:
        await instance_of(SPIN_FOREVER_IN_START)
    assert scope.cancelled_caught


async def test_a_cancelled_compile_returns_and_drops_its_result() -> None:
    """Its thread is left to finish."""
    body = "(local.set 0 (i32.mul (local.get 0) (i32.const 3)))" * 20_000
    with trio.CancelScope() as scope:
        scope.cancel()
        await Module.compile(f"(module (func (param i32) {body}))")
    assert scope.cancelled_caught


async def test_a_call_that_returns_wins_over_its_cancel(instance_of: InstanceOf) -> None:
    """Nothing after the guest has returned raises Cancelled: its work is not lost.

    On a busy machine the guest's slice may end just after the host function, and it is cancelled
    before it has returned. That is right, too, but rare.
    """
    outcomes: list[object] = []

    @host_function("env", "cancel", results=("i32",))
    def cancel(caller: Caller) -> int:
        del caller
        scope.cancel()
        return 42

    ends: list[tuple[str | None, bool]] = []
    while not outcomes and len(ends) < 20:
        instance = await instance_of(
            '(module (import "env" "cancel" (func (result i32))) (export "go" (func 0)))',
            imports=[cancel],
        )
        with trio.CancelScope() as scope:
            outcomes.append(await instance.call("go"))
        ends.append((instance.poisoned, scope.cancelled_caught))
    assert outcomes == [42]
    assert ends.pop() == (None, False)
    assert set(ends) <= {("cancelled", True)}


async def test_a_call_takes_no_longer_than_its_limit(instance_of: InstanceOf) -> None:
    """CallTimeout names the limit, and the instance is poisoned by it."""
    instance = await instance_of(SPIN, limits=Limits(call_seconds=0.02))
    with pytest.raises(CallTimeout, match=r"m.forever took longer than limits.call_seconds=0.02"):
        await instance.call("forever")
    assert instance.poisoned == "timeout"


async def test_the_limit_counts_host_functions(
    instance_of: InstanceOf, autojump_clock: trio.testing.MockClock
) -> None:
    """It is wall time of the whole call."""

    @host_function("env", "wait")
    async def wait(caller: Caller) -> None:
        del caller
        await trio.sleep(10)

    instance = await instance_of(
        '(module $m (import "env" "wait" (func)) (export "go" (func 0)))',
        imports=[wait],
        limits=Limits(call_seconds=3),
    )
    with pytest.raises(CallTimeout):
        await instance.call("go")
    assert autojump_clock.current_time() == pytest.approx(3)


async def test_an_outer_cancel_wins_over_the_limit(
    instance_of: InstanceOf, autojump_clock: trio.testing.MockClock
) -> None:
    """A scope around the call is no timeout of the call."""
    del autojump_clock

    @host_function("env", "wait")
    async def wait(caller: Caller) -> None:
        del caller
        await trio.sleep_forever()

    instance = await instance_of(
        '(module (import "env" "wait" (func)) (export "go" (func 0)))',
        imports=[wait],
        limits=Limits(call_seconds=3),
    )
    with trio.move_on_after(1) as scope:
        await instance.call("go")
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"


class Revoked(Exception):
    """What the tests interrupt with."""


async def test_an_interrupt_ends_a_computing_guest(driven_instance_of: DrivenInstanceOf) -> None:
    """The call raises its error; an instance that is not in a call is unchanged."""
    instance = await driven_instance_of(SPIN)
    instance.interrupt(Revoked("not yet"))
    assert await instance.call("spin", 10) == spin(10)
    async with trio.open_nursery() as nursery:

        async def use() -> None:
            with pytest.raises(Revoked, match="now"):
                await instance.call("forever")

        nursery.start_soon(use)
        await trio.testing.wait_all_tasks_blocked()
        instance.interrupt(Revoked("now"))
        instance.interrupt(Revoked("too late"))
    assert instance.poisoned is not None


@pytest.mark.parametrize("shielded", [False, True])
async def test_closing_drops_a_guest_that_waits_in_a_host_function(
    instance_of: InstanceOf, *, shielded: bool
) -> None:
    """Also where the host function shields itself: the call ends when that returns."""
    inside, leave = trio.Event(), trio.Event()
    ended: list[str] = []

    @host_function("env", "wait", results=("i32",))
    async def wait(caller: Caller) -> int:
        inside.set()
        with trio.CancelScope(shield=shielded):
            await leave.wait()
        with pytest.raises((InstanceClosed, RuntimeError)):
            caller.memory.read(0, 1)
        return 1

    instance = await instance_of(
        '(module (import "env" "wait" (func (result i32))) (memory (export "memory") 1)'
        ' (export "go" (func 0)))',
        imports=[wait],
    )

    async def use() -> None:
        with pytest.raises(InstanceClosed, match="was closed during the call"):
            await instance.call("go")
        ended.append("call")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        await inside.wait()
        await instance.aclose()
        ended.append("close")
        leave.set()
    assert sorted(ended) == ["call", "close"]
    if shielded:
        assert ended == ["close", "call"]


async def test_closing_ends_a_computing_guest(instance_of: InstanceOf) -> None:
    """The store goes only once no thread runs in it."""
    instance = await instance_of(SPIN)
    async with trio.open_nursery() as nursery:

        async def use() -> None:
            with pytest.raises(InstanceClosed):
                await instance.call("forever")

        nursery.start_soon(use)
        await trio.testing.wait_all_tasks_blocked()
        await instance.aclose()


async def test_closing_a_guest_that_returns_all_the_same(
    instance_of: InstanceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest in its last slice has its result, and the close that waits for it ends."""
    returned, go_on = threading.Event(), threading.Event()
    step = Fiber.step

    def step_and_wait(fiber: Fiber) -> bool:
        enough = step(fiber)
        if fiber.finished:
            returned.set()
            go_on.wait()
        return enough

    monkeypatch.setattr(Fiber, "step", step_and_wait)
    instance = await instance_of(SPIN)
    results: list[object] = []

    async def use() -> None:
        results.append(await instance.call("spin", LONG))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            await trio.to_thread.run_sync(returned.wait)
            nursery.start_soon(instance.aclose)
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
    assert len(results) == 1


async def test_an_export_that_was_long_starts_in_a_thread_and_comes_back_when_short(
    instance_of: InstanceOf,
) -> None:
    """What an export did lately decides where it starts; its results are the same."""
    module = await Module.compile(SPIN)
    instance = await instance_of(module)
    for _ in range(3):
        await instance.call("spin", LONG // 4)
    assert starts_in_thread(module, "spin")
    short = 0
    while starts_in_thread(module, "spin"):  # a tick may come in the way of some
        assert await instance.call("spin", 10) == spin(10)
        short += 1
    assert 0 < short < 100


async def test_the_ticker_is_gone_with_the_last_instance() -> None:
    """And is there again for the next."""
    module = await Module.compile(SPIN)

    def tickers() -> list[Any]:
        return [each for each in threading.enumerate() if each.name == "wasmpool ticker"]

    for _ in range(2):
        one, two = await module.instantiate(), await module.instantiate()
        await one.call("spin", 10)
        assert len(tickers()) == 1
        await one.aclose()
        assert len(tickers()) == 1
        await two.aclose()
        assert tickers() == []


@pytest.mark.parametrize("rounds", [125, pytest.param(500, marks=pytest.mark.slow)])
async def test_errors_reach_their_own_callers(rounds: int) -> None:
    """Thousands of calls: host functions raise next to guests that trap, inline and in threads."""

    class Mine(Exception):
        pass

    @host_function("env", "fail", params=("i32",))
    async def fail(caller: Caller, number: int) -> None:
        del caller
        await trio.lowlevel.checkpoint()
        raise Mine(number)

    text = """(module (import "env" "fail" (func $fail (param i32)))
      (func $spin (param i32) (loop $l
        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
      (func (export "fail") (param i32 i32) (call $spin (local.get 1)) (call $fail (local.get 0)))
      (func (export "trap") (param i32) (call $spin (local.get 0)) unreachable))"""
    module = await Module.compile(text, imports=[fail])
    tasks = 20
    own = 0

    async def use(task: int) -> None:
        nonlocal own
        for turn in range(rounds):
            number = task * rounds + turn
            work = 4_000_000 if turn % 50 == 0 else 1  # some go on in a thread
            instance = await module.instantiate()
            try:
                if number % 3:
                    await instance.call("fail", number, work)
                else:
                    await instance.call("trap", work)
            except Mine as error:
                own += error.args == (number,) and number % 3 != 0
                assert instance.poisoned == "host-error"
            except GuestTrap:
                own += number % 3 == 0
                assert instance.poisoned == "trap"
            await instance.aclose()

    async with trio.open_nursery() as nursery:
        for task in range(tasks):
            nursery.start_soon(use, task)
    assert own == tasks * rounds
