"""The main job on the real thing: a pool of the example plugin, used by many tasks at once."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import wasmpool
from wasmpool import example

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FOR_EVER = 2**63


async def use(pool: wasmpool.Pool | wasmpool.Lease, tool: str, **args: Any) -> Any:
    """Execute a tool of the example by the bare pool; its data, decoded."""
    request = json.dumps({"tool_name": tool, "args": args}).encode()
    reply = json.loads(await pool.exchange("execute", request))
    assert "is_error" not in reply, reply
    return json.loads(reply["data"])


@wasmpool.host_function("env", "host_http_request", params=("i64",), results=("i64",))
async def no_http(caller: wasmpool.Caller, request: int) -> int:
    """Answer as a host without HTTP does."""
    caller.read(request)
    return await caller.reply(b'{"status": 0, "body": "no HTTP here"}')


@wasmpool.host_function("env", "host_log", params=("i32", "i32"))
def no_log(caller: wasmpool.Caller, ptr: int, size: int) -> None:
    """Read the line and drop it."""
    caller.memory.read(ptr, size)


@pytest.fixture
async def module() -> wasmpool.Module:
    """The example, compiled."""
    return await wasmpool.Module.compile(example.PATH, imports=[no_http, no_log])


async def test_every_reply_is_the_callers_own(module: wasmpool.Module) -> None:
    """32 tasks, 8 calls each, 4 instances."""

    async def call(task: int) -> None:
        for turn in range(8):
            message = f"task {task}, turn {turn}"
            assert await use(pool, "echo", message=message) == {"echo": message}

    async with wasmpool.open_pool(module, size=4) as pool:
        async with trio.open_nursery() as nursery:
            for task in range(32):
                nursery.start_soon(call, task)
        statistics = pool.statistics()
    assert statistics.granted == statistics.asked == 32 * 8
    assert statistics.started <= 4


async def test_calls_that_wait_on_the_host_wait_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """32 calls of 50 ms in an async host function take 50 ms, and no thread."""

    @wasmpool.host_function("env", "wait")
    async def wait(caller: wasmpool.Caller) -> None:
        del caller
        await trio.sleep(0.05)

    module = await wasmpool.Module.compile(
        '(module (import "env" "wait" (func)) (export "go" (func 0)))', imports=[wait]
    )
    async with wasmpool.open_pool(module, size=32, min_size=32) as pool:
        before = set(threading.enumerate())
        began = autojump_clock.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(pool.call, "go")
        assert autojump_clock.current_time() - began == pytest.approx(0.05)
        assert {each.name for each in set(threading.enumerate()) - before} <= {"wasmpool ticker"}


async def test_what_one_instance_remembers_no_other_does(module: wasmpool.Module) -> None:
    """Two leases at once have two memories."""
    async with (
        wasmpool.open_pool(module, size=2) as pool,
        pool.lease() as one,
        pool.lease() as two,
    ):
        await use(one, "remember", value="secret")
        assert await use(two, "recall") == {"value": None}
        assert await use(one, "recall") == {"value": "secret"}


async def test_one_use_each_is_a_pristine_guest_each_time(module: wasmpool.Module) -> None:
    """With `max_uses=1` nothing is carried over."""
    async with wasmpool.open_pool(module, size=2, max_uses=1) as pool:
        for k in range(10):
            assert await use(pool, "recall") == {"value": None}
            await use(pool, "remember", value=k)
        assert pool.statistics().retired["uses"] == 20


async def test_a_guest_that_spins_for_ever_is_cancelled_and_replaced(
    module: wasmpool.Module,
) -> None:
    """Another task's computation in the same pool is not disturbed."""
    results: list[Any] = []

    async def neighbour() -> None:
        results.append(await use(pool, "spin", rounds=30_000_000))

    async with wasmpool.open_pool(module, size=2, min_size=2) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(neighbour)
            with trio.move_on_after(0.02) as scope:
                await use(pool, "spin", rounds=FOR_EVER)
            assert scope.cancelled_caught
            assert pool.statistics().retired["cancelled"] == 1
            assert await use(pool, "echo", message="on") == {"echo": "on"}
        await trio.testing.wait_all_tasks_blocked()
        assert pool.statistics().idle == 2
    assert results == [{"value": lcg(30_000_000)}]


def lcg(rounds: int) -> int:
    """What the guest's `spin` comes to, by squaring."""
    factor, offset, total_factor, total_offset = 1664525, 1013904223, 1, 0
    while rounds:
        if rounds & 1:
            total_factor, total_offset = total_factor * factor, total_offset * factor + offset
        factor, offset = factor * factor, offset * factor + offset
        factor, offset = factor % 2**32, offset % 2**32
        total_factor, total_offset = total_factor % 2**32, total_offset % 2**32
        rounds >>= 1
    return total_offset


async def test_the_loop_goes_on_while_guests_compute(module: wasmpool.Module) -> None:
    """Four computing guests, and a task that sleeps 1 ms in a loop: it has its turns."""
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0.001)
            turns += 1

    async with wasmpool.open_pool(module, size=4) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        async with trio.open_nursery() as computing:
            for _ in range(4):
                computing.start_soon(_spin, pool)
        nursery.cancel_scope.cancel()
    assert turns > 20


async def _spin(pool: wasmpool.Pool) -> None:
    await use(pool, "spin", rounds=50_000_000)


@pytest.mark.parametrize(
    ("tool", "args", "error", "reason"),
    [
        ("crash", {}, wasmpool.GuestTrap, "trap"),
        ("quit", {"status": 3}, wasmpool.GuestExit, "exit"),
    ],
)
async def test_a_guest_that_dies_takes_only_its_own_call_along(
    module: wasmpool.Module, tool: str, args: dict[str, Any], error: type[Exception], reason: str
) -> None:
    """The named error in that task; the pool then serves as before."""
    async with wasmpool.open_pool(module, size=2) as pool:
        with pytest.raises(error):
            await use(pool, tool, **args)
        assert pool.statistics().retired[reason] == 1
        for _ in range(4):
            assert await use(pool, "echo", message="on") == {"echo": "on"}


async def test_a_wild_pointer_takes_only_its_own_call_along() -> None:
    """GuestMemoryError, and the instance is replaced."""
    module = await wasmpool.Module.compile(
        '(module (memory (export "memory") 1) (func (export "wild") (result i64) (i64.const -1))'
        ' (func (export "good") (result i64) (i64.const 5)))'
    )
    async with wasmpool.open_pool(module, size=1) as pool:
        with pytest.raises(wasmpool.GuestMemoryError):
            await pool.exchange("wild")
        assert await pool.exchange("good") == bytes(5)
        assert pool.statistics().retired["bad-pointer"] == 1


async def test_bytes_that_are_no_wasm_are_a_compile_error() -> None:
    """Before there is a pool."""
    with pytest.raises(wasmpool.CompileError):
        await wasmpool.Module.compile(b"MZ this is something else")


async def test_when_the_block_ends_nothing_is_left(
    module: wasmpool.Module, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    """No ticker, no instance, also where guests were computing."""
    async with wasmpool.open_pool(module, size=3, grace=0) as pool, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(_until_revoked, pool)
        await until(lambda: pool.statistics().leased == 3)
        await pool.aclose()
    statistics = pool.statistics()
    assert statistics.started == statistics.closed == 3
    assert "wasmpool ticker" not in {each.name for each in threading.enumerate()}


async def _until_revoked(pool: wasmpool.Pool) -> None:
    with pytest.raises(wasmpool.LeaseRevoked):
        await use(pool, "spin", rounds=FOR_EVER)
