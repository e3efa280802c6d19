"""No value wraps or changes unsaid on its way between Python and a guest."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from wasmpool_host import Caller, host_function

if TYPE_CHECKING:
    from tests.host.instance_of import InstanceOf

    from wasmpool_host import Instance

BITS = """(module $m
  (import "env" "f32" (func $f32 (param f32) (result f32)))
  (import "env" "f64" (func $f64 (param f64) (result f64)))
  (import "env" "back" (func $back (param f32) (result f32)))
  (func (export "bits of f32") (param f32) (result i32) (i32.reinterpret_f32 (local.get 0)))
  (func (export "f32 of bits") (param i32) (result f32) (f32.reinterpret_i32 (local.get 0)))
  (func (export "bits of f64") (param f64) (result i64) (i64.reinterpret_f64 (local.get 0)))
  (func (export "f64 of bits") (param i64) (result f64) (f64.reinterpret_i64 (local.get 0)))
  (func (export "both") (param i32 i64) (result i32 f32 f64 f32)
    (i32.const 7) (f32.reinterpret_i32 (local.get 0)) (f64.reinterpret_i64 (local.get 1))
    (f32.const 1.5))
  (func (export "through f32") (param i32) (result i32)
    (i32.reinterpret_f32 (call $f32 (f32.reinterpret_i32 (local.get 0)))))
  (func (export "through f64") (param i64) (result i64)
    (i64.reinterpret_f64 (call $f64 (f64.reinterpret_i64 (local.get 0)))))
  (func (export "same") (param f32) (result f32) (local.get 0))
  (func (export "through both") (param i32) (result i32)
    (i32.reinterpret_f32 (call $back (f32.reinterpret_i32 (local.get 0))))))"""

NANS_32 = [
    0x7FC0_0000,  # the canonical one
    0xFFC0_0000,
    0x7F80_0001,  # signalling
    0xFFBF_FFFF,
    0x7FA0_0000,
    0x7FFF_FFFF,
    0x7FC1_2345,
]
NANS_64 = [
    0x7FF8_0000_0000_0000,
    0x7FF0_0000_0000_0001,
    0xFFF7_FFFF_FFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0xFFF8_0000_1234_5678,
]


@pytest.fixture
async def instance(instance_of: InstanceOf) -> Instance:
    @host_function("env", "f32", params=("f32",), results=("f32",))
    def f32(_caller: Caller, value: float) -> float:
        return value

    @host_function("env", "f64", params=("f64",), results=("f64",))
    async def f64(_caller: Caller, value: float) -> float:
        return value

    @host_function("env", "back", params=("f32",), results=("f32",))
    async def back(caller: Caller, value: float) -> Any:
        return await caller.call("same", value)

    return await instance_of(BITS, imports=[f32, f64, back])


def of_bits(bits: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value


def bits_of(value: Any) -> int:
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    return bits


def widened(bits: int) -> int:
    """The bits of the f64 that stands for an f32's NaN: sign, quiet bit and payload kept."""
    return bits >> 31 << 63 | 0x7FF << 52 | (bits & 0x7F_FFFF) << 29


@pytest.mark.parametrize("bits", NANS_32)
async def test_a_nan_of_f32_keeps_its_bits_everywhere(instance: Instance, bits: int) -> None:
    """As an argument, a result, and both of a host function and of a nested call."""
    assert await instance.call("bits of f32", of_bits(widened(bits))) & 0xFFFF_FFFF == bits  # type: ignore[operator]  # an int
    result = await instance.call("f32 of bits", bits)
    assert bits_of(result) == widened(bits)
    assert await instance.call("bits of f32", result) & 0xFFFF_FFFF == bits  # type: ignore[operator, arg-type]
    assert await instance.call("through f32", bits) & 0xFFFF_FFFF == bits  # type: ignore[operator]
    assert await instance.call("through both", bits) & 0xFFFF_FFFF == bits  # type: ignore[operator]


@pytest.mark.parametrize("bits", NANS_64)
async def test_a_nan_of_f64_keeps_its_bits_everywhere(instance: Instance, bits: int) -> None:
    """As an argument, a result, and both of a host function."""
    signed = bits - (1 << 64) if bits >> 63 else bits
    assert await instance.call("bits of f64", of_bits(bits)) == signed
    assert bits_of(await instance.call("f64 of bits", bits)) == bits
    assert await instance.call("through f64", bits) == signed


