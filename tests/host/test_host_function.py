"""Host functions: what they are given, what they may do, and where their errors go."""

from __future__ import annotations

import contextvars
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool import open_pool
from wasmpool_host import (
    Caller,
    GuestMemoryError,
    GuestTrap,
    HostFunction,
    LinkError,
    Module,
    host_function,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.instance_of import InstanceOf

    from wasmpool_host._types import PassedType

NESTED = """(module $guest
  (import "env" "outer" (func $outer (param i32) (result i32)))
  (import "env" "inner" (func $inner (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  (func (export "malloc") (param i32) (result i32) (local i32)
    (local.set 1 (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get 0)))
    (local.get 1))
  (func (export "go") (param i32) (result i32) (call $outer (local.get 0)))
  (func (export "back") (param i32) (result i32) (call $inner (local.get 0)))
  (func (export "add") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func (export "spin") (loop $l (br $l)))
  (func (export "trap") unreachable))"""


def outer(function: Callable[..., Any]) -> HostFunction:
    """A host function as NESTED imports it."""
    return host_function("env", "outer", params=("i32",), results=("i32",))(function)


@host_function("env", "inner", params=("i32",), results=("i32",))
async def double(caller: Caller, value: int) -> int:
    """What `back` calls."""
    del caller
    await trio.lowlevel.checkpoint()
    return value * 2


async def test_values_go_in_signed_and_come_out_either_way(instance_of: InstanceOf) -> None:
    """All numeric types, several results, plain function."""
    seen: list[tuple[float, ...]] = []

    @host_function(
        "env", "f", params=("i32", "i64", "f32", "f64"), results=("i32", "i64", "f32", "f64")
    )
    def function(caller: Caller, *args: float) -> tuple[float, ...]:
        del caller
        seen.append(args)
        return 2**32 - 3, -4, 0.5, 6

    instance = await instance_of(
        """(module (type $t (func (param i32 i64 f32 f64) (result i32 i64 f32 f64)))
        (import "env" "f" (func (type $t))) (export "f" (func 0)))""",
        imports=[function],
    )
    assert await instance.call("f", 2**32 - 1, 2**64 - 1, 1.5, 2.5) == (-3, -4, 0.5, 6.0)
    assert seen == [(-1, -1, 1.5, 2.5)]


async def test_it_runs_in_the_calling_task(instance_of: InstanceOf) -> None:
    """With its context variables and its cancel scopes, and it may open nurseries."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[object] = []

    async def function(caller: Caller, value: int) -> int:
        del caller
        seen.extend([variable.get(), trio.lowlevel.current_task()])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
        return value

    instance = await instance_of(NESTED, imports=[outer(function), double])
    variable.set("mine")
    assert await instance.call("go", 5) == 5
    assert seen == ["mine", trio.lowlevel.current_task()]


async def test_it_may_call_its_guest_back(instance_of: InstanceOf) -> None:
    """And the guest may call host functions again, which may wait."""

    async def function(caller: Caller, value: int) -> int:
        first = await caller.call("add", value)
        return int(await caller.call("back", first))  # type: ignore[arg-type]

    instance = await instance_of(NESTED, imports=[outer(function), double])
    assert await instance.call("go", 20) == 42
    assert await instance.call("go", 1) == 4


async def test_a_nested_guest_that_computes_moves_to_a_thread(instance_of: InstanceOf) -> None:
    """And is cancelled there; the scope inside the host function is enough."""

    async def function(caller: Caller, value: int) -> int:
        with trio.move_on_after(0.02) as scope:
            await caller.call("spin")
        assert scope.cancelled_caught
        return value

    instance = await instance_of(NESTED, imports=[outer(function), double])
    assert await instance.call("go", 7) == 7
    assert instance.poisoned == "cancelled"


async def test_a_trap_in_a_nested_call_poisons_but_the_outer_call_may_finish(
    instance_of: InstanceOf,
) -> None:
    """The host function decides; the instance does not serve again."""

    async def function(caller: Caller, value: int) -> int:
        with pytest.raises(GuestTrap, match="guest.trap trapped"):
            await caller.call("trap")
        assert await caller.call("add", value) == value + 1
        return value

    instance = await instance_of(NESTED, imports=[outer(function), double])
    assert await instance.call("go", 7) == 7
    assert instance.poisoned == "trap"


class Mine(Exception):
    """A host function's own error."""


async def test_its_exception_comes_out_as_itself_with_a_note(instance_of: InstanceOf) -> None:
    """The same object; the note has the guest's path, once."""
    error = Mine("ours")

    @host_function("env", "inner", params=("i32",), results=("i32",))
    async def fail(caller: Caller, value: int) -> int:
        del caller, value
        raise error

    async def function(caller: Caller, value: int) -> int:
        return int(await caller.call("back", value))  # type: ignore[arg-type]

    instance = await instance_of(NESTED, imports=[outer(function), fail])
    with pytest.raises(Mine) as caught:
        await instance.call("go", 1)
    assert caught.value is error
    assert error.__notes__ == [
        "raised in guest -> host function env.outer -> guest -> host function env.inner"
    ]
    assert instance.poisoned == "host-error"


class Ended(BaseException):
    """What ends a program, and is no Exception."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Ended])
@pytest.mark.parametrize("how", ["plain", "async", "in a nursery", "nested"])
async def test_what_ends_a_program_poisons_as_the_host_s_error(
    instance_of: InstanceOf, kind: type[BaseException], how: str
) -> None:
    """The call raises it as itself, or in the nursery's group; it is no cancel."""

    async def end() -> None:
        raise kind

    def plain(_caller: Caller, _value: int) -> int:
        raise kind

    async def function(caller: Caller, value: int) -> int:
        if how == "in a nursery":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end)
        elif how == "nested":
            await caller.call("back", value)
        await end()
        return value

    inner = host_function("env", "inner", params=("i32",), results=("i32",))(plain)
    instance = await instance_of(
        NESTED, imports=[outer(plain if how == "plain" else function), inner]
    )
    with pytest.raises((kind, BaseExceptionGroup)) as caught:
        await instance.call("go", 1)
    if isinstance(caught.value, BaseExceptionGroup):
        assert how == "in a nursery"
        assert caught.value.split(kind)[1] is None
    assert instance.poisoned == "host-error"


