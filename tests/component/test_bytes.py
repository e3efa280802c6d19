"""Bytes that the host writes into the guest's memory, and reads from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.component.echo import LIBRARY

from wasmpool import open_pool
from wasmpool_host import Component, Err, GuestMemoryError, GuestTrap, InstanceClosed, Limits, Ok

if TYPE_CHECKING:
    from wasmpool_host import ComponentInstance

BYTES = f"""(component
{LIBRARY}
  (alias core export $library "memory" (core memory $memory))
  (alias core export $library "realloc" (core func $realloc))
  (alias core export $library "reset" (core func $reset))
  (core module $main
    (import "" "memory" (memory 0))
    (import "" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    (func $region (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16))
    (func (export "same") (param i32 i32) (result i32)
      (call $region (local.get 0) (local.get 1)))
    (func (export "count") (param i32 i32 i32 i32 i64 f32 i32) (result i32)
      (local.get 1) (local.get 3) i32.add (i32.wrap_i64 (local.get 4)) i32.add
      (i32.trunc_f32_s (local.get 5)) i32.add (local.get 6) i32.add)
    (func (export "zeros") (param i32) (result i32)
      (call $region (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get 0))
        (local.get 0)))
    (func (export "outside") (param i32 i32) (result i32)
      (call $region (local.get 0) (local.get 1)))
    (func (export "parse") (param i32 i32) (result i32)
      (i32.store8 (i32.const 32) (i32.eqz (local.get 1)))
      (i32.store (i32.const 36) (local.get 0))
      (i32.store (i32.const 40) (local.get 1))
      (i32.const 32))
    (func (export "neither") (param i32 i32) (result i32)
      (i32.store8 (i32.const 32) (i32.const 7)) (i32.const 32))
    (func (export "spin") (param i32 i32) (loop (br 0))))
  (core instance $main (instantiate $main (with "" (instance
    (export "memory" (memory $memory)) (export "realloc" (func $realloc))))))
  (func $same (param "data" (list u8)) (result (list u8))
    (canon lift (core func $main "same") (memory $memory) (realloc $realloc)
      (post-return $reset)))
  (export "same" (func $same))
  (instance $io (export "same" (func $same)))
  (export "test:bytes/io" (instance $io))
  (func (export "count") (param "a" (list u8)) (param "b" string) (param "c" s64) (param "d" f32)
    (param "e" s8) (result s32)
    (canon lift (core func $main "count") (memory $memory) (realloc $realloc)))
  (func (export "zeros") (param "n" u32) (result (list u8))
    (canon lift (core func $main "zeros") (memory $memory) (realloc $realloc)
      (post-return $reset)))
  (func (export "outside") (param "at" u32) (param "size" u32) (result (list u8))
    (canon lift (core func $main "outside") (memory $memory) (realloc $realloc)))
  (func (export "parse") (param "data" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $main "parse") (memory $memory) (realloc $realloc)))
  (func (export "neither") (param "data" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $main "neither") (memory $memory) (realloc $realloc)))
  (func (export "spin") (param "data" (list u8))
    (canon lift (core func $main "spin") (memory $memory) (realloc $realloc))))"""


async def started(**limits: int) -> ComponentInstance:
    component = await Component.compile(BYTES, limits=Limits(**limits))
    return await component.instantiate()


async def test_bytes_of_any_length_go_in_and_out() -> None:
    """Each function of them is called with plain integers, in its interface, too."""
    instance = await started()
    for size in (0, 1, 4096, 100_000, 3 << 20):
        data = bytes(k % 251 for k in range(min(size, 1000))) * (size // 1000 + 1)
        assert await instance.call("same", data[:size]) == data[:size]
        assert await instance.call("test:bytes/io#same", bytearray(data[:size])) == data[:size]
    assert await instance.call("same", memoryview(b"abcd").cast("H")) == b"abcd"
    assert await instance.call("same", [1, 2]) == b"\1\2"
    assert len(await instance.call("zeros", 5)) == 5
    assert instance.poisoned is None
    await instance.aclose()


async def test_other_parts_are_passed_along() -> None:
    instance = await started()
    for data in (b"", bytes(2_000)):
        assert await instance.call("count", data, "añ", -7, 2.5, -1) == len(data) + 3 - 7 + 2 - 1
    await instance.aclose()


async def test_a_result_is_of_either_kind() -> None:
    instance = await started()
    assert await instance.call("parse", b"abc") == Ok(b"abc")
    assert await instance.call("parse", b"") == Err("")
    await instance.aclose()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("same", "text"), r"argument 'data': give bytes \(list<u8>\), not 'text'"),
        (("same", [256]), r"argument 'data': give bytes"),
        (("same", b"", b""), r"takes 1 argument \(data: list<u8>\), not 2"),
        (("count", bytes(2_000), "", 0, 0, 200), r"argument 'e': give an int from -128 to 127"),
        (("count", bytes(2_000), "\ud800", 0, 0, 0), r"argument 'b': give a str that has a form"),
    ],
)
async def test_what_does_not_fit_is_a_type_error(args: tuple[object, ...], message: str) -> None:
    instance = await started()
    with pytest.raises(TypeError, match=message):
        await instance.call(*args)  # type: ignore[arg-type]  # the name is the first
    assert instance.poisoned is None
    assert await instance.call("same", b"x") == b"x"
    await instance.aclose()


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("outside", (65_530, 100), "is outside the guest's memory"),
        ("outside", (0xFFFF_FFFF, 0xFFFF_FFFF), "above limits.payload=1,000"),
        ("outside", (0, 1_001), "of 1,001 bytes, is above limits.payload=1,000"),
    ],
)
async def test_a_hostile_result_ends_in_an_error(
    name: str, args: tuple[object, ...], message: str
) -> None:
    instance = await started(payload=1_000)
    with pytest.raises(GuestMemoryError, match=message):
        await instance.call(name, *args)
    assert instance.poisoned == "bad-pointer"
    await instance.aclose()


async def test_a_result_of_neither_kind_is_a_trap() -> None:
    instance = await started()
    with pytest.raises(GuestTrap, match="discriminant 7") as info:
        await instance.call("neither", bytes(2_000))
    assert info.value.code == "invalid-discriminant"
    await instance.aclose()


async def test_an_allocator_that_fails_is_a_trap() -> None:
    instance = await started(memory=1 << 20)
    with pytest.raises(GuestTrap) as info:
        await instance.call("same", bytes(2 << 20))
    assert "the allocator of component" in str(info.value)
    await instance.aclose()


async def test_a_call_with_bytes_is_cancelled_and_closed() -> None:
    instance = await started()
    with trio.move_on_after(0.02) as scope:
        await instance.call("spin", bytes(10_000))
    assert scope.cancelled_caught
    assert instance.poisoned == "cancelled"
    await instance.aclose()
    instance = await started()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            with pytest.raises(InstanceClosed):
                await instance.call("spin", bytes(10_000))

        await trio.testing.wait_all_tasks_blocked(0.005)
        await instance.aclose()


async def test_a_bytearray_keeps_its_size_during_the_call() -> None:
    """The guest is told a size first, and the bytes are copied later."""
    instance = await started()
    data = bytearray(10_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.call, "spin", data)
        await trio.testing.wait_all_tasks_blocked(0.005)
        with pytest.raises(BufferError):
            data.append(1)
        nursery.cancel_scope.cancel()
    await instance.aclose()


async def test_a_pool_passes_bytes_and_counts_memory() -> None:
    component = await Component.compile(BYTES)
    data = bytes(range(256)) * 4_096
    async with open_pool(component, size=2, max_memory=500_000) as pool:
        assert await pool.call("same", data) == data
        assert pool.statistics().retired["memory"] == 1
        async with pool.lease() as lease:
            assert await lease.call("same", data) == data
        assert pool.statistics().retired["memory"] == 2


TEXTS = f"""(component
{LIBRARY}
  (alias core export $library "memory" (core memory $memory))
  (alias core export $library "realloc" (core func $realloc))
  (alias core export $library "reset" (core func $reset))
  (core module $main
    (import "" "memory" (memory 0))
    (func (export "same") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16)))
  (core instance $main (instantiate $main (with "" (instance
    (export "memory" (memory $memory))))))
  (func (export "same") (param "text" string) (result string)
    (canon lift (core func $main "same") (memory $memory) (realloc $realloc)
      (post-return $reset))))"""


async def test_text_of_any_length_goes_in_and_out() -> None:
    """As values, or from memory to memory after a long one, and back to values."""
    instance = await (await Component.compile(TEXTS)).instantiate()
    for length in (0, 3, 100_000, 200_000, 5, 0, 1, 1 << 20):
        text = "aé😀"[:length] * (length // 3) + "z"
        assert await instance.call("same", text) == text
    await instance.aclose()
