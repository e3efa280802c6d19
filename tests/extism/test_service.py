"""An Extism plugin in service: many calls at once, reload, close, cancel, pristine instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.extism.script_guest import guest, script, step

from wasmpool import (
    Caller,
    CallTimeout,
    GuestMemoryError,
    GuestTrap,
    Limits,
    PluginClosed,
    PoolClosed,
    PoolUnavailable,
    ReloadFailed,
    SnapshotError,
    host_function,
    open_extism,
)
from wasmpool_host.lowlevel import KernelAccess

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable

    CancelledAt = Callable[[int], contextlib.AbstractContextManager[trio.CancelScope]]
    Until = Callable[[Callable[[], bool]], Awaitable[None]]

USER = "extism:host/user"
ASKS = guest(user=True)
OTHER = guest(user=True, start='(func (export "other"))')


class Desk:
    """A host function ``user`` that answers once it is told to, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.open = trio.Event()

        @host_function(USER, "user", params=("i64",), results=("i64",))
        async def user(caller: Caller, offset: int) -> int:
            question = caller.read(offset)
            self.asked.append(question)
            await self.open.wait()
            return await caller.reply(b"re: " + question)

        self.function = user


# --- many calls ---


async def test_calls_wait_side_by_side(until: Until) -> None:
    """32 calls wait in an async host function at once, each with its own input and answer."""
    desk = Desk()
    answers: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        answers[number] = await plugin.call("ask", f"question {number}")

    async with open_extism(ASKS, functions=[desk.function], size=32) as plugin:
        async with trio.open_nursery() as nursery:
            for number in range(32):
                nursery.start_soon(ask, number)
            await until(lambda: len(desk.asked) == 32)
            desk.open.set()
        assert answers == {number: f"re: question {number}".encode() for number in range(32)}


async def test_plain_host_functions() -> None:
    """A plain function serves as well, and so does one of another namespace."""

    @host_function(USER, "user", params=("i64",), results=("i64",))
    def user(caller: Caller, offset: int) -> int:
        assert caller.read(offset) == b"x"
        return offset

    async with open_extism(ASKS, functions=[user]) as plugin:
        assert await plugin.call("ask", b"x") == b"x"

    @host_function("mine", "user", params=("i64",), results=("i64",))
    def mine(caller: Caller, offset: int) -> int:
        return user(caller, offset)  # type: ignore[no-any-return]

    async with open_extism(ASKS.replace(USER, "mine"), functions=(mine,)) as plugin:
        assert await plugin.call("ask", b"x") == b"x"


async def test_a_wild_offset_for_a_host_function() -> None:
    """`Caller.read` of what is no block is a GuestMemoryError, and an error of the host its own."""

    @host_function(USER, "user", params=("i64",), results=("i64",))
    def user(caller: Caller, offset: int) -> int:
        if offset == 7:
            raise LookupError("seven")
        return len(caller.read(offset))

    async with open_extism(ASKS, functions=[user]) as plugin:
        with pytest.raises(GuestMemoryError, match=r"extism:host/user.user was given the offset"):
            await plugin.call("run", script(step("user", 99)))
        with pytest.raises(LookupError, match="seven"):
            await plugin.call("run", script(step("user", 7)))
        assert await plugin.call("echo", b"on") == b"on"


async def test_a_caller_that_is_kept() -> None:
    """After its host function has returned, nothing of a caller reaches the guest's blocks."""
    kept: list[Any] = []

    @host_function(USER, "user", params=("i64",), results=("i64",))
    def user(caller: Caller, offset: int) -> int:
        kept.extend([caller, KernelAccess(caller)])
        return offset

    async with open_extism(ASKS, functions=[user]) as plugin:
        await plugin.call("ask", b"x")
        caller, kernel = kept
    uses: list[Callable[[], Any]] = [
        lambda: caller.read(64),
        lambda: kernel.length(64),
        lambda: kernel.read("x", 64, 10),
        lambda: kernel.read_start("x", 64, 10),
        lambda: kernel.free(64),
        lambda: kernel.give(b"x"),
        lambda: kernel.call_number,
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="has returned: its caller is of no use"):
            use()
    with pytest.raises(RuntimeError, match="has returned: its caller is of no use"):
        await caller.reply(b"x")


