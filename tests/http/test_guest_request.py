"""A guest's request, from JSON, at once and in pieces."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from tests.steps import count_turns, finish

from wasmpool import _json_pieces
from wasmpool._http.guest_request import (
    BadRequest,
    GuestRequest,
    read_large_request,
    read_request,
)
from wasmpool._http.policy import HttpPolicy
from wasmpool._json_pieces import PIECE, SMALL

POLICY = HttpPolicy()
URL = "http://a.example/"
MIB = 1 << 20


def in_pieces(data: bytes) -> GuestRequest:
    return finish(read_large_request(data, POLICY))


def as_json(**given_: object) -> bytes:
    return json.dumps({"url": URL, **given_}).encode()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that a short text has many."""
    monkeypatch.setattr(_json_pieces, "PIECE", 24)
    monkeypatch.setattr(_json_pieces, "_WINDOW", 12)


VALUES = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=60)
JSON = some.recursive(
    VALUES,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner),
    max_leaves=5,
)
HEADERS = some.dictionaries(
    some.sampled_from(["X-Raw-Body", "X-H2C", "X-Host-Timeout-Seconds", "Host", "a"]) | some.text(),
    some.sampled_from(["1", ""]) | some.text(),
    max_size=4,
)
BASE64 = some.binary(max_size=80).map(lambda data: base64.encodebytes(data).decode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some.fixed_dictionaries(
        {"url": some.text(max_size=60) | JSON},
        optional={
            "method": some.sampled_from(["POST", "HEAD"]) | some.text() | JSON,
            "headers": HEADERS | JSON,
            "body": some.text(max_size=90) | JSON,
            "body_base64": BASE64 | BASE64.map(lambda text: text + text) | some.text() | JSON,
            "more": JSON,
        },
    )
)
def test_a_large_request_is_read_like_a_small_one(tiny: None, asked: dict[str, Any]) -> None:
    """The same request comes out, or both are refused."""
    data = json.dumps(asked).encode()
    try:
        wanted = read_request(data, POLICY)
    except BadRequest:
        with pytest.raises(BadRequest):
            in_pieces(data)
    else:
        assert in_pieces(data) == wanted


@pytest.mark.parametrize(
    "body", ["x" * 2 * MIB, "é€\U0001f600" * MIB, '\n"\\' * MIB, "\ud800" * MIB]
)
@pytest.mark.parametrize("in_ascii", [True, False])
def test_a_large_body(body: str, in_ascii: bool) -> None:
    """Arrives whole, whatever is in it, and the loop has its turns."""
    data = json.dumps({"url": URL, "body": body}, ensure_ascii=in_ascii)
    sent, turns = count_turns(read_large_request(data.encode(errors="replace"), POLICY))
    wanted = body if in_ascii else body.replace("\ud800", "?")
    assert sent.body == wanted.encode(errors="replace")
    assert turns >= len(data) // PIECE


@pytest.mark.parametrize("line", [None, 57, 1])
@pytest.mark.parametrize("size", [MIB, MIB + 1, MIB + 2])
def test_a_large_body_in_base64(size: int, line: int | None) -> None:
    """With or without line breaks, also where a group is cut in two."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    encoded = base64.b64encode(body).decode()
    if line is not None:
        pieces = [encoded[at : at + line] for at in range(70_000, len(encoded), line)]
        encoded = "\r\n".join([encoded[:70_000], *pieces])
    assert in_pieces(as_json(body_base64=encoded, body="not this")).body == body


@pytest.mark.parametrize(
    "encoded",
    [
        "YQ==" * 50_000,
        "YQ==" + "YQYQ" * 50_000,
        "YQYQ" * 50_000 + "=",
        "YQYQ" * 50_000 + "Y",
        "YQYQ" * 50_000 + "Y===",
        "YQYQ" * 50_000 + "====",
        "YQYQ" * 50_000 + "YQ==" + "====",
        "YQYQ" * 50_000 + "é",
        "Y Q=" + "YQYQ" * 50_000,
        "!" * 200_000,
    ],
    ids=lambda text: text[:4] + text[-4:],
)
def test_no_base64_in_pieces(encoded: str) -> None:
    """What is refused at once is refused in pieces."""
    for read in (in_pieces, lambda data: read_request(data, POLICY)):
        with pytest.raises(BadRequest, match="body_base64 is not base64"):
            read(as_json(body_base64=encoded))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (as_json(headers={f"a{i}": "" for i in range(100_000)}), "more than 10,000 tokens"),
        (as_json(headers={f"a{i}": "x" * 200 for i in range(600)}), "headers is too long"),
        (as_json(headers={"a": "x" * SMALL}), "headers is too long"),
        (as_json(headers="x" * SMALL), "must be an object of strings"),
        (as_json(headers=["x"] * 1_000, more="x" * SMALL), "must be an object of strings"),
        (as_json(headers={f"a{i}": "" for i in range(501)}, body="x" * SMALL), "501 headers"),
        (as_json(more=[{}] * 100_000), "more than 10,000 tokens"),
        (as_json(url="http://a/" + "x" * SMALL), "url is too long: 65,545 bytes, above 16,384"),
        (as_json(method="x" * SMALL * 2), "method is too long"),
        (as_json(body=["x" * SMALL]), "body must be a string"),
        (as_json(body=1, more="x" * SMALL), "body must be a string, not int"),
        (as_json(body_base64=["x" * SMALL]), "body_base64 must be a string"),
        (b"[" + as_json(body="x" * SMALL) + b"]", "it must be a JSON object"),
        (as_json(body="x" * SMALL)[:-1], "not JSON"),
        (b"[" * MIB, "nested too deeply"),
        (b"x" * MIB, "not JSON"),
        (b'{"url":"' + b"\xff" * MIB + b'"}', "not JSON"),
    ],
    ids=lambda each: repr(each[:30]),
)
def test_only_a_body_may_be_large(data: bytes, why: str) -> None:
    """All else is bounded, and the reason is short."""
    assert len(data) > SMALL or "headers" in why
    with pytest.raises(BadRequest, match=why) as refused:
        in_pieces(data)
    assert len(str(refused.value)) < 300


def test_headers_are_counted_in_a_small_request_too() -> None:
    """500 are let through, 501 are not."""
    headers = {f"a{i}": "" for i in range(500)}
    assert len(read_request(as_json(headers=headers), POLICY).headers) == 500
    with pytest.raises(BadRequest, match="501 headers, above 500"):
        read_request(as_json(headers={**headers, "b": ""}), POLICY)


@pytest.mark.parametrize(
    "given_",
    [
        {"method": "\u202e" * 10_000},
        {"headers": {"a b" * 9_000: ""}},
        {"headers": {"a": "\n" * 9_000}},
    ],
)
def test_a_reason_does_not_repeat_a_long_text(given_: dict[str, Any]) -> None:
    """It shows the beginning and the end, escaped."""
    with pytest.raises(BadRequest) as refused:
        read_request(as_json(**given_), POLICY)
    assert len(str(refused.value)) < 200
    assert str(refused.value).isprintable()
