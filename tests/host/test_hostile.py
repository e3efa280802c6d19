"""What a hostile guest can try: each ends in a clear error of its own call, and the host continues.

Tried here, each on real wasm: wild, negative, unaligned, huge and overlapping regions; memory
that grows while the host holds a region; traps in malloc, free and start functions; exports of
the wrong type; a start function that never ends; a malloc that calls the host, whose reply calls
malloc, without end; a huge memory.fill; endless recursion; endless loops in every place that a
guest's code runs. (WASI's own list stands with WASI's tests, free's and malloc's also with those
of the exchange.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from wasmpool_host import (
    Caller,
    GuestMemoryError,
    GuestTrap,
    Limits,
    LinkError,
    Module,
    host_function,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.host.instance_of import DrivenInstanceOf, InstanceOf

U32 = 0xFFFF_FFFF
PAGE = 65_536


@pytest.fixture(autouse=True)
async def _the_host_goes_on() -> AsyncIterator[None]:
    """Whatever was tried, another guest is as well as ever."""
    yield
    module = await Module.compile('(module (func (export "f") (result i32) (i32.const 7)))')
    instance = await module.instantiate()
    assert await instance.call("f") == 7
    await instance.aclose()


WILD = [
    (PAGE, 1),
    (PAGE - 1, 2),
    (PAGE + 1, 1),
    (U32, 1),
    (U32, U32),
    (0, PAGE + 1),
    (1, U32),
    (-1, 1),
    (-(2**31), 16),
    (1, -1),
    (-1, -1),
]


@pytest.mark.parametrize(("ptr", "size"), WILD)
async def test_a_wild_region_is_refused(instance_of: InstanceOf, ptr: int, size: int) -> None:
    """By the memory of an instance, for reading and for writing; nothing is touched."""
    instance = await instance_of('(module (memory (export "memory") 1))')
    with pytest.raises(GuestMemoryError, match="the guest's memory has 65,536 bytes"):
        instance.memory.read(ptr, size)
    if 0 < size <= PAGE + 1:
        with pytest.raises(GuestMemoryError, match="cannot write"):
            instance.memory.write(ptr, b"x" * size)
    assert instance.memory.read(0, PAGE) == bytes(PAGE)


@pytest.mark.parametrize(("ptr", "size"), WILD)
async def test_a_wild_region_in_a_host_call_ends_that_call(
    instance_of: InstanceOf, ptr: int, size: int
) -> None:
    """As GuestMemoryError, and the instance is poisoned for it."""

    @host_function("env", "look", params=("i32", "i32"))
    def look(caller: Caller, at: int, count: int) -> None:
        caller.memory.read(at, count)

    instance = await instance_of(
        """(module (import "env" "look" (func (param i32 i32))) (memory (export "memory") 1)
        (export "go" (func 0)))""",
        imports=[look],
    )
    with pytest.raises(GuestMemoryError):
        await instance.call("go", ptr, size)
    assert instance.poisoned == "bad-pointer"


async def test_edges_unaligned_and_overlapping_regions_are_fine(instance_of: InstanceOf) -> None:
    """What is inside is inside."""
    instance = await instance_of('(module (memory (export "memory") 1))')
    memory = instance.memory
    memory.write(PAGE - 3, b"abc")
    assert memory.read(PAGE - 3, 3) == b"abc"
    assert memory.read(PAGE, 0) == b""
    memory.write(PAGE, b"")
    memory.write(1, bytearray(b"12345"))
    memory.write(3, memoryview(b"ab"))
    assert memory.read(1, 5) == b"12ab5"


@pytest.mark.parametrize(
    "exported", ["", '(func (export "memory"))', '(table (export "memory") 1 funcref)']
)
async def test_a_guest_without_memory_has_none(
    driven_instance_of: DrivenInstanceOf, exported: str
) -> None:
    """The same for a guest with another kind of export of that name."""
    instance = await driven_instance_of(f"(module {exported})")
    assert instance.memory.size == instance.memory_size == 0
    assert instance.memory.read(0, 0) == b""
    with pytest.raises(GuestMemoryError):
        instance.memory.read(0, 1)


async def test_memory_that_grows_while_the_host_holds_a_region(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """The host holds copies; what it looks at next is where the memory is then."""

    @host_function("env", "grow")
    async def grow(caller: Caller) -> None:
        before = caller.memory.read(0, 4)
        pages = caller.memory.size // PAGE
        assert await caller.call("more", 1_000) == pages
        assert caller.memory.size == (pages + 1_000) * PAGE
        assert caller.memory.read(0, 4) == before
        caller.memory.write((pages + 1_000) * PAGE - 4, b"last")

    instance = await driven_instance_of(
        """(module (import "env" "grow" (func $grow)) (memory (export "memory") 1)
        (data (i32.const 0) "data")
        (func (export "more") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "go") (call $grow) (call $grow)))""",
        imports=[grow],
    )
    await instance.call("go")
    assert instance.memory_size == 2_001 * PAGE


async def test_memory_that_grows_without_end_stops_at_its_limit(
    driven_instance_of: DrivenInstanceOf,
) -> None:
    """The guest gets -1, and the host's memory is its own."""
    instance = await driven_instance_of(
        """(module (memory (export "memory") 1)
        (func (export "go") (result i32)
          (loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
          (memory.size)))""",
        limits=Limits(memory=100 * PAGE),
    )
    assert await instance.call("go") == 97
    assert instance.memory_size <= 100 * PAGE