async def test_a_reply_without_room() -> None:
    """A reply that does not fit into the blocks is a GuestMemoryError that says how much does."""

    @host_function(USER, "user", params=("i64",), results=("i64",))
    async def user(caller: Caller, _: int) -> int:
        return await caller.reply(bytes(10 << 20))

    limits = Limits(memory=8 << 20)
    async with open_extism(ASKS, functions=[user], limits=limits) as plugin:
        with pytest.raises(GuestMemoryError, match="10,485,760 bytes do not fit into the blocks"):
            await plugin.call("ask", b"x")
        with pytest.raises(GuestMemoryError, match="an input of 4,194,304 bytes does not fit"):
            await plugin.call("echo", bytes(4 << 20))
        assert await plugin.call("echo", b"on") == b"on"


async def test_allocations_without_end() -> None:
    """A guest that allocates until nothing is left gets zeros, and its host goes on."""
    steps = script(*[step("alloc", 1 << 20) for _ in range(200)], step("return", 3))
    async with open_extism(guest(), size=1, limits=Limits(memory=40 << 20)) as plugin:
        with pytest.raises(Exception, match="run returned 3"):
            await plugin.call("run", steps)
        assert await plugin.call("echo", b"on") == b"on"
        async with plugin.pool.lease() as lease:
            assert lease is not None


# --- the ends of calls ---


async def test_a_cancel_ends_one_call(until: Until) -> None:
    """A cancel in a host function or in the guest ends that call; another goes on."""
    desk = Desk()
    async with open_extism(ASKS, functions=[desk.function], size=3) as plugin:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plugin.call, "ask", b"spared")
            async with trio.open_nursery() as doomed:
                doomed.start_soon(plugin.call, "ask", b"doomed")
                doomed.start_soon(plugin.call, "spin")
                await until(lambda: len(desk.asked) == 2 and plugin.statistics().leased == 3)
                doomed.cancel_scope.cancel()
            assert plugin.statistics().leased == 1
            desk.open.set()
        assert plugin.statistics().retired["cancelled"] == 2
        assert await plugin.call("ask", b"on") == b"re: on"


async def test_a_cancel_while_the_reply_is_written() -> None:
    """`Caller.reply` is cancelled with its call, at its checkpoint."""
    scope = trio.CancelScope()

    @host_function(USER, "user", params=("i64",), results=("i64",))
    async def user(caller: Caller, _: int) -> int:
        scope.cancel()
        return await caller.reply(b"x")

    async with open_extism(ASKS, functions=[user]) as plugin:
        with scope:
            await plugin.call("ask", b"x")
        assert scope.cancelled_caught
        assert plugin.statistics().retired["cancelled"] == 1


async def test_the_time_of_a_call() -> None:
    """``timeout_ms`` of a manifest ends a call by CallTimeout; the plugin serves on."""
    given = {"wasm": [{"data": guest().encode()}], "timeout_ms": 500}
    async with open_extism(given) as plugin:
        with pytest.raises(CallTimeout):
            await plugin.call("spin")
        assert await plugin.call("echo", b"on") == b"on"


# --- reload and close ---


async def test_reload_while_calls_run(until: Until) -> None:
    """New calls go to the new module at once, the running one ends in the old."""
    desk = Desk()
    answers: list[bytes] = []

    async def ask() -> None:
        answers.append(await plugin.call("ask", b"old"))

    async with open_extism(ASKS, functions=[desk.function], size=2) as plugin:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: desk.asked == [b"old"])
            assert await plugin.reload(OTHER) == 2
            assert "other" in plugin.exports
            assert await plugin.call("other") == b""
            assert not answers
            desk.open.set()
        assert answers == [b"re: old"]
        assert await plugin.reload(OTHER) == 2


