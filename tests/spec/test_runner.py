"""The runner of the spec suite: nothing that fails is counted as passed, or as refused."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import pytest
from tests.spec.command import Command, Value
from tests.spec.script import Script
from tests.spec.tally import Tally
from tests.spec.values import argument, matches
from tests.spec.verdict import PASSED, Explained, Failed, Refused, Superseded, Why

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.spec.verdict import Verdict

NUMBERS = """(module
  (global $count (export "count") (mut i32) (i32.const 0))
  (global (export "none") externref (ref.null extern))
  (func (export "one") (result i32) (i32.const 1))
  (func (export "trap") (result i32) unreachable)
  (func (export "next") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count))
  (func (export "keep") (param externref))
  (memory (export "memory") 1))"""

ONE = [{"type": "i32", "value": "1"}]
TWO = [{"type": "i32", "value": "2"}]


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    made = Script()
    yield made
    await made.aclose()


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Command]:
    """Make a command, as it would be read: of a module's text, or of an action."""

    def make(type_: str, wat: str | None = None, **entry: Any) -> Command:
        if wat is not None:
            entry["filename"] = f"{len(list(tmp_path.iterdir()))}.wat"
            (tmp_path / entry["filename"]).write_text(wat)
        return Command.read({"type": type_, "line": 1, **entry}, tmp_path)

    return make


def invoke(field: str, *args: Any, **more: Any) -> dict[str, Any]:
    return {"type": "invoke", "field": field, "args": list(args), **more}


def is_failed(verdict: Verdict, words: str) -> bool:
    return isinstance(verdict, Failed) and words in verdict.what


async def test_a_result_is_compared(script: Script, command: Callable[..., Command]) -> None:
    """The right result passes; another one, or another number of them, fails."""
    assert await script.run(command("module", NUMBERS)) == PASSED
    for expected, right in ((ONE, True), (TWO, False), ([], False), (ONE + ONE, False)):
        verdict = await script.run(
            command("assert_return", action=invoke("one"), expected=expected)
        )
        assert verdict == PASSED if right else is_failed(verdict, "returned 1, not")


async def test_a_trap_is_compared(script: Script, command: Callable[..., Command]) -> None:
    """A trap of another kind, one that was not asked for, and none where one was: all fail."""
    await script.run(command("module", NUMBERS))
    trap, one = invoke("trap"), invoke("one")
    assert await script.run(command("assert_trap", action=trap, text="unreachable")) == PASSED
    other = await script.run(command("assert_trap", action=trap, text="integer overflow"))
    assert is_failed(other, "unreachable")
    unknown = await script.run(command("assert_trap", action=trap, text="of a kind to come"))
    assert is_failed(unknown, "unreachable")
    assert is_failed(await script.run(command("action", action=trap)), "unreachable")
    assert is_failed(await script.run(command("assert_trap", action=one, text="unreachable")), "1")
    assert is_failed(await script.run(command("assert_exception", action=trap)), "unreachable")


async def test_a_trap_does_not_lose_the_state(
    script: Script, command: Callable[..., Command]
) -> None:
    """What was called before a trap counts in the instance that takes its place."""
    await script.run(command("module", NUMBERS))
    count = {"type": "get", "field": "count"}
    assert await script.run(command("action", action=invoke("next"))) == PASSED
    assert await script.run(command("assert_trap", action=invoke("trap"), text="unreachable")) == (
        PASSED
    )
    assert await script.run(command("assert_return", action=count, expected=ONE)) == PASSED
    assert await script.run(command("assert_return", action=invoke("next"), expected=TWO)) == PASSED