@pytest.mark.parametrize("where", ["start", "_initialize"])
async def test_a_start_that_never_ends_is_cancelled(where: str) -> None:
    """And leaves nothing behind."""
    start = {"start": "(start $f)", "_initialize": '(export "_initialize" (func $f))'}[where]
    module = await Module.compile(f"(module (func $f (loop $l (br $l))) {start})")
    with trio.move_on_after(0.02) as scope:
        await module.instantiate()
    assert scope.cancelled_caught


@pytest.mark.parametrize("name", ["malloc", "free", "go"])
async def test_an_endless_loop_in_any_of_its_functions_is_cancelled(
    instance_of: InstanceOf, name: str
) -> None:
    """Also in those that the host calls on its own account."""
    text = """(module (memory (export "memory") 1)
      (func (export "malloc") (param i32) (result i32) (; malloc ;) (i32.const 64))
      (func (export "free") (param i32) (; free ;))
      (func (export "go") (param i64) (result i64) (; go ;) (i64.const 0x8_0000_0004)))"""
    instance = await instance_of(text.replace(f"(; {name} ;)", "(loop $l (br $l))"))
    with trio.move_on_after(0.03) as scope:
        for _ in range(3):
            await instance.exchange("go", b"payload")
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"


async def test_a_huge_fill_is_bounded_by_the_memory(instance_of: InstanceOf) -> None:
    """One instruction cannot be interrupted; the cancel hits right after it."""
    instance = await instance_of(
        """(module (memory (export "memory") 512)
        (func (export "go") (loop $l
          (memory.fill (i32.const 0) (i32.const 1) (i32.const 33554432)) (br $l))))"""
    )
    with trio.move_on_after(0.02) as scope:
        await instance.call("go")
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    "text",
    [
        '(module (func $f (export "go") (call $f)))',
        """(module (func $f (export "go") (param i64 i64 i64 i64) (result i64)
        (call $f (local.get 1) (local.get 2) (local.get 3) (local.get 0))))""",
        """(module (import "env" "back" (func $back)) (func $f (export "deep") (call $f))
        (func (export "go") (call $back)))""",
    ],
)
async def test_endless_recursion_is_a_stack_overflow_of_the_guest(
    instance_of: InstanceOf, text: str
) -> None:
    """Also nested in a host function, on the stack that is left then."""

    @host_function("env", "back")
    async def back(caller: Caller) -> None:
        await caller.call("deep")

    instance = await instance_of(text, imports=[back])
    args = (1, 2, 3, 4) if "i64" in text else ()
    with pytest.raises(GuestTrap) as caught:
        await instance.call("go", *args)
    assert caught.value.code == "stack-overflow"
    assert len(caught.value.frames) <= 1_000