async def test_a_failed_reload() -> None:
    """What cannot be compiled, linked, started or read leaves the old module in service."""
    async with open_extism(guest(), name="p") as plugin:
        sources: list[Any] = [
            "(module (func",
            '(module (import "env" "x" (func)))',
            "(module (func $f unreachable) (start $f))",
            {"wasm": []},
            b"\0asm\1\0\0\0 garbage",
            "/nowhere/plugin.wasm",
        ]
        for broken in sources:
            with pytest.raises(ReloadFailed) as raised:
                await plugin.reload(broken)
            assert raised.value.__cause__ is not None
        with pytest.raises(TypeError, match="open_extism takes the path"):
            await plugin.reload(7)  # type: ignore[arg-type]
        assert await plugin.call("echo", b"on") == b"on"
        assert plugin.pool.generation == 1


async def test_a_cancelled_reload() -> None:
    """A cancel leaves the old module in service."""
    async with open_extism(guest()) as plugin:
        with trio.CancelScope() as scope:
            scope.cancel()
            await plugin.reload(OTHER)
        assert scope.cancelled_caught
        assert plugin.pool.generation == 1
        assert await plugin.call("echo", b"on") == b"on"


async def test_after_close() -> None:
    """A closed plugin refuses calls and reloads; closing again returns."""
    async with open_extism(guest(), name="p") as plugin:
        await plugin.aclose()
        assert plugin.closed
        assert plugin.exports == ()
        assert plugin.name == "p"
        with pytest.raises(PoolClosed, match="'p'"):
            await plugin.call("echo")
        with pytest.raises(PluginClosed, match="plugin 'p' is closed"):
            await plugin.reload(guest())
        await plugin.aclose()
    assert repr(plugin) == "<ExtismPlugin 'p' closed gen=1: 0 exports>"


async def test_close_lets_calls_end(until: Until) -> None:
    """A close waits for the call that runs."""
    desk = Desk()
    answers: list[bytes] = []

    async def ask() -> None:
        answers.append(await plugin.call("ask", b"last"))

    opening = open_extism(ASKS, functions=[desk.function])
    async with opening as plugin, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await until(lambda: desk.asked == [b"last"])
        nursery.start_soon(plugin.aclose)
        await until(lambda: plugin.closed)
        desk.open.set()
    assert answers == [b"re: last"]


async def test_the_error_of_the_block() -> None:
    """An exception of the block comes out as itself, and ends the calls that run."""
    with pytest.raises(KeyError, match="mine"):
        async with open_extism(guest()):
            raise KeyError("mine")


# --- how instances start ---

COUNTING = """
  (global $started (mut i32) (i32.const 0))
  (func $note (param $digit i32)
    (global.set $started
      (i32.add (i32.mul (global.get $started) (i32.const 10)) (local.get $digit))))
  (func (export "started") (result i32) (global.get $started))
"""
INITIALIZE = '(func (export "_initialize") (call $note (i32.const 1)))'
CONSTRUCTORS = '(func (export "__wasm_call_ctors") (call $note (i32.const 2)))'
HASKELL = '(func (export "hs_init") (param i32 i32) (call $note (i32.const 3)))'


@pytest.mark.parametrize("pristine", [False, True])
@pytest.mark.parametrize(
    ("starts", "order"),
    [
        ("", 0),
        (INITIALIZE, 1),
        (CONSTRUCTORS, 2),
        (INITIALIZE + CONSTRUCTORS, 2),
        (HASKELL, 3),
        (INITIALIZE + HASKELL, 13),
        (INITIALIZE + CONSTRUCTORS + HASKELL, 13),
    ],
)
async def test_the_start_of_a_runtime(starts: str, order: int, pristine: bool) -> None:
    """As in Extism: the constructors or else ``_initialize``; for Haskell both; each once."""
    module = f"(module {COUNTING} {starts})"
    async with open_extism(module, pristine=pristine) as plugin:
        assert plugin.exports == ("started",)
        for _ in range(2):
            if order:
                with pytest.raises(Exception, match=f"started returned {order}, and set no error"):
                    await plugin.call("started")
            else:
                assert await plugin.call("started") == b""


