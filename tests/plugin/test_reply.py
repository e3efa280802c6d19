"""What tools answer, from bytes to results, with the extra's reader and without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from wasmpool._metadata import ToolResult
from wasmpool._reply import read_patiently, read_tool_result

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner),
    max_leaves=5,
)
KEYS = some.sampled_from(["data", "is_error", "more", "dat\u0061", ""])


@pytest.mark.parametrize("read", [read_tool_result, read_patiently])
@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (b'{"data": "a"}', ToolResult("a")),
        (b'{"data": "a", "is_error": false, "more": 1}', ToolResult("a")),
        (b'{"data": "why", "is_error": true}', ToolResult("why", is_error=True)),
        (b'{"data": null, "is_error": null}', ToolResult()),
        (b"{}", ToolResult()),
        (b"", ToolResult()),
        (b"plain text", ToolResult("plain text")),
        (b"[1, 2]", ToolResult("[1, 2]")),
        (b'{"data": 1}', ToolResult('{"data": 1}')),
        (b'{"data": "a", "is_error": "yes"}', ToolResult('{"data": "a", "is_error": "yes"}')),
        (b"\xff", ToolResult("\ufffd")),
        (b"[" * 100_000, ToolResult("[" * 100_000)),
        (b'{"data": "a", "more": ' + b"1" * 5_000 + b"}", ToolResult("a")),
    ],
)
def test_tool_result(read: Callable[[bytes], ToolResult], reply: bytes, result: ToolResult) -> None:
    """What has not the shape of a result is data as it stands."""
    assert read(reply) == result


def test_the_readers_are_two() -> None:
    """The tests have the extra: else what follows compares one with itself."""
    assert read_tool_result is not read_patiently


@given(
    items=some.lists(some.tuples(KEYS, VALUES), max_size=4),
    in_ascii=some.booleans(),
    data=some.data(),
)
@example(items=[("data", "a"), ("data", "b"), ("is_error", None)], in_ascii=False, data=None)
def test_both_readers_give_the_same(
    *, items: list[tuple[str, object]], in_ascii: bool, data: some.DataObject | None
) -> None:
    """For any object, keys that come twice among them, also if bytes of it were changed."""
    pairs = (
        f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=in_ascii)}" for key, value in items
    )
    reply = bytearray(("{" + ", ".join(pairs) + "}").encode(errors="surrogatepass"))
    if data is not None:
        for _ in range(data.draw(some.integers(0, 2))):
            reply[data.draw(some.integers(0, len(reply) - 1))] = data.draw(some.integers(0, 255))
    assert read_tool_result(bytes(reply)) == read_patiently(bytes(reply))


@given(some.binary() | some.text().map(str.encode))
def test_both_readers_give_the_same_for_any_bytes(reply: bytes) -> None:
    """No reply is an error."""
    assert read_tool_result(reply) == read_patiently(reply)