async def test_nans_among_several_results_are_told_apart(instance: Instance) -> None:
    """Each keeps its own bits, and what stands beside them is as ever."""
    seven, small, large, half = await instance.call("both", 0x7F80_0001, 0x7FF0_0000_0000_0001)  # type: ignore[misc]  # four of them
    assert (seven, half) == (7, 1.5)
    assert bits_of(small) == widened(0x7F80_0001)
    assert bits_of(large) == 0x7FF0_0000_0000_0001


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("f32", of_bits(0x7FF0_0000_0000_0001), "has the bits 0x7ff0000000000001: the payload"),
        ("f32", of_bits(0xFFF8_0000_0000_0001), "has the bits 0xfff8000000000001: the payload"),
        ("f32", 1e39, "1e+39 is too large for it"),
        ("f32", -3.4028235677973366e38, "-3.4028235677973366e+38 is too large for it"),
        ("f32", 2**128, "is too large for it"),
        ("f32", 2**24 + 1, "16777217 is not exactly an f32: give a float, which is rounded"),
        ("f64", 2**53 + 1, "9007199254740993 is not exactly an f64: give a float"),
        ("f64", -(2**1024), "an int of 1,025 bits is too large for it"),
        pytest.param("f64", 10**5_000, "an int of 16,610 bits is too large for it", id="huge"),
        ("f64", Decimal("1e400"), "is too large for it"),
        ("f64", Fraction(10**400), "is too large for it"),
    ],
)
async def test_a_float_that_would_change_by_more_than_rounding_is_refused(
    instance: Instance, name: str, value: Any, message: str
) -> None:
    """By its type and its value; the instance serves on."""
    with pytest.raises(
        ValueError, match=f"argument 1 of m.bits of {name} is an {name}: "
    ) as caught:
        await instance.call(f"bits of {name}", value)
    assert message in str(caught.value)
    assert instance.poisoned is None
    assert await instance.call("bits of f32", 1.0) == 0x3F80_0000


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (0.1, struct.unpack("<f", struct.pack("<f", 0.1))[0]),
        (float(2**24 + 1), float(2**24)),
        (2**24, float(2**24)),
        (2**100, float(2**100)),
        (-(2**24) - 2, -float(2**24 + 2)),
        (3.4028235e38, 3.4028234663852886e38),
        (1e-60, 0.0),
        (-math.inf, -math.inf),
        (Decimal("1.5"), 1.5),
        (True, 1.0),
    ],
)
async def test_a_float_is_rounded_to_the_nearest_f32(
    instance: Instance, given: Any, got: float
) -> None:
    """As any conversion does, and an int that f32 can hold is exact."""
    assert await instance.call("same", given) == got


@pytest.mark.parametrize("value", [b"1", bytearray(b"1"), memoryview(b"1"), "nan", 1j, None, []])
async def test_what_is_no_number_is_no_float(instance: Instance, value: Any) -> None:
    """Text is not read as a number, in any kind of buffer."""
    with pytest.raises(TypeError, match="is an f64: give a float or an int, not "):
        await instance.call("bits of f64", value)


@pytest.mark.parametrize("value", [1.0, math.nan, "1", b"1", Decimal(1), None, int])
async def test_what_is_no_integer_is_no_integer(instance: Instance, value: Any) -> None:
    """A float with a whole value is not cut to it either."""
    with pytest.raises(TypeError, match="argument 1 of m.f32 of bits is an i32: give an int, not "):
        await instance.call("f32 of bits", value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("f32 of bits", 2**32),
        ("f32 of bits", -(2**31) - 1),
        pytest.param("f32 of bits", 10**5_000, id="huge"),
        ("f64 of bits", 2**64),
        ("f64 of bits", -(2**63) - 1),
        pytest.param("f64 of bits", -(10**5_000), id="negative"),
    ],
)
async def test_an_integer_never_wraps(instance: Instance, name: str, value: int) -> None:
    """One outside of its type, of any size, is a ValueError that names export and range."""
    with pytest.raises(ValueError, match=rf"argument 1 of m\.{name} is an i\d\d: .* is outside -"):
        await instance.call(name, value)


@pytest.mark.parametrize(
    ("type_", "value", "error"),
    [
        ("i32", 2**32, ValueError),
        ("i64", -(2**63) - 1, ValueError),
        ("i32", 1.0, TypeError),
        ("f32", 1e39, ValueError),
        ("f32", of_bits(0x7FF0_0000_0000_0001), ValueError),
        ("f64", 2**53 + 1, ValueError),
        ("f64", "1", TypeError),
    ],
)
async def test_a_result_of_a_host_function_never_changes(
    instance_of: InstanceOf, type_: Any, value: Any, error: type[Exception]
) -> None:
    """One that does not fit is the host function's error, in the call."""

    @host_function("env", "give", results=(type_,))
    def give(_caller: Caller) -> Any:
        return value

    instance = await instance_of(
        f'(module (import "env" "give" (func (result {type_}))) (export "give" (func 0)))',
        imports=[give],
    )
    with pytest.raises(error, match=f"result 1 of host function env.give is an {type_}: "):
        await instance.call("give")
    assert instance.poisoned == "host-error"