@pytest.mark.parametrize("kind", ["assert_invalid", "assert_malformed"])
async def test_an_accepted_module_fails(
    script: Script, command: Callable[..., Command], kind: str
) -> None:
    """A module that must be refused passes only if it is said to be invalid."""
    assert await script.run(command(kind, "(module (func (result i32)))")) == PASSED
    assert await script.run(command(kind, "(module")) == PASSED
    assert is_failed(await script.run(command(kind, "(module)")), "it was compiled")
    lacking = '(module (import "a" "b" (func)))'
    assert is_failed(await script.run(command(kind, lacking)), "LinkError")
    threads = "(module (memory 1 1 shared))"
    assert await script.run(command(kind, threads)) == Refused(Why.THREADS)


async def test_what_follows_a_failed_module_fails(
    script: Script, command: Callable[..., Command]
) -> None:
    """Calls do not go to the module before it."""
    await script.run(command("module", NUMBERS))
    wrong = await script.run(command("module", "(module (func (result i32)))", name="m"))
    assert is_failed(wrong, "is no valid WebAssembly module")
    for action in (invoke("one"), invoke("one", module="m")):
        verdict = await script.run(command("assert_return", action=action, expected=ONE))
        assert is_failed(verdict, "its module has failed")


async def test_what_follows_a_refused_module_is_refused(
    script: Script, command: Callable[..., Command]
) -> None:
    """It is refused for the same reason: calls, and modules that import its functions."""
    shared = '(module (memory 1 1 shared) (func (export "f")))'
    assert await script.run(command("module", shared)) == Refused(Why.THREADS)
    assert await script.run(command("register", **{"as": "m"})) == Refused(Why.THREADS)
    assert await script.run(command("action", action=invoke("f"))) == Refused(Why.THREADS)
    user = '(module (import "m" "f" (func)))'
    assert await script.run(command("module", user)) == Refused(Why.THREADS)


@pytest.mark.parametrize("what", ["memory 1", "table 1 funcref", "global i32", "tag"])
async def test_an_import_that_is_not_provided_is_refused(
    script: Script, command: Callable[..., Command], what: str
) -> None:
    """All but functions are refused; a function that should be there is a failure."""
    wat = f'(module (import "spectest" "it" ({what})))'
    assert await script.run(command("module", wat)) == Refused(Why.IMPORTS)
    both = f'(module (import "spectest" "it" ({what})) (import "spectest" "f" (func)))'
    assert is_failed(await script.run(command("module", both)), "spectest.f: () -> ()")


async def test_a_module_changed_by_a_refused_one_is_not_compared(
    script: Script, command: Callable[..., Command]
) -> None:
    """Its state is not what the script expects, and no call of it is counted as passed."""
    await script.run(command("module", NUMBERS, name="m"))
    await script.run(command("register", name="m", **{"as": "m"}))
    writer = '(module (import "m" "memory" (memory 1)) (data (i32.const 0) "x"))'
    assert await script.run(command("module", writer)) == Refused(Why.IMPORTS)
    call = command("assert_return", action=invoke("one", module="m"), expected=ONE)
    assert await script.run(call) == Refused(Why.IMPORTS)


async def test_only_a_reference_is_refused_at_the_border(
    script: Script, command: Callable[..., Command]
) -> None:
    """Another TypeError is a failure."""
    await script.run(command("module", NUMBERS))
    none = {"type": "externref", "value": "null"}
    get = {"type": "get", "field": "none"}
    read = command("assert_return", action=get, expected=[none])
    assert await script.run(read) == Refused(Why.REFERENCES)
    verdict = await script.run(command("assert_return", action=invoke("keep", none), expected=[]))
    assert verdict == Refused(Why.REFERENCES)
    verdict = await script.run(command("assert_return", action=invoke("one", *ONE), expected=ONE))
    assert is_failed(verdict, "TypeError")


async def test_a_call_for_its_effect_that_is_refused_leads_astray(
    script: Script, command: Callable[..., Command]
) -> None:
    """Later calls would not find what it had set."""
    await script.run(command("module", NUMBERS))
    none = {"type": "externref", "value": "null"}
    refused = Refused(Why.REFERENCES)
    assert await script.run(command("action", action=invoke("keep", none))) == refused
    call = command("assert_return", action=invoke("one"), expected=ONE)
    assert await script.run(call) == refused


