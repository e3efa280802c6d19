"""Large JSON in pieces: the same as at once, with turns for the loop in between."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from tests.steps import count_turns, finish

from wasmpool import _json_pieces
from wasmpool._json_pieces import PIECE, read_members, read_text, run_cooperatively

if TYPE_CHECKING:
    from collections.abc import Iterator

    T = TypeVar("T")

SIZE = 1 << 19
WANTED = ("data", "more", "")
MANY = 1 << 30

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=40),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner),
    max_leaves=8,
)
# What strings are made of, in JSON: characters of each length in UTF-8, and each kind of escape.
UNITS = some.lists(
    some.sampled_from(
        r"a|é|€|😀| |\n|\"|\\|\/|\u00e9|\ud83d\ude00|\ud83d|\ude00|\uDBFF".split("|")
    ),
    max_size=60,
).map("".join)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that a short text has many."""
    monkeypatch.setattr(_json_pieces, "PIECE", 24)
    monkeypatch.setattr(_json_pieces, "_WINDOW", 12)
    monkeypatch.setattr(_json_pieces, "_TOKENS", 2)


tiny_pieces = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def as_values(text: bytes) -> Any:
    members = finish(read_members(text, WANTED, MANY))
    if members is None:
        return None
    return {
        name: "".join(value) if isinstance(value, list) else json.loads(value)
        for name, value in members.items()
    }


def at_once(text: bytes) -> Any:
    given_ = json.loads(text.decode())
    if not isinstance(given_, dict):
        return None
    return {name: value for name, value in given_.items() if name in WANTED}


def check_same(text: bytes) -> None:
    try:
        wanted = at_once(text)
    except (ValueError, RecursionError):
        with pytest.raises(ValueError, match=r"."):
            as_values(text)
    else:
        assert repr(as_values(text)) == repr(wanted)


@tiny_pieces
@given(
    items=some.lists(some.tuples(some.sampled_from([*WANTED, "x", "dat\\u0061"]), VALUES)),
    indent=some.sampled_from([None, 0, 17]),
    in_ascii=some.booleans(),
)
@example(items=[("data", "a" * 60), ("data", None)], indent=None, in_ascii=True)
def test_members_are_what_the_standard_library_reads(
    *, tiny: None, items: list[tuple[str, object]], indent: int | None, in_ascii: bool
) -> None:
    """Of any object; the last counts of those with one name."""
    pairs = (
        f'"{name}":{json.dumps(value, indent=indent, ensure_ascii=in_ascii)}'
        for name, value in items
    )
    check_same(("{" + " , ".join(pairs) + "}").encode(errors="surrogatepass"))


@tiny_pieces
@given(VALUES, some.data())
def test_broken_json_is_broken_in_pieces_too(tiny: None, value: object, data: Any) -> None:
    """Where bytes of it were changed, the two agree on whether it is JSON."""
    text = bytearray(json.dumps({"data": value}, ensure_ascii=False).encode(errors="replace"))
    for _ in range(data.draw(some.integers(0, 2))):
        text[data.draw(some.integers(0, len(text) - 1))] = data.draw(some.integers(0, 255))
    check_same(bytes(text))


@tiny_pieces
@given(some.binary() | some.text().map(str.encode))
def test_any_bytes(tiny: None, text: bytes) -> None:
    """Nothing but ValueError comes out for what is no JSON."""
    check_same(text)


@tiny_pieces
@given(UNITS)
@example("a" * 17 + r"\\" + "b" * 30)
@example("a" * 18 + r"\ud83d\ude00" + "b" * 30)
@example(r"\\" * 30)
@example(r"\"" * 30)
def test_no_character_and_no_escape_is_cut_in_two(tiny: None, inside: str) -> None:
    """A string comes out the same wherever the cuts fall; halves of a pair stay a pair."""
    check_same(f'{{"data":"{inside}"}}'.encode())