@pytest.mark.parametrize(
    "malloc",
    [
        '(func (export "malloc") (param i64) (result i32) (i32.const 8))',
        '(func (export "malloc") (param i32) (result i64) (i64.const 8))',
        '(memory (export "malloc") 1)',
        '(global (export "malloc") i32 (i32.const 1))',
    ],
)
async def test_a_malloc_of_the_wrong_type_is_none(instance_of: InstanceOf, malloc: str) -> None:
    """A LinkError that says of which type it should be."""
    instance = await instance_of(
        f'(module {malloc} (func (export "go") (param i64) (result i64) (i64.const 0)))'
    )
    with pytest.raises(LinkError, match=r"of type \(i32\) -> \(i32\)"):
        await instance.exchange("go", b"x")


async def test_a_host_call_from_free_is_served_like_any_other(instance_of: InstanceOf) -> None:
    """The exchange raises its exception, which is the host's own."""

    class Mine(Exception):
        pass

    @host_function("env", "fail")
    async def fail(caller: Caller) -> None:
        del caller
        await trio.lowlevel.checkpoint()
        raise Mine

    instance = await instance_of(
        """(module (import "env" "fail" (func $fail)) (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 64))
        (func (export "free") (param i32) (call $fail))
        (func (export "go") (param i64) (result i64) (i64.const 0x8_0000_0004)))""",
        imports=[fail],
    )
    assert await instance.exchange("go", b"x") == bytes(4)
    with pytest.raises(Mine):
        await instance.exchange("go", b"x")
    assert instance.poisoned == "host-error"


async def test_a_trap_with_a_deep_stack_has_bounded_frames(instance_of: InstanceOf) -> None:
    """A report of a trap does not grow with what the guest did."""
    instance = await instance_of(
        """(module (func $f (export "go") (param i32)
        (if (i32.eqz (local.get 0)) (then unreachable))
        (call $f (i32.sub (local.get 0) (i32.const 1)))))"""
    )
    with pytest.raises(GuestTrap) as caught:
        await instance.call("go", 5_000)
    assert len(str(caught.value)) < 10_000


async def test_many_exports_and_long_names_are_only_slow_to_say(instance_of: InstanceOf) -> None:
    """A message about an export does not print a megabyte of a guest's names."""
    functions = "".join(f'(func (export "{"x" * 1_000}{k}"))' for k in range(300))
    instance = await instance_of(f"(module {functions})")
    with pytest.raises(ValueError, match="has no export 'nope'") as caught:
        await instance.call("nope")
    assert len(str(caught.value)) < 2_000


async def test_a_guest_that_calls_itself_something_long_is_called_by_the_start_of_it(
    instance_of: InstanceOf,
) -> None:
    """Names in the name section are the guest's to choose, and go into messages."""
    long = "N" * 90_000
    instance = await instance_of(f'(module ${long} (func $f{long} (export "go") unreachable))')
    with pytest.raises(GuestTrap) as caught:
        await instance.call("go")
    assert "in fNNN" in str(caught.value)
    assert len(str(caught.value)) < 1_000


async def test_what_is_no_bytes_is_not_written(instance_of: InstanceOf) -> None:
    """A number of bytes is a TypeError, and no zeros."""
    instance = await instance_of(
        '(module (memory (export "memory") 1) (data (i32.const 0) "data"))'
    )
    for data in (4, "text", None):
        with pytest.raises(TypeError):
            instance.memory.write(0, data)  # type: ignore[arg-type]  # the mistake
    assert instance.memory.read(0, 4) == b"data"
    instance.memory.write(0, memoryview(b"s-t-a-r-")[::2])
    assert instance.memory.read(0, 4) == b"star"
