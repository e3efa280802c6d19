"""A guest's memory: no address, size or buffer is taken for another."""

from __future__ import annotations

import ctypes
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from wasmpool_host import Caller, GuestMemoryError, Memory, host_function
from wasmpool_host._instance import memory as memory_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.instance_of import InstanceOf


PAGE = 65_536
ONE_PAGE = '(module (memory (export "memory") 1) (data (i32.const 0) "start"))'
ABI = """(module $m
  (import "env" "go" (func (param i64) (result i64)))
  (memory (export "memory") 1) (data (i32.const 64) "region")
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (export "go" (func 0)))"""


@pytest.mark.parametrize(
    "ptr", [2**32, 2**32 + 8, 2**64, 2**64 + 1, pytest.param(10**5_000, id="huge")]
)
async def test_an_address_never_wraps(instance_of: InstanceOf, ptr: int) -> None:
    """One beyond 32 bits is outside of the memory, for reading and for writing."""
    memory = (await instance_of(ONE_PAGE)).memory
    with pytest.raises(GuestMemoryError, match="cannot read 1 bytes at .* has 65,536 bytes"):
        memory.read(ptr, 1)
    with pytest.raises(GuestMemoryError, match="cannot write 1 bytes at .* has 65,536 bytes"):
        memory.write(ptr, b"x")
    with pytest.raises(GuestMemoryError):
        memory.read(ptr, 0)
    assert memory.read(0, 9) == b"start\0\0\0\0"


@pytest.mark.parametrize("size", [2**32, 2**32 + 1, 2**64, pytest.param(10**5_000, id="huge")])
async def test_a_size_never_wraps(instance_of: InstanceOf, size: int) -> None:
    """One beyond 32 bits is more than any memory has."""
    memory = (await instance_of(ONE_PAGE)).memory
    with pytest.raises(GuestMemoryError, match="cannot read .* bytes at 0x0"):
        memory.read(0, size)


@pytest.mark.parametrize(
    ("ptr", "size"), [(-(2**31) - 1, 1), (-(2**32), 1), pytest.param(0, -(10**5_000), id="huge")]
)
async def test_a_negative_number_below_32_bits_is_refused(
    instance_of: InstanceOf, ptr: int, size: int
) -> None:
    """It is no i32 that came signed."""
    memory = (await instance_of(ONE_PAGE)).memory
    with pytest.raises(ValueError, match=r"is from -2\*\*31 to 2\*\*32 - 1, not "):
        memory.read(ptr, size)
    if size == 1:
        with pytest.raises(ValueError, match=r"a pointer in a guest's memory is from -2\*\*31"):
            memory.write(ptr, b"x")


@pytest.mark.parametrize("value", [0.0, "0", None, b"0"])
async def test_what_is_no_int_is_no_address(instance_of: InstanceOf, value: Any) -> None:
    """Nor a size."""
    memory = (await instance_of(ONE_PAGE)).memory
    with pytest.raises(TypeError, match="a pointer in a guest's memory is an int, not "):
        memory.read(value, 1)
    with pytest.raises(TypeError, match="a size in a guest's memory is an int, not "):
        memory.read(0, value)
    with pytest.raises(TypeError, match="a pointer in a guest's memory is an int, not "):
        memory.write(value, b"x")


def test_a_signed_address_is_that_of_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    """From -2**31 on it means the upper half of what 32 bits address, as an i32 parameter does."""
    asked: list[tuple[int, int]] = []

    def string_at(at: int, size: int) -> bytes:
        asked.append((at, size))
        return b""

    monkeypatch.setattr(ctypes, "string_at", string_at)
    memory = Memory(lambda: (0, 1 << 32))
    for ptr in (-1, -(2**31), 2**31, 2**32 - 1):
        memory.read(ptr, 1)
    assert asked == [(2**32 - 1, 1), (2**31, 1), (2**31, 1), (2**32 - 1, 1)]


def test_a_read_beyond_what_ctypes_counts_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its C int would wrap, and -1 would mean up to the next NUL."""
    buffer = ctypes.create_string_buffer(b"a\0b\0c", 5)
    memory = Memory(lambda: (ctypes.addressof(buffer), 5))
    monkeypatch.setattr(memory_module, "_STRING_MOST", 2)
    assert memory.read(0, 5) == b"a\0b\0c"
    assert memory.read(1, 2) == b"\0b"


def _caller_of(found: dict[str, Any], act: Callable[[Caller], Any]) -> Any:
    @host_function("env", "go", params=("i64",), results=("i64",))
    async def go(caller: Caller, packed: int) -> int:
        del packed
        try:
            found["answer"] = await act(caller)
        except Exception as error:  # noqa: BLE001 - what it raises is looked at
            found["answer"] = error
        return 0

    return go


@pytest.mark.parametrize(
    ("packed", "answer"),
    [
        (64 << 32 | 6, b"region"),
        ((64 << 32 | 6) + 2**64, ValueError),
        (2**64, ValueError),
        (-(2**63) - 1, ValueError),
        pytest.param(10**5_000, ValueError, id="huge"),
        (1.0, TypeError),
        ("1", TypeError),
        (None, TypeError),
        (-1, GuestMemoryError),
        (2**64 - 1, GuestMemoryError),
        (0xFFFF_FFFF << 32 | 1, GuestMemoryError),
    ],
)
async def test_a_packed_region_never_wraps(
    instance_of: InstanceOf, packed: Any, answer: object
) -> None:
    """What is no i64 is refused; what is one may be signed or unsigned."""
    found: dict[str, Any] = {}

    async def read(caller: Caller) -> bytes:
        return caller.read(packed)

    instance = await instance_of(ABI, imports=[_caller_of(found, read)])
    await instance.call("go", 0)
    got = found["answer"]
    assert (got if isinstance(answer, bytes) else type(got)) == answer


@pytest.mark.parametrize(
    "data", [b"12345678", bytearray(b"12345678"), memoryview(b"12345678"), array("i", [1, 2])]
)
async def test_a_reply_is_the_bytes_of_what_is_given(instance_of: InstanceOf, data: Any) -> None:
    """Its room in the guest is counted in bytes, not in items."""
    found: dict[str, Any] = {}

    async def reply(caller: Caller) -> int:
        return await caller.reply(data)

    instance = await instance_of(ABI, imports=[_caller_of(found, reply)])
    await instance.call("go", 0)
    assert found["answer"] == 1024 << 32 | 8
    assert instance.memory.read(1024, 9) == bytes(memoryview(data)) + b"\0"


@pytest.mark.parametrize("data", [None, 0, "text", ["a"]])
async def test_a_reply_of_no_bytes_is_a_type_error(instance_of: InstanceOf, data: Any) -> None:
    """Nothing is not taken for an empty reply, and the guest's malloc is not asked."""
    found: dict[str, Any] = {}

    async def reply(caller: Caller) -> int:
        return await caller.reply(data)

    text = ABI.replace("(i32.const 1024)", "unreachable")
    instance = await instance_of(text, imports=[_caller_of(found, reply)])
    await instance.call("go", 0)
    assert type(found["answer"]) is TypeError
    assert instance.poisoned is None
