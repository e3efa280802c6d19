"""Bytes in, bytes out: the packed ABI with guests good and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.host.seams import budget_of, has_steps_left, is_in_call, set_history

from wasmpool_host import (
    Caller,
    CallTimeout,
    GuestMemoryError,
    GuestTrap,
    Limits,
    LinkError,
    Module,
    host_function,
)
from wasmpool_host.lowlevel import PENDING

if TYPE_CHECKING:
    from tests.host.instance_of import DrivenInstanceOf, InstanceOf

GUEST = """(module $guest
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 1024))
  (global $mallocs (mut i32) (i32.const 0))
  (global $frees (mut i32) (i32.const 0))
  (global $runs (mut i32) (i32.const 0))
  (func $malloc (export "malloc") (param i32) (result i32) (local i32)
    (global.set $mallocs (i32.add (global.get $mallocs) (i32.const 1)))
    (local.set 1 (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get 0)))
    (local.get 1))
  (func (export "free") (param i32)
    (global.set $frees (i32.add (global.get $frees) (i32.const 1)))
    (; FREE ;))
  (func (export "mallocs") (result i32) (global.get $mallocs))
  (func (export "frees") (result i32) (global.get $frees))
  (func (export "runs") (result i32) (global.get $runs))
  ;; a copy of the payload, from malloc
  (func (export "copy") (param $packed i64) (result i64) (local $ptr i32) (local $size i32)
    (global.set $runs (i32.add (global.get $runs) (i32.const 1)))
    (local.set $size (i32.wrap_i64 (local.get $packed)))
    (local.set $ptr (call $malloc (local.get $size)))
    (memory.copy (local.get $ptr)
      (i32.wrap_i64 (i64.shr_u (local.get $packed) (i64.const 32))) (local.get $size))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
      (i64.extend_i32_u (local.get $size))))
  (func (export "same") (param i64) (result i64) (local.get 0))
  (func (export "give") (param i64) (result i64) (i64.load (i32.const 0)))
  (func (export "hello") (result i64) (i64.const 0x10_0000_0005))
  (func (export "trap") (param i64) (result i64) unreachable)
  (data (i32.const 16) "hello"))"""


async def test_each_exchange_has_its_own_reply(instance_of: InstanceOf) -> None:
    """Of any size, in any order; empty is empty."""
    instance = await instance_of(GUEST)
    for payload in (b"a", b"", b"bc" * 700, b"d", bytes(range(256)) * 40):
        assert await instance.exchange("copy", payload) == payload
    assert await instance.exchange("hello") == b"hello"


async def test_the_steady_state_frees_each_result_and_allocates_no_payload(
    instance_of: InstanceOf,
) -> None:
    """The payload's buffer is kept; a result is freed with the next call at the latest."""
    instance = await instance_of(GUEST)
    for _ in range(10):
        await instance.exchange("copy", b"payload")
    assert await instance.call("mallocs") == 1 + 10
    assert await instance.call("frees") == 9
    await instance.exchange("copy", b"x" * 5_000)
    assert await instance.call("frees") == 9 + 2  # the last result, and the buffer that grew


@pytest.mark.parametrize("trap", [False, True])
@pytest.mark.parametrize("long", [("malloc",), ("free",), ("copy",), ("malloc", "free", "copy")])
async def test_any_crossing_may_take_longer_than_a_slice(
    instance_of: InstanceOf, long: tuple[str, ...], *, trap: bool
) -> None:
    """The exchange continues from there, and makes the same calls as always."""
    text = GUEST.replace("(; FREE ;)", "unreachable") if trap else GUEST
    instances = [await instance_of(text) for _ in range(2)]
    for payload in (b"a", b"bc" * 700, b"d", b"", b"e", b"f" * 5_000, b"g", b"h"):
        for instance, weight in zip(instances, (0, 1), strict=True):
            for name in long:
                set_history(instance, name, weight)
            assert await instance.exchange("copy", payload) == payload
            assert instance.poisoned is None
    for name in ("mallocs", "frees", "runs"):
        assert await instances[0].call(name) == await instances[1].call(name)


async def test_a_cancel_in_a_crossing_before_the_export_ends_the_exchange(
    instance_of: InstanceOf,
) -> None:
    """The guest was stopped in its malloc, so the instance may not serve again."""
    head = '(func $malloc (export "malloc") (param i32) (result i32) (local i32)'
    assert head in GUEST
    text = GUEST.replace(head, f"{head} (loop $l (br $l))")
    instance = await instance_of(text)
    with trio.move_on_after(0.01) as scope:
        await instance.exchange("copy", b"x")
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"
    assert not is_in_call(instance)