async def test_a_ctrl_c_out_of_a_host_function_retires_for_the_host_s_error() -> None:
    """The pool counts it under the reason that it is."""

    def function(_caller: Caller, _value: int) -> int:
        raise KeyboardInterrupt

    module = await Module.compile(NESTED, imports=[outer(function), double])
    async with open_pool(module, size=1) as pool:
        with pytest.raises(KeyboardInterrupt):
            await pool.call("go", 1)
        assert pool.statistics().retired["host-error"] == 1
        assert pool.statistics().retired["cancelled"] == 0


@pytest.mark.parametrize(
    ("results", "value", "message"),
    [
        (("i32",), None, "result 1 of host function env.f is an i32: give an int, not None"),
        (("i32",), "x", "result 1 of host function env.f is an i32: give an int, not 'x'"),
        (("i32",), 2**32, f"{2**32} is outside"),
        ((), 1, "host function env.f has no results: return None, not 1"),
        (("i32", "i32"), 1, "host function env.f has 2 results: return a tuple, not 1"),
        (("i32", "i32"), (1,), "host function env.f has 2 results (i32, i32), not 1"),
    ],
)
async def test_a_wrong_result_names_the_function(
    instance_of: InstanceOf, results: tuple[PassedType, ...], value: object, message: str
) -> None:
    """It is the host function's error, not the guest's."""

    @host_function("env", "f", results=results)
    def function(caller: Caller) -> object:
        del caller
        return value

    result = f"(result {' '.join(results)})" if results else ""
    instance = await instance_of(
        f'(module (import "env" "f" (func {result})) (export "f" (func 0)))', imports=[function]
    )
    with pytest.raises((TypeError, ValueError)) as caught:
        await instance.call("f")
    assert message in str(caught.value)
    assert instance.poisoned == "host-error"


async def test_a_caller_ends_with_its_function(instance_of: InstanceOf) -> None:
    """Kept and used later, it raises RuntimeError, and touches nothing."""
    kept: list[Caller] = []

    def function(caller: Caller, value: int) -> int:
        kept.append(caller)
        return value

    instance = await instance_of(NESTED, imports=[outer(function), double])
    await instance.call("go", 1)
    with pytest.raises(RuntimeError, match="host function env.outer has returned"):
        kept[0].memory.read(0, 1)
    with pytest.raises(RuntimeError, match="host function env.outer has returned"):
        await kept[0].call("add", 1)


async def test_a_caller_is_used_by_one_at_a_time(instance_of: InstanceOf) -> None:
    """Two child tasks of a host function cannot both be in the guest."""

    async def function(caller: Caller, value: int) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.call, "back", value)
            await inside.wait()
            with pytest.raises(RuntimeError, match="uses its caller twice at once"):
                await caller.call("add", value)
            leave.set()
        return value

    @host_function("env", "inner", params=("i32",), results=("i32",))
    async def wait(caller: Caller, value: int) -> int:
        del caller
        inside.set()
        await leave.wait()
        return value

    inside, leave = trio.Event(), trio.Event()
    instance = await instance_of(NESTED, imports=[outer(function), wait])
    assert await instance.call("go", 3) == 3


async def test_nesting_is_bounded_and_ends_as_a_trap(instance_of: InstanceOf) -> None:
    """Guest and host that call each other without end: the process lives, the call is over."""
    deepest = 0

    async def function(caller: Caller, value: int) -> int:
        nonlocal deepest
        deepest = max(deepest, value)
        return int(await caller.call("go", value + 1))  # type: ignore[arg-type]

    instance = await instance_of(NESTED, imports=[outer(function), double])
    with pytest.raises(GuestTrap, match="64 levels deep") as caught:
        await instance.call("go", 1)
    assert caught.value.code == "stack-overflow"
    assert deepest == 64
    assert instance.poisoned == "trap"


