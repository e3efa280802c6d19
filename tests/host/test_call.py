"""Calling exports: numbers in and out, and what is said of those that do not fit."""

from __future__ import annotations

import gc
import math
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from trio.testing import assert_checkpoints

from wasmpool_host import GuestTrap, InstanceClosed, InstancePoisoned, Module

if TYPE_CHECKING:
    from tests.host.instance_of import InstanceOf

CALC = """(module $calc
  (func (export "nothing"))
  (func (export "i32") (param i32) (result i32) (local.get 0))
  (func (export "i64") (param i64) (result i64) (local.get 0))
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "mixed") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
    (local.get 3) (local.get 2) (local.get 1) (local.get 0))
  (func (export "vector") (param v128) (result i32) (i32.const 0))
  (func (export "reference") (result funcref) (ref.null func))
  (func (export "crash") unreachable)
  (memory (export "memory") 1))"""


@pytest.mark.parametrize(
    ("name", "given", "got"),
    [
        ("i32", 7, 7),
        ("i32", -(2**31), -(2**31)),
        ("i32", 2**31 - 1, 2**31 - 1),
        ("i32", 2**32 - 1, -1),
        ("i32", 2**31, -(2**31)),
        ("i32", True, 1),
        ("i64", 2**63 - 1, 2**63 - 1),
        ("i64", -(2**63), -(2**63)),
        ("i64", 2**64 - 1, -1),
        ("f32", 1.5, 1.5),
        ("f32", 2, 2.0),
        ("f32", math.inf, math.inf),
        ("f64", -0.1, -0.1),
        ("f64", 2**53, float(2**53)),
    ],
)
async def test_a_number_comes_back_as_it_went(
    instance_of: InstanceOf, name: str, given: float, got: float
) -> None:
    """Integers come back signed, and floats as floats."""
    instance = await instance_of(CALC)
    result = await instance.call(name, given)
    assert result == got
    assert type(result) is type(got)


async def test_results_take_the_shape_of_the_type(instance_of: InstanceOf) -> None:
    """No result is None, one is itself, several are a tuple in order."""
    instance = await instance_of(CALC)
    assert await instance.call("nothing") is None
    assert await instance.call("add", 1, 2) == 3
    assert await instance.call("mixed", 1, 2**64 - 2, 0.5, 0.25) == (0.25, 0.5, -2, 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (("add", 1), TypeError, "calc.add takes 2 arguments (i32, i32), not 1"),
        (("nothing", 1), TypeError, "calc.nothing takes 0 arguments, not 1"),
        (("add", 1, "2"), TypeError, "argument 2 of calc.add is an i32: give an int, not '2'"),
        (("i32", 1.0), TypeError, "argument 1 of calc.i32 is an i32: give an int, not 1.0"),
        (("i32", 2**32), ValueError, f"{2**32} is outside {-(2**31)}..{2**32 - 1}"),
        (("i64", -(2**63) - 1), ValueError, "argument 1 of calc.i64 is an i64"),
        (("f32", 1e300), ValueError, "argument 1 of calc.f32 is an f32: 1e+300 is too large"),
        (("f64", "1"), TypeError, "argument 1 of calc.f64 is an f64: give a float or an int"),
        (("f64", None), TypeError, "argument 1 of calc.f64 is an f64: give a float or an int"),
        (("addd", 1, 2), ValueError, "module 'calc' has no export 'addd'; did you mean 'add'"),
        (("zzz",), ValueError, "its functions are nothing, i32"),
        (("memory",), TypeError, "export 'memory' is no function, but a memory of 1 page,"),
        (("vector", 1), TypeError, "argument 1 of calc.vector is a v128: give 16 bytes, not 1"),
        (("vector", b"short"), ValueError, "calc.vector is a v128: give 16 bytes, not 5"),
        (("reference",), TypeError, "funcref cannot be passed between host and guest"),
    ],
)
async def test_a_wrong_argument_is_named_and_poisons_nothing(
    instance_of: InstanceOf, call: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    """The sentence has export, position, type and value; the instance serves on."""
    instance = await instance_of(CALC)
    with pytest.raises(error) as caught:
        await instance.call(*call)
    assert message in str(caught.value)
    assert instance.poisoned is None
    assert await instance.call("add", 1, 2) == 3


async def test_a_call_is_a_checkpoint(instance_of: InstanceOf) -> None:
    """Also one that ends in its first slice, so that a loop of calls can be cancelled."""
    instance = await instance_of(CALC)
    with assert_checkpoints():
        await instance.call("nothing")


async def test_a_cancel_before_the_guest_starts_leaves_the_instance_whole(
    instance_of: InstanceOf,
) -> None:
    """The checkpoint comes before the instance is taken."""
    instance = await instance_of(CALC)
    with trio.CancelScope() as scope:
        scope.cancel()
        await instance.call("nothing")
    assert scope.cancelled_caught
    assert instance.poisoned is None


async def test_a_trap_names_the_export_and_the_function(instance_of: InstanceOf) -> None:
    """Code, sentence and frames; and the instance may not serve again."""
    text = '(module $m (func $inner unreachable) (func $outer (export "go") (call $inner)))'
    instance = await instance_of(text)
    with pytest.raises(GuestTrap) as caught:
        await instance.call("go")
    trap = caught.value
    assert trap.code == "unreachable"
    assert "m.go trapped" in trap.message
    assert [frame.function for frame in trap.frames] == ["inner", "outer"]
    assert "in inner at 0x" in str(trap)
    assert instance.poisoned == "trap"
    with pytest.raises(InstancePoisoned, match=r"poisoned \(trap\)"):
        await instance.call("go")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "integer-division-by-zero"),
        ("(drop (i32.load (i32.const -1)))", "memory-out-of-bounds"),
        ("(call $go)", "stack-overflow"),
        ("(call_indirect (i32.const 0))", "indirect-call-to-null"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "bad-conversion-to-integer"),
    ],
)
async def test_each_trap_has_its_code(instance_of: InstanceOf, body: str, code: str) -> None:
    """Also an overflow of the guest's stack, which is a trap like any other."""
    text = f'(module (memory 1) (table 1 funcref) (func $go (export "go") {body}))'
    instance = await instance_of(text)
    with pytest.raises(GuestTrap) as caught:
        await instance.call("go")
    assert caught.value.code == code


