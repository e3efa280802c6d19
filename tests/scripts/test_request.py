"""Requests from a guest are read, or refused with a sentence, whatever bytes they are."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from wasmpool._scripts.request import BadRequest, Begin, Call, Map, read_request

SMALL = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["begin", "call", "map"])
ARGUMENTS = st.dictionaries(st.sampled_from("ab"), SMALL, max_size=2)
VALUES = SMALL | ARGUMENTS | st.lists(SMALL | ARGUMENTS, max_size=3)


@given(st.binary())
def test_any_bytes_are_read_or_refused(frame: bytes) -> None:
    """No other error comes out."""
    with contextlib.suppress(BadRequest):
        read_request(frame)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["op", "tool", "arguments", "limit"], VALUES))
)
def test_any_json_is_read_or_refused(given_: dict[str, object]) -> None:
    """What is read is of the types that it says."""
    try:
        request = read_request(json.dumps(given_).encode())
    except BadRequest:
        return
    match request:
        case Begin():
            assert given_["op"] == "begin"
        case Call():
            assert (request.tool, request.arguments) == (given_["tool"], given_["arguments"])
        case Map():
            assert request.limit >= 1
            assert all(type(each) is dict for each in request.arguments)


@given(st.text(max_size=50), st.dictionaries(st.text(), st.integers()), st.integers(1, 1000))
def test_good_requests_are_read(tool: str, arguments: dict[str, int], limit: int) -> None:
    """As they were written."""
    call = {"op": "call", "tool": tool, "arguments": arguments}
    assert read_request(json.dumps(call).encode()) == Call(tool, arguments)
    many = {"op": "map", "tool": tool, "arguments": [arguments] * 3, "limit": limit}
    assert read_request(json.dumps(many).encode()) == Map(tool, [arguments] * 3, limit)
