"""JSON as guests read and write it, against the standard library."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import threading
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as some

from wasmpool._json import _encode_without_extra, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner),
    max_leaves=8,
)


class Whole(int):
    """An int that says something else of itself."""

    def __repr__(self) -> str:
        return "whole"


class Text(str):
    """A str of another class."""

    __slots__ = ()


class Pairs(dict[str, Any]):
    """A dict that shows one of several values, as those of web frameworks do."""

    def items(self) -> Any:
        return [(name, values[-1]) for name, values in super().items()]


class Items(list[Any]):
    """A list of another class."""


class Number(enum.IntEnum):
    """An enum that JSON knows."""

    ONE = 1


class Word(enum.StrEnum):
    """Another one."""

    HI = "hi"


class Other(enum.Enum):
    """One that it does not know."""

    X = 1


@attrs.frozen
class Attrs:
    """What msgspec could write, and JSON cannot."""

    x: int = 1


ODD = some.sampled_from(
    [
        Whole(3), Text("é"), Pairs(a=[1, 2]), Items([1]), Number.ONE, Word.HI, Other.X, Attrs(),
        (1, "a"), (), {1, 2}, frozenset(), b"x", bytearray(b"x"), memoryview(b"x"), 1j,
        Decimal("1.5"), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), uuid.UUID(int=1),
        math.nan, -math.inf,  -(1 << 64), 1e16, -0.0, 5e-324, "\ud800", "\U0001f600\x7f\u2028",
    ]
)  # fmt: skip
KEYS = some.text(max_size=2) | some.sampled_from(
    [
        1,
        1 << 70,
        1.5,
        1e16,
        math.nan,
        True,
        None,
        Text("k"),
        Number.ONE,
        Word.HI,
        (1,),
        b"k",
        "\ud800",
    ]
)
VALUES = some.recursive(
    PLAIN | ODD,
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(KEYS, inner, max_size=3)
        | some.tuples(inner, inner)
    ),
    max_leaves=8,
)

ENCODERS = pytest.mark.parametrize(
    "encode", [encode, _encode_without_extra], ids=["as installed", "without extra"]
)
Encode: TypeAlias = "Callable[[object], bytes]"


def in_the_standard_way(value: object) -> tuple[str, type[Exception] | None]:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError) as error:
        return "", type(error)
    return text, None


def exactly(text: str | bytes) -> str:
    """The meaning of JSON: each value with its type and all its digits, members in their order."""
    return repr(json.loads(text, object_pairs_hook=tuple))


@ENCODERS
@given(PLAIN | VALUES)
def test_a_value_is_written_as_by_the_standard_library(encode: Encode, value: object) -> None:
    """With the same meaning, or refused with the same error; and it is read back."""
    wanted, error = in_the_standard_way(value)
    if error is not None:
        with pytest.raises(error):
            encode(value)
    else:
        written = encode(value)
        assert exactly(written) == exactly(wanted)
        assert b" " not in written or " " in wanted
        assert decode(written) == decode(b" " + written + b"\n") == json.loads(wanted)


@ENCODERS
def test_an_int_of_too_many_digits_is_refused(encode: Encode) -> None:
    """As Python refuses to write it."""
    with pytest.raises(ValueError, match="4300 digits"):
        encode({"a": 10**5000})


@pytest.mark.parametrize("depth", [100, 100_000])
def test_a_deep_value_is_written_or_refused(depth: int) -> None:
    """And the process goes on."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    if depth == 100:
        assert encode(value) == b"[" * 101 + b"]" * 101
    else:
        with pytest.raises(ValueError, match="nested too deeply"):
            encode(value)


@ENCODERS
def test_an_error_spoils_nothing_that_is_written_later(encode: Encode) -> None:
    """What was being written when it happened may be written again."""
    inner: dict[str, Any] = {"a": [1, 2, math.nan]}
    outer = {"b": inner, "c": [inner]}
    for _ in range(3):
        with pytest.raises(ValueError, match="not JSON compliant"):
            encode(outer)
    inner["a"][2] = 3
    assert encode(outer) == b'{"b":{"a":[1,2,3]},"c":[{"a":[1,2,3]}]}'
    inner["a"][2] = outer
    with pytest.raises(ValueError, match="Circular reference detected"):
        encode(outer)
    inner["a"][2] = object()
    with pytest.raises(TypeError, match="Object of type object is not JSON serializable"):
        encode(outer)


@ENCODERS
def test_two_threads_may_write_the_same_object(encode: Encode) -> None:
    """Also if one is held up in the midst of it."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(dict[str, int]):
        def items(self) -> Any:
            if threading.current_thread() is other:
                entered.set()
                go_on.wait(20)
            return super().items()

    value = [Slow(a=1), Slow(b=2)]
    written: list[bytes] = []
    other = threading.Thread(target=lambda: written.append(encode(value)))
    other.start()
    entered.wait(20)
    assert encode(value) == b'[{"a":1},{"b":2}]'
    go_on.set()
    other.join()
    assert written == [b'[{"a":1},{"b":2}]']
