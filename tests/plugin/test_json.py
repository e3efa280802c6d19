"""JSON as guests read and write it, against the standard library."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from wasmpool._json import decode, encode

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner),
    max_leaves=8,
)


def in_the_standard_way(value: object) -> bytes | None:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except ValueError:
        return None


@given(VALUES)
def test_a_value_is_written_as_by_the_standard_library(value: object) -> None:
    """Or refused, if it cannot be; and is read back."""
    wanted = in_the_standard_way(value)
    if wanted is None:
        with pytest.raises(ValueError, match=r"."):
            encode(value)
    else:
        assert encode(value) == wanted
        assert decode(wanted) == decode(b" " + wanted + b"\n") == json.loads(wanted)


def test_an_error_spoils_nothing_that_is_written_later() -> None:
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


def test_two_threads_may_write_the_same_object() -> None:
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
