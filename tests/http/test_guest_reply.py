"""A reply for a guest, in JSON, at once and in pieces."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from tests.steps import count_turns, finish

from wasmpool import _json_pieces
from wasmpool._http import guest_reply
from wasmpool._http.guest_reply import ReplyTooLarge, failure, success, success_in_pieces
from wasmpool._http.message import Reply
from wasmpool._json_pieces import PIECE

MIB = 1 << 20


def of(body: bytes) -> Reply:
    return Reply(200, [(b"content-type", b"text/plain"), (b"x-e", b"\xe9")], body)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.binary(max_size=200) | some.text(max_size=100).map(str.encode), some.booleans())
def test_in_pieces_it_is_what_it_is_at_once(
    monkeypatch: pytest.MonkeyPatch, body: bytes, raw: bool
) -> None:
    """To the byte."""
    monkeypatch.setattr(_json_pieces, "PIECE", 7)
    monkeypatch.setattr(guest_reply, "_GROUPS", 6)
    wanted = success(of(body), raw_body=raw)
    assert finish(success_in_pieces(of(body), len(wanted), raw_body=raw)) == wanted
    with pytest.raises(ReplyTooLarge):
        finish(success_in_pieces(of(body), len(wanted) - 1, raw_body=raw))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    "part", [b"x", "é€\U0001f600".encode(), b"\x00", b'"\\', b"\xff", bytes(range(256))]
)
def test_a_large_reply(part: bytes, raw: bool) -> None:
    """Is whole, whatever is in it, and the loop has its turns."""
    body = part * (2 * MIB // len(part))
    written, turns = count_turns(success_in_pieces(of(body), 64 * MIB, raw_body=raw))
    assert written == success(of(body), raw_body=raw)
    answer = json.loads(written)
    if raw:
        assert (answer["body"], base64.b64decode(answer["body_base64"])) == ("", body)
    else:
        assert answer["body"] == body.decode(errors="replace")
    assert answer["headers"] == {"Content-Type": "text/plain", "X-E": "\ufffd"}
    assert turns >= len(body) // PIECE


def test_a_reply_that_is_too_large_is_given_up_early() -> None:
    """Not a piece more is written than a guest may have."""
    steps = success_in_pieces(of(b"\x00" * (8 * MIB)), MIB, raw_body=False)
    turns: list[None] = []
    with pytest.raises(ReplyTooLarge):
        turns.extend(steps)
    assert len(turns) <= MIB // 6 // PIECE + 1


def test_a_reason_is_short_and_always_json() -> None:
    """Also where it has half of a surrogate pair."""
    assert json.loads(failure("a\ud800")) == {"status": 0, "body": "a?"}
    assert len(json.loads(failure("x" * MIB))["body"]) == 2_000