async def test_modules_are_linked_by_their_functions(
    script: Script, command: Callable[..., Command]
) -> None:
    """A trap in one mends all of them; a wrong type must not link, and a wrong test is seen."""
    await script.run(command("module", NUMBERS))
    await script.run(command("register", **{"as": "m"}))
    user = """(module (import "m" "next" (func $next (result i32)))
      (func (export "twice") (result i32) (drop (call $next)) (call $next))
      (func (export "trap") (drop (call $next)) unreachable))"""
    assert await script.run(command("module", user)) == PASSED
    assert await script.run(command("assert_trap", action=invoke("trap"), text="unreachable")) == (
        PASSED
    )
    twice = command("assert_return", action=invoke("twice"), expected=TWO)
    assert await script.run(twice) == PASSED
    wrong = '(module (import "m" "next" (func (param i32))))'
    unknown = '(module (import "m" "other" (memory 1)))'
    undecided = '(module (import "m" "memory" (memory 9)))'
    assert await script.run(command("assert_unlinkable", wrong)) == PASSED
    assert await script.run(command("assert_unlinkable", unknown)) == PASSED
    assert await script.run(command("assert_unlinkable", undecided)) == Refused(Why.IMPORTS)
    assert is_failed(await script.run(command("assert_unlinkable", user)), "it was linked")


async def test_a_start_is_compared(script: Script, command: Callable[..., Command]) -> None:
    """A start function that traps is what is asked for, or a failure."""
    trap = "(module (start $f) (func $f unreachable))"
    kind = "assert_uninstantiable"
    assert await script.run(command(kind, trap, text="unreachable")) == PASSED
    other = await script.run(command(kind, trap, text="integer overflow"))
    assert is_failed(other, "unreachable")
    assert is_failed(await script.run(command(kind, "(module)")), "it was instantiated")
    assert is_failed(await script.run(command("module", trap)), "unreachable")


async def test_a_definition_is_instantiated_by_its_name(
    script: Script, command: Callable[..., Command]
) -> None:
    """Each instance of it has a state of its own."""
    assert await script.run(command("module_definition", NUMBERS, name="d")) == PASSED
    for name in ("a", "b"):
        made = command("module_instance", instance=name, module="d")
        assert await script.run(made) == PASSED
        call = command("assert_return", action=invoke("next", module=name), expected=ONE)
        assert await script.run(call) == PASSED


async def test_a_definition_only_has_to_be_valid(
    script: Script, command: Callable[..., Command]
) -> None:
    """What it imports, and how large it is, matters where it is instantiated."""
    for wat in (
        '(module (import "a" "b" (func)))',
        '(module (import "a" "b" (memory 1)))',
        "(module (memory i64 0xffff_ffff))",
    ):
        assert await script.run(command("module_definition", wat)) == PASSED
    instance = command("module_instance", instance="a")
    assert await script.run(instance) == Refused(Why.LIMITS)
    invalid = command("module_definition", "(module (func (result i32)))")
    assert is_failed(await script.run(invalid), "is no valid WebAssembly module")
    assert is_failed(await script.run(instance), "its module has failed")
    shared = command("module_definition", "(module (memory 1 1 shared))")
    assert await script.run(shared) == Refused(Why.THREADS)


async def test_an_explanation_holds_for_one_failure_only(command: Callable[..., Command]) -> None:
    """One that is out of date is a failure itself."""
    script = Script({1: Explained(Superseded(), "it was compiled")})
    assert await script.run(command("assert_invalid", "(module)")) == Superseded()
    assert is_failed(await script.run(command("assert_invalid", "(module")), "out of date")
    lacking = command("assert_invalid", '(module (import "a" "b" (func)))')
    assert is_failed(await script.run(lacking), "out of date")
    await script.aclose()


