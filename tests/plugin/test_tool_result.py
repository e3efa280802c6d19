"""What tools answer, from bytes to results, with the extra's reader and without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as some

from wasmpool._json_pieces import PIECE, SMALL
from wasmpool._plugin.tool_result import (
    ToolResult,
    read_large_result,
    read_tolerantly,
    read_tool_result,
)

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner),
    max_leaves=5,
)
KEYS = some.sampled_from(["data", "is_error", "more", "dat\u0061", ""])


def read_in_pieces(reply: bytes) -> ToolResult:
    return trio.run(read_large_result, reply)


READERS = [read_tool_result, read_tolerantly, read_in_pieces]


@pytest.mark.parametrize("read", READERS)
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
        (b'{"data": "a", "more": [NaN, -Infinity, 1e999]}', ToolResult("a")),
        (
            b'{"data": 1, "data": "a", "is_error": 0, "is_error": true}',
            ToolResult("a", is_error=True),
        ),
        (b'{"data": "a", "data": 1}', ToolResult('{"data": "a", "data": 1}')),
        (rb'{"data": "\ud83d\ude00 \ud800"}', ToolResult("\U0001f600 \ud800")),
        (b'{"data": "\xed\xa0\x80"}', ToolResult('{"data": "\ufffd\ufffd\ufffd"}')),
        (b'{"data": "a\nb"}', ToolResult('{"data": "a\nb"}')),
        (b'{"data": "a"} x', ToolResult('{"data": "a"} x')),
        (b'\xef\xbb\xbf{"data": "a"}', ToolResult('\ufeff{"data": "a"}')),
    ],
)
def test_tool_result(read: Callable[[bytes], ToolResult], reply: bytes, result: ToolResult) -> None:
    """What has not the shape of a result is data as it stands."""
    assert read(reply) == result


def test_the_readers_are_two() -> None:
    """The tests have the extra: else what follows compares one with itself."""
    assert read_tool_result is not read_tolerantly


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
    assert read_tool_result(bytes(reply)) == read_tolerantly(bytes(reply))
    assert read_in_pieces(bytes(reply)) == read_tolerantly(bytes(reply))


@given(some.binary() | some.text().map(str.encode))
def test_both_readers_give_the_same_for_any_bytes(reply: bytes) -> None:
    """No reply is an error."""
    assert read_tool_result(reply) == read_tolerantly(reply)
    assert read_in_pieces(reply) == read_tolerantly(reply)


TEXT = 'x é € \U0001f600 \n"\\' * (4 * PIECE // 20)


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps({"data": TEXT}).encode(),
        json.dumps({"data": TEXT, "is_error": True}, ensure_ascii=False).encode(),
        json.dumps({"more": [{"data": TEXT}] * 3, "data": "small"}).encode(),
        json.dumps({"data": {"not": TEXT}}).encode(),
        json.dumps({"data": "", "is_error": TEXT}).encode(),
        json.dumps([TEXT]).encode(),
        TEXT.encode(),
        TEXT.encode() + b"\xff",
        b"[" * 4 * PIECE,
    ],
    ids=lambda reply: repr(reply[:20]),
)
def test_a_large_reply_is_read_like_a_small_one(reply: bytes) -> None:
    """Whatever it is."""
    assert len(reply) > SMALL
    assert read_in_pieces(reply) == read_tolerantly(reply)


class Passes(trio.abc.Instrument):
    """Counts how often the loop looked at the rest of the world."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.mark.parametrize(
    "reply",
    [
        b'{"data": "' + b"x" * (1 << 20) + b'"}',
        b'{"more": [' + b"{}," * (1 << 19) + b"0]}",
        b"x" * (1 << 20),
    ],
    ids=lambda reply: repr(reply[:12]),
)
async def test_a_large_reply_leaves_the_loop_its_turns(reply: bytes) -> None:
    """And what a guest has answered is not lost to a cancel that comes too late."""
    passes = Passes()
    trio.lowlevel.add_instrument(passes)
    results: list[ToolResult] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        results.append(await read_large_result(reply))
    trio.lowlevel.remove_instrument(passes)
    (result,) = results
    assert result.data in (read_tolerantly(reply).data, reply.decode())
    assert passes.count >= len(reply) // (2 * PIECE)
    assert not scope.cancelled_caught


async def test_a_reply_of_very_many_values_is_data_as_it_stands() -> None:
    """The bound on the time that a reply may take."""
    reply = b'{"data": "a", "more": [' + b"0," * 60_000 + b"0]}"
    assert await read_large_result(reply) == ToolResult(reply.decode())
