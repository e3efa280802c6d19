from __future__ import annotations

import json

import pytest

from wasmpool._batch.rows import BadLine, arguments, data_row, error_row
from wasmpool._lines import Line


def line(content: bytes) -> Line:
    return Line(content, len(content) + 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"plain words", {"text": "plain words"}),
        (b"", {"text": ""}),
        (b"  {not at the start}", {"text": "  {not at the start}"}),
        (b"[1, 2]", {"text": "[1, 2]"}),
        ("\ufeffκαφές\u2028☕".encode(), {"text": "\ufeffκαφές\u2028☕"}),
        (b"a\0b", {"text": "a\0b"}),
        (b"{}", {}),
        (b'{"text": "a\\nb", "n": [1, null]} ', {"text": "a\nb", "n": [1, None]}),
    ],
)
def test_a_line_becomes_the_arguments_of_one_call(
    content: bytes, expected: dict[str, object]
) -> None:
    """An object is taken as it is, anything else is plain text, untouched."""
    assert arguments(line(content)) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{broken", "is not a JSON object"),
        (b'{"a": 1} and more', "Extra data"),
        (b'{"a": NaN}', "NaN is not a number in JSON"),
        (b'{"a": ' + b"[" * 100_000, "is not a JSON object"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "is not a JSON object"),
        (b"caf\xe9 noir", "is not UTF-8: byte 0xe9 at 3"),
        (b'{"a": "\xff"}', "is not UTF-8"),
    ],
)
def test_a_line_that_asks_for_no_call_says_why(content: bytes, says: str) -> None:
    """A broken line is a sentence, whatever is broken about it."""
    with pytest.raises(BadLine, match=says):
        arguments(line(content))


def test_a_line_that_is_too_long_says_how_long_it_is() -> None:
    """Its bytes are gone; their number is not."""
    with pytest.raises(BadLine, match="too long: 99 bytes, above the limit of 16777216$"):
        arguments(Line(b"", 99, too_long=True))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "é 漢字 🦉",
        'quote " and \\',
        "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029 break",
        "\ud800\u2028",
    ],
)
def test_a_row_is_one_line_that_gives_back_its_text(text: str) -> None:
    """Data and errors come back from their line as they went in, half a surrogate pair included."""
    for row, key in [(data_row(text), "data"), (error_row(text), "error")]:
        assert row.endswith(b"\n")
        assert len(row.decode().splitlines()) == 1
        assert json.loads(row.decode("utf-8")) == {key: text}


@pytest.mark.parametrize(
    "code", [0x00, 0x1B, 0x7F, 0x85, 0x9B, 0x61C, 0x200E, 0x2028, 0x202E, 0x2066]
)
def test_what_a_terminal_acts_upon_is_escaped(code: int) -> None:
    """Controls, line ends and bidirectional marks; a row may be shown as it is."""
    text = f"a{chr(code)}é"
    assert data_row(text) == f'{{"data": "a\\u{code:04x}é"}}\n'.encode()
    assert data_row(f"a{chr(code)}e") == f'{{"data": "a\\u{code:04x}e"}}\n'.encode()


def test_rows_are_readable() -> None:
    """Letters outside ASCII are themselves, no escapes."""
    assert data_row("naïve 東京") == '{"data": "naïve 東京"}\n'.encode()


def test_a_row_may_begin_with_the_number_of_its_line() -> None:
    """A number, whatever the text is."""
    assert data_row("a", 12) == b'{"line": 12, "data": "a"}\n'
    assert json.loads(error_row("\ud800", 3)) == {"line": 3, "error": "\ud800"}