async def test_a_command_of_an_unknown_type_fails(
    script: Script, command: Callable[..., Command]
) -> None:
    """The suite may get new ones."""
    assert is_failed(await script.run(command("assert_peace")), "assert_peace")


def f32(bits: int) -> float:
    """The float that comes back for an f32's NaN: its fraction is in the upper bits."""
    wide = bits >> 31 << 63 | 0x7FF << 52 | (bits & 0x7F_FFFF) << 29
    value: float = struct.unpack("<d", struct.pack("<Q", wide))[0]
    return value


@pytest.mark.parametrize(
    ("result", "pattern", "right"),
    [
        (-1, Value("i32", "4294967295"), True),
        (4294967295, Value("i32", "4294967295"), False),  # results are signed
        (True, Value("i32", "1"), False),
        (1.0, Value("i32", "1"), False),
        (-1, Value("i64", "18446744073709551615"), True),
        (0.0, Value("f64", "0"), True),
        (-0.0, Value("f64", "0"), False),
        (0, Value("f64", "0"), False),
        (1.5, Value("f32", "1069547520"), True),
        (1.1, Value("f32", "1066192077"), False),  # no f32 is widened to it
        (f32(0x7FC0_0000), Value("f32", "nan:canonical"), True),
        (f32(0xFFC0_0000), Value("f32", "nan:canonical"), True),
        (f32(0x7FC0_0001), Value("f32", "nan:canonical"), False),
        (f32(0x7FC0_0001), Value("f32", "nan:arithmetic"), True),
        (f32(0x7FA0_0000), Value("f32", "nan:arithmetic"), False),  # signalling
        (f32(0x7FA0_0000), Value("f32", str(0x7FA0_0000)), True),
        (f32(0x7FA0_0000), Value("f32", str(0x7FE0_0000)), False),
        (math.inf, Value("f32", "nan:arithmetic"), False),
        (math.nan, Value("f64", "nan:canonical"), True),
        (bytes(16), Value("v128", ["0"] * 4, "i32"), True),
        (bytes(15) + b"\1", Value("v128", ["0"] * 4, "i32"), False),
        (bytes(15), Value("v128", ["0"] * 4, "i32"), False),
        (b"\0\0\xc0\x7f" * 4, Value("v128", ["nan:canonical"] * 4, "f32"), True),
        (b"\0\0\xa0\x7f" * 4, Value("v128", ["nan:arithmetic"] * 4, "f32"), False),
        (2, Value("either", (Value("i32", "1"), Value("i32", "2"))), True),
        (3, Value("either", (Value("i32", "1"), Value("i32", "2"))), False),
        (None, Value("externref", "null"), False),
    ],
)
def test_results_are_compared_by_their_bits(result: Any, pattern: Value, right: bool) -> None:
    """A sign, a quiet bit or a payload that is different is a failure."""
    assert matches(result, pattern) is right


@pytest.mark.parametrize("bits", [0, 0x8000_0000, 0x3FC0_0000, 0x7F80_0000, 0x7FA0_0001])
def test_an_argument_has_the_bits_of_the_pattern(bits: int) -> None:
    """An f32 that comes back as it went in matches what it was made from."""
    value = Value("f32", str(bits))
    assert matches(argument(value), value)


def test_a_vector_has_its_lanes_in_order() -> None:
    """The first lane is at the lowest address."""
    assert argument(Value("v128", ["1", "-1"], "i64")) == b"\1" + bytes(7) + b"\xff" * 8


def test_the_tally_counts_each_command_once() -> None:
    """Its last row has all of them."""
    tally = Tally()
    for verdict in (PASSED, PASSED, Refused(Why.THREADS), Failed("so")):
        tally.count("core", verdict)
    rows = [row.split() for row in tally.table().splitlines()]
    assert rows[-1] == ["all", "commands", "4"]
    assert ["core", "failed", "1"] in rows
    assert ["core", "refused:", "shared", "memory", "and", "threads", "1"] in rows