async def test_two_tasks_at_once_are_refused(instance_of: InstanceOf) -> None:
    """The second call raises BusyResourceError; the first continues."""
    instance = await instance_of(
        '(module (func (export "long") (param i32) (loop $l'
        " (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.call, "long", 50_000_000)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="one task at a time"):
            await instance.call("long", 1)
        with pytest.raises(trio.BusyResourceError):
            instance.memory.read(0, 1)
    assert instance.poisoned is None


async def test_a_closed_instance_says_so(instance_of: InstanceOf) -> None:
    """Closing twice is fine; calling after that is not."""
    instance = await instance_of(CALC)
    await instance.aclose()
    await instance.aclose()
    assert repr(instance) == "<Instance of module 'calc': closed>"
    with pytest.raises(InstanceClosed, match="'calc' is closed"):
        await instance.call("nothing")
    with pytest.raises(InstanceClosed):
        instance.memory.read(0, 1)


async def test_aclose_is_a_checkpoint_that_closes_also_when_cancelled(
    instance_of: InstanceOf,
) -> None:
    """A cancelled close has closed."""
    instance = await instance_of(CALC)
    with trio.CancelScope() as scope:
        scope.cancel()
        with assert_checkpoints():
            await instance.aclose()
    with pytest.raises(InstanceClosed):
        await instance.call("nothing")


async def test_another_thread_is_refused() -> None:
    """An instance belongs to the run that made it; the module does not."""
    module = await Module.compile(CALC)
    instance = await module.instantiate()

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="belongs to another thread"):
            await instance.call("nothing")
        own = await module.instantiate()
        assert await own.call("add", 1, 1) == 2
        await own.aclose()

    await trio.to_thread.run_sync(trio.run, elsewhere)
    assert await instance.call("add", 1, 2) == 3
    await instance.aclose()


async def test_an_instance_that_is_forgotten_warns_and_is_freed() -> None:
    """A ResourceWarning, as for a file."""
    module = await Module.compile(CALC)

    async def forget() -> None:
        await module.instantiate()
        gc.collect()

    with pytest.warns(ResourceWarning, match="was not closed"):
        await forget()