async def test_pristine_calls_see_nothing_of_others() -> None:
    """Each call has an instance from a snapshot, with an empty kernel beside it."""
    counts = """(module
      (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
      (import "extism:host/env" "memory_bytes" (func $bytes (result i64)))
      (global $calls (mut i32) (i32.const 0))
      (func (export "_initialize") (drop (call $alloc (i64.const 100000))))
      (func (export "count") (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (global.get $calls)))"""
    async with open_extism(counts, pristine=True, size=2) as plugin:
        for _ in range(3):
            with pytest.raises(Exception, match="count returned 1, and"):
                await plugin.call("count")
        assert plugin.statistics().retired["uses"] == 3
        await plugin.reload(counts.replace("100000", "10"))
        with pytest.raises(Exception, match="count returned 1, and"):
            await plugin.call("count")


async def test_what_has_no_snapshot() -> None:
    """A start that leaves variables is refused: the instances of a snapshot would lack them."""
    sets = """(module
      (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
      (import "extism:host/env" "var_set" (func $set (param i64 i64)))
      (func (export "_initialize")
        (call $set (call $alloc (i64.const 1)) (call $alloc (i64.const 1)))))"""
    with pytest.raises(SnapshotError, match="a host function keeps state"):
        async with open_extism(sets, pristine=True):
            pass
    async with open_extism(sets):
        pass


async def test_a_start_that_fails() -> None:
    """A module whose start traps is PoolUnavailable with the trap as its cause."""
    with pytest.raises(PoolUnavailable) as raised:
        async with open_extism("(module (func $f unreachable) (start $f))"):
            pass
    assert isinstance(raised.value.__cause__, GuestTrap)


async def test_an_exit_of_a_command() -> None:
    """A program that ends by status 0 has its output, and another status is its failure."""
    command = """(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (import "extism:host/env" "input_offset" (func $at (result i64)))
      (import "extism:host/env" "input_length" (func $length (result i64)))
      (import "extism:host/env" "output_set" (func $set (param i64 i64)))
      (memory (export "memory") 1)
      (func (export "_start")
        (call $set (call $at) (call $length))
        (if (i64.gt_u (call $length) (i64.const 3)) (then (call $exit (i32.const 4))))
        (if (i64.gt_u (call $length) (i64.const 1)) (then (call $exit (i32.const 0))))))"""
    async with open_extism(command, size=1) as plugin:
        assert await plugin.call("_start", b"a") == b"a"
        assert await plugin.call("_start", b"ab") == b"ab"
        with pytest.raises(Exception, match="the guest exited with status 4"):
            await plugin.call("_start", b"abcd")
        assert plugin.statistics().started >= 3


# --- cancels ---


async def test_a_cancel_at_any_step_of_an_opening(cancelled_at: CancelledAt) -> None:
    """Whenever it comes, nothing is left, and the next opening serves."""
    for number in range(1, 60, 3):
        with cancelled_at(number) as scope:
            async with open_extism(guest(), size=2) as plugin:
                await plugin.call("echo", b"x")
                scope.cancel()
                await trio.lowlevel.checkpoint()
        if number % 10 == 1:
            async with open_extism(guest()) as plugin:
                assert await plugin.call("echo", b"on") == b"on"


async def test_a_cancel_at_any_step_of_a_call(cancelled_at: CancelledAt) -> None:
    """Whenever it comes, the call ends alone, and no instance is lost."""

    @host_function(USER, "user", params=("i64",), results=("i64",))
    async def user(caller: Caller, offset: int) -> int:
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        return await caller.reply(caller.read(offset) * 30_000)

    async with open_extism(ASKS, functions=[user], size=1) as plugin:
        for number in range(1, 30):
            with cancelled_at(number):
                await plugin.call("ask", b"xyz")
            assert await plugin.call("ask", b"on") == b"on" * 30_000
        statistics = plugin.statistics()
        assert statistics.leased == 0
        assert statistics.retired["cancelled"] >= 1


async def test_a_cancel_at_any_step_of_a_reload(cancelled_at: CancelledAt) -> None:
    """Whenever it comes, one of the two modules serves, and the next reload works."""
    other = guest(start="(global i32 (i32.const 0))")
    async with open_extism(guest()) as plugin:
        for number in range(1, 40, 2):
            with cancelled_at(number):
                await plugin.reload(other if number % 4 == 1 else guest())
            assert await plugin.call("echo", b"on") == b"on"
        await plugin.reload(guest(start="(global i32 (i32.const 1))"))
        assert await plugin.call("echo", b"on") == b"on"