async def test_bytes_are_read_and_replied(instance_of: InstanceOf) -> None:
    """A packed request is copied out, and a reply goes into the guest's own malloc."""

    @host_function("env", "upper", params=("i64",), results=("i64",))
    async def upper(caller: Caller, request: int) -> int:
        assert await caller.reply(b"") == 0
        return await caller.reply(caller.read(request).upper())

    instance = await instance_of(
        """(module (import "env" "upper" (func $upper (param i64) (result i64)))
        (memory (export "memory") 1) (global $next (mut i32) (i32.const 1024))
        (func (export "malloc") (param i32) (result i32) (local i32)
          (local.set 1 (global.get $next))
          (global.set $next (i32.add (global.get $next) (local.get 0)))
          (local.get 1))
        (func (export "go") (param i64) (result i64) (call $upper (local.get 0))))""",
        imports=[upper],
    )
    assert await instance.exchange("go", b"hello") == b"HELLO"
    assert await instance.exchange("go", b"") == b""


async def test_a_wild_request_is_a_memory_error(instance_of: InstanceOf) -> None:
    """Its pointer is checked before use; the instance is poisoned for it."""

    @host_function("env", "read", params=("i64",))
    def read(caller: Caller, request: int) -> None:
        caller.read(request)

    instance = await instance_of(
        """(module (import "env" "read" (func $read (param i64))) (memory (export "memory") 1)
        (func (export "go") (param i64) (call $read (local.get 0))))""",
        imports=[read],
    )
    with pytest.raises(GuestMemoryError, match="the guest's memory has 65,536 bytes"):
        await instance.call("go", (65_530 << 32) | 100)
    assert instance.poisoned == "bad-pointer"


async def test_a_reply_without_malloc_is_a_link_error(instance_of: InstanceOf) -> None:
    """It names both spellings."""

    async def function(caller: Caller, value: int) -> int:
        del value
        return await caller.reply(b"x")

    text = NESTED.replace('"malloc"', '"alloc"')
    instance = await instance_of(text, imports=[outer(function), double])
    with pytest.raises(LinkError, match="neither 'malloc' nor 'guest_malloc'"):
        await instance.call("go", 1)


async def test_a_cancel_in_a_host_function_ends_the_guest(instance_of: InstanceOf) -> None:
    """It is raised where the host function waits, as in any trio code."""
    reached: list[str] = []

    async def function(caller: Caller, value: int) -> int:
        del caller, value
        try:
            await trio.sleep_forever()
        finally:
            reached.append("finally")
        raise AssertionError

    instance = await instance_of(NESTED, imports=[outer(function), double])
    with trio.move_on_after(0.01) as scope:
        await instance.call("go", 1)
    assert scope.cancelled_caught
    assert reached == ["finally"]
    assert instance.poisoned == "cancelled"


async def test_many_guests_wait_at_once_without_threads(instance_of: InstanceOf) -> None:
    """A hundred calls are in their host functions at the same moment, and borrow no thread."""
    arrived: list[int] = []
    all_are_there = trio.Event()

    async def wait_for_all(caller: Caller, value: int) -> int:
        del caller
        arrived.append(value)
        if len(arrived) == 100:
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            all_are_there.set()
        await all_are_there.wait()
        return value

    imports = [outer(wait_for_all), double]
    instances = [await instance_of(NESTED, imports=imports) for _ in range(100)]
    with trio.fail_after(60):  # a thread for each would never have them all there
        async with trio.open_nursery() as nursery:
            for number, instance in enumerate(instances):
                nursery.start_soon(instance.call, "go", number)
    assert sorted(arrived) == list(range(100))


def test_it_can_be_called_without_a_guest() -> None:
    """For tests of the function itself."""

    @host_function("env", "f", params=("i32",), results=("i32",))
    def function(caller: Caller | None, value: int) -> int:
        del caller
        return value + 1

    assert function(None, 1) == 2
    assert str(function) == "env.f"


@pytest.mark.parametrize("params", [("i33",), "i32", (1,)])
def test_its_types_are_checked_when_it_is_made(params: Any) -> None:
    """Where the mistake is, and not when a module is linked."""
    with pytest.raises(
        TypeError,
        match=r"env.f: params must be a list or a tuple of .* is (none|no list) of them",
    ):
        host_function("env", "f", params=params)


@pytest.mark.parametrize("notes", ["frozen", "odd"])
async def test_an_exception_that_takes_no_note_comes_out_all_the_same(
    instance_of: InstanceOf, notes: str
) -> None:
    """As itself: the note with the guest's path is only left out."""

    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int = 7

    class Odd(Exception):
        __notes__ = None  # type: ignore[assignment]  # as odd as can be

    error = Frozen() if notes == "frozen" else Odd()

    @outer
    def fail(caller: Caller, value: int) -> int:
        raise error

    instance = await instance_of(NESTED, imports=[fail, double])
    with pytest.raises((Frozen, Odd)) as caught:
        await instance.call("go", 1)
    assert caught.value is error