@pytest.mark.parametrize("size", range(PIECE - 14, PIECE + 3))
@pytest.mark.parametrize("unit", ["€", r"\ud83d\ude00", r"\\", r"\u20ac"])
def test_real_pieces_are_cut_well(size: int, unit: str) -> None:
    """With each character and each escape at each place around the first cut."""
    text = f'{{"data":"{"a" * size}{unit}{"b" * 20}"}}'.encode()
    assert as_values(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b"NaN",
        b'{"data":[NaN,Infinity,-Infinity]}',
        b'{"data":1,"data":"last"}',
        b'{"data":' + b"1" * 4_000 + b"}",
        b'{"data":"\\ud800"}',
        b'{"data":"\xed\xa0\x80"}',
        b'{"data":"\t"}',
        b'{"data":"' + b"a" * 5_000 + b'\x01"}',
        b'{"data":01}',
        b'{"data":1.}',
        *(b'{"data":' + b" " * n + b"12.25e-2}" for n in range(4_070, 4_096)),
        *(b'{"data":' + b"1" * n + b".25e-2}" for n in range(4_080, 4_100)),
        b'{"data":-}',
        b'{"data":"a"',
        b'{"data":"a"}}',
        b'{"data":"a",}',
        b"[1,]",
        b"[}",
        b'{"data"}',
        b'{"data":"\\',
        b'{"data":"\\"',
        b'{"data":"\\x"}',
        b'{"data":"\\u12g4"}',
        b"\xef\xbb\xbf{}",
        b" \n{ } \t\r",
        b"{}\x00",
        b" " * 10_000,
        b" " * 10_000
        + b'{"data":'
        + b" " * 10_000
        + b"true"
        + b" " * 70_000
        + b"}"
        + b" " * 99_999,
    ],
)
def test_corners_of_json(text: bytes) -> None:
    """Where readers of JSON differ from one another, this one does not from Python's."""
    check_same(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[" * 1_000, "nested too deeply"),
        (b"[" + b"{}," * 1_000 + b"0]", "more than 1,000 tokens"),
        (b"1" * 100_000, "a number of more than 65,536 digits"),
    ],
)
def test_bounds(text: bytes, why: str) -> None:
    """Depth, tokens and the length of numbers are bounded."""
    with pytest.raises(ValueError, match=why):
        finish(read_members(text, WANTED, 1_000))


@pytest.mark.parametrize(
    "text",
    [
        b'{"data":"' + b"x" * SIZE + b'"}',
        b'{"data":"' + "é".encode() * (SIZE // 2) + b'"}',
        b'{"data":"' + rb"\"" * (SIZE // 2) + b'"}',
        b'{"x":"' + rb"\u00e9" * (SIZE // 6) + b'"}',
        b'{"x":[' + b"{}," * (SIZE // 3) + b"0]}",
        b"[" + b'"\xc3\xa9",' * (SIZE // 5) + b"0]",
        b" " * SIZE + b"{}",
        b"{}" + b" " * SIZE,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_the_loop_has_its_turn(text: bytes) -> None:
    """At least once for each piece of two lengths, whatever is in it."""
    _, turns = count_turns(read_members(text, ("data",), MANY))
    assert turns >= len(text) // (2 * PIECE)


@pytest.mark.parametrize("text", ["plain ", "é", "€", "😀"])
def test_text_in_pieces(text: str) -> None:
    """Decoded as at once, also where it is no UTF-8, with turns in between."""
    whole = text.encode() * 50_000
    for data in (whole, whole[1:], whole[:-1], whole + b"\xff", b""):
        pieces: list[str] = []
        _, turns = count_turns(read_text(data, pieces.append))
        assert "".join(pieces) == data.decode(errors="replace")
        assert turns >= len(data) // PIECE


async def test_turns_are_checkpoints() -> None:
    """Each yield of the steps is one; what they return comes out."""
    seen: list[str] = []

    async def checkpoint() -> None:
        seen.append("turn")

    def steps() -> Iterator[None]:
        yield
        seen.append("step")
        yield

    assert await run_cooperatively(steps(), checkpoint) is None  # type: ignore[arg-type]
    assert seen == ["turn", "step", "turn"]