async def test_an_exchange_that_cannot_go_on_leaves_nothing(
    instance_of: InstanceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no stack left to finish it on, so its steps and its payload are dropped."""
    instance = await instance_of(GUEST)
    assert await instance.exchange("copy", b"x") == b"x"
    set_history(instance, "copy", 1)

    def refuse(_: int) -> None:
        raise RecursionError

    with monkeypatch.context() as patch:
        patch.setattr("wasmpool_host._instance.instance.headroom", refuse)
        with pytest.raises(RecursionError):
            await instance.exchange("copy", b"y")
    assert not has_steps_left(instance)
    assert await instance.exchange("copy", b"z") == b"z"


async def test_the_first_exchanges_of_an_instance_are_one_step_each(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """With its malloc, its free and the making of the helper, if no tick comes in between."""
    at_once = [0, 0, 0, 0]
    for _ in range(10):
        instance = await driven_instance_of(GUEST)
        for k in range(4):
            result = instance.start_exchange("copy", b"payload")
            if result is PENDING:
                result = await instance.finish()
            else:
                at_once[k] += 1
            assert result == b"payload"
    assert min(at_once) > 0


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("size", [10, 5_000])
async def test_a_cancel_in_line_leaves_nothing_behind_in_the_guest(
    driven_instance_of: DrivenInstanceOf, before: int, size: int
) -> None:
    """The instance is as it was: what it is owed is freed later, the buffer is kept or freed."""
    instance = await driven_instance_of(GUEST)
    for _ in range(before):
        await instance.exchange("copy", b"payload")
    budget = budget_of(instance)
    for _ in range(5):
        with trio.CancelScope() as scope:
            await trio.lowlevel.checkpoint()
            budget.spent = 1.0  # as after long slices of others in this pass
            scope.cancel()
            await instance.run_exchange("copy", b"x" * size)
        assert scope.cancelled_caught
        assert instance.poisoned is None
        await trio.lowlevel.checkpoint()
    assert await instance.exchange("copy", b"payload") == b"payload"
    mallocs, frees = await instance.call("mallocs"), await instance.call("frees")
    assert isinstance(mallocs, int)
    assert mallocs - 2 == frees  # all but the buffer, and the last result


async def test_a_result_in_the_payload_is_never_freed(instance_of: InstanceOf) -> None:
    """It belongs to the host's buffer."""
    instance = await instance_of(GUEST)
    for _ in range(5):
        assert await instance.exchange("same", b"payload") == b"payload"
    assert await instance.call("frees") == 0


@pytest.mark.parametrize("calls", [1, 2, 3, 50])
async def test_a_free_that_traps_costs_no_call(instance_of: InstanceOf, calls: int) -> None:
    """The export runs once for each; the instance is whole, and is never asked to free again."""
    instance = await instance_of(GUEST.replace("(; FREE ;)", "unreachable"))
    for k in range(calls):
        payload = f"payload {k}".encode()
        assert await instance.exchange("copy", payload) == payload
        assert instance.poisoned is None
    assert await instance.call("runs") == calls
    assert await instance.call("frees") == min(1, calls - 1)


async def test_a_trap_of_the_export_is_a_trap_also_with_a_free_before(
    instance_of: InstanceOf,
) -> None:
    """It is not mistaken for one of the free, and the export does not run again."""
    text = GUEST.replace('(func (export "trap") (param i64) (result i64) unreachable)', "").replace(
        "(global.set $runs (i32.add (global.get $runs) (i32.const 1)))",
        "(global.set $runs (i32.add (global.get $runs) (i32.const 1)))"
        " (if (i32.eq (global.get $runs) (i32.const 4)) (then unreachable))",
    )
    instance = await instance_of(text)
    for _ in range(3):
        await instance.exchange("copy", b"x")
    with pytest.raises(GuestTrap, match="guest.copy trapped"):
        await instance.exchange("copy", b"x")
    assert instance.poisoned == "trap"


@pytest.mark.parametrize(
    ("ptr", "size"),
    [(131_072, 1), (131_071, 2), (0xFFFF_FFFF, 0xFFFF), (0x8000_0000, 16), (16, 131_072)],
)
async def test_a_wild_result_is_a_memory_error(
    instance_of: InstanceOf, ptr: int, size: int
) -> None:
    """Outside of the guest's memory by its pointer, its size or their sum."""
    instance = await instance_of(GUEST)
    instance.memory.write(0, (ptr << 32 | size).to_bytes(8, "little"))
    with pytest.raises(GuestMemoryError, match="outside the guest's memory of 131,072 bytes"):
        await instance.exchange("give", b"")
    assert instance.poisoned == "bad-pointer"


async def test_a_result_of_size_zero_is_empty_whatever_the_pointer(
    instance_of: InstanceOf,
) -> None:
    """A pointer to nothing is not looked at, and not freed."""
    instance = await instance_of(GUEST)
    instance.memory.write(0, (0xFFFF_FFFF << 32).to_bytes(8, "little"))
    assert await instance.exchange("give", b"") == b""
    assert await instance.exchange("give", b"") == b""
    assert await instance.call("frees") == 0


async def test_payloads_are_bounded_in_both_directions(instance_of: InstanceOf) -> None:
    """Ours too large is a ValueError and harmless; the guest's too large poisons it."""
    instance = await instance_of(GUEST, limits=Limits(payload=100))
    assert await instance.exchange("copy", b"x" * 100) == b"x" * 100
    with pytest.raises(ValueError, match="101 bytes is above limits.payload=100"):
        await instance.exchange("copy", b"x" * 101)
    assert instance.poisoned is None
    instance.memory.write(0, (16 << 32 | 101).to_bytes(8, "little"))
    with pytest.raises(GuestMemoryError, match="101 bytes, above limits.payload=100"):
        await instance.exchange("give", b"")
    assert instance.poisoned == "bad-pointer"


@pytest.mark.parametrize(
    ("malloc", "message"),
    [
        ("(i32.const 0)", "guest.malloc of 1,024 bytes returned 0"),
        ("(i32.const -8)", "the buffer of its malloc, 1 bytes at 0xfffffff8, is outside"),
    ],
)
async def test_a_bad_malloc_is_a_memory_error(
    instance_of: InstanceOf, malloc: str, message: str
) -> None:
    """Zero, or a region that is not there."""
    instance = await instance_of(
        f"""(module $guest (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) {malloc})
        (func (export "go") (param i64) (result i64) (i64.const 0)))"""
    )
    with pytest.raises(GuestMemoryError, match=message):
        await instance.exchange("go", b"x")
    assert instance.poisoned == "bad-pointer"


async def test_a_malloc_that_traps_is_a_trap(instance_of: InstanceOf) -> None:
    """Its own, by name."""
    instance = await instance_of(
        """(module $guest (memory (export "memory") 1)
        (func (export "guest_malloc") (param i32) (result i32) unreachable)
        (func (export "go") (param i64) (result i64) (i64.const 0)))"""
    )
    with pytest.raises(GuestTrap, match="guest.guest_malloc trapped"):
        await instance.exchange("go", b"x")


async def test_a_guest_without_malloc_takes_no_payload(instance_of: InstanceOf) -> None:
    """A LinkError that names both spellings; an export without payload works."""
    instance = await instance_of(
        """(module (memory (export "memory") 1) (data (i32.const 16) "hello")
        (func (export "hello") (result i64) (i64.const 0x10_0000_0005))
        (func (export "go") (param i64) (result i64) (i64.const 0)))"""
    )
    for _ in range(3):
        assert await instance.exchange("hello") == b"hello"
    with pytest.raises(LinkError, match="neither 'malloc' nor 'guest_malloc'"):
        await instance.exchange("go", b"x")


@pytest.mark.parametrize(
    ("name", "payload", "error", "message"),
    [
        ("hello", b"x", TypeError, r"has the type \(\) -> \(i64\): an exchange with a payload"),
        ("copy", None, TypeError, "an exchange without a payload needs"),
        ("copy", "text", TypeError, "the payload must be bytes or None, not str"),
        ("copi", b"", ValueError, "did you mean 'copy'"),
        ("memory", b"", TypeError, "is no function"),
    ],
)
async def test_a_wrong_exchange_poisons_nothing(
    instance_of: InstanceOf, name: str, payload: bytes, error: type[Exception], message: str
) -> None:
    """It says what the export's type is and what would do."""
    instance = await instance_of(GUEST)
    with pytest.raises(error, match=message):
        await instance.exchange(name, payload)
    assert instance.poisoned is None
    assert await instance.exchange("copy", b"ok") == b"ok"


async def test_the_limit_of_time_is_that_of_the_whole_exchange(
    instance_of: InstanceOf, autojump_clock: trio.testing.MockClock
) -> None:
    """Not of each of its crossings: here malloc, free and the export wait two seconds each."""

    @host_function("env", "wait")
    async def wait(caller: Caller) -> None:
        del caller
        await trio.sleep(2)

    instance = await instance_of(
        """(module $guest (import "env" "wait" (func $wait)) (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (call $wait) (i32.const 64))
        (func (export "go") (param i64) (result i64) (call $wait) (i64.const 0)))""",
        imports=[wait],
        limits=Limits(call_seconds=3),
    )
    with pytest.raises(CallTimeout, match=r"guest.go took longer than limits.call_seconds=3"):
        await instance.exchange("go", b"x")
    assert autojump_clock.current_time() == pytest.approx(3)
    assert instance.poisoned == "timeout"


async def test_exchanges_of_several_exports_share_the_buffer_and_the_frees(
    instance_of: InstanceOf,
) -> None:
    """A result of one export is freed with the call of another."""
    instance = await instance_of(GUEST)
    for _ in range(4):
        assert await instance.exchange("copy", b"x") == b"x"
        assert await instance.exchange("same", b"y") == b"y"
    assert await instance.call("frees") == 4
    assert await instance.call("mallocs") == 1 + 4


async def test_a_free_that_traps_is_not_pardoned_what_a_nested_call_did(
    instance_of: InstanceOf,
) -> None:
    """It called the host, which called the guest, which trapped: the instance stays poisoned."""

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        with pytest.raises(GuestTrap):
            await caller.call("boom")

    instance = await instance_of(
        """(module (import "env" "host" (func $host)) (memory (export "memory") 1)
        (func (export "free") (param i32) (call $host) unreachable)
        (func (export "boom") unreachable)
        (func (export "pull") (result i64) (i64.const 0x0000800000000004)))""",
        imports=[host],
    )
    assert await instance.exchange("pull") == bytes(4)
    with pytest.raises(GuestTrap, match="free trapped"):
        await instance.exchange("pull")
    assert instance.poisoned == "trap"


async def test_a_trap_of_the_hosts_own_in_free_is_not_pardoned(instance_of: InstanceOf) -> None:
    """The exchange raises what a host function raises, of any class."""
    error = GuestTrap("mine", "raised by a host function")

    @host_function("env", "host")
    def host(caller: Caller) -> None:
        raise error

    instance = await instance_of(
        """(module (import "env" "host" (func $host)) (memory (export "memory") 1)
        (func (export "free") (param i32) (call $host))
        (func (export "pull") (result i64) (i64.const 0x0000800000000004)))""",
        imports=[host],
    )
    await instance.exchange("pull")
    with pytest.raises(GuestTrap) as caught:
        await instance.exchange("pull")
    assert caught.value is error
    assert instance.poisoned == "trap"


async def test_an_export_that_is_a_host_function_sees_the_guest(instance_of: InstanceOf) -> None:
    """Called by the host itself, or by the helper that frees: its caller is the same guest."""
    seen: list[object] = []

    @host_function("env", "pull", results=("i64",))
    async def pull(caller: Caller) -> int:
        seen.append((caller.memory.size, await caller.call("one")))
        return await caller.reply(b"data")

    instance = await instance_of(
        """(module (import "env" "pull" (func $pull (result i64)))
        (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "free") (param i32))
        (func (export "one") (result i32) (i32.const 1))
        (export "pull" (func $pull)))""",
        imports=[pull],
    )
    for _ in range(4):
        assert await instance.exchange("pull") == b"data"
    assert seen == [(65_536, 1)] * 4


async def test_a_program_that_exchanges_bytes_runs_once() -> None:
    """Its export is called as ``_start``; also in an instance whose export is known already."""
    module = await Module.compile(GUEST.replace('"same"', '"_start"'))
    for _ in range(3):
        instance = await module.instantiate()
        assert await instance.call("mallocs") == 0
        assert await instance.exchange("_start", b"abc") == b"abc"
        assert instance.poisoned == "finished"
        await instance.aclose()
