from __future__ import annotations

import json

import pytest
from tests.mcp.text_of import text_of

from wasmpool import ToolResult
from wasmpool._mcp import reply
from wasmpool._mcp.reply import as_call_result


def test_an_object_is_structured_too() -> None:
    """The text stays as it is."""
    result = as_call_result(ToolResult('{"a": [1, {"b": null}]}'))
    assert text_of(result) == '{"a": [1, {"b": null}]}'
    assert result.structured_content == {"a": [1, {"b": None}]}
    assert not result.is_error


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "[1]",
        "7",
        '"{}"',
        "{broken",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"a":' * 100 + "1" + "}" * 100,
        '{"a":' * 100_000,
        json.dumps({"a": [1] * 40_000}),
        '{"a": ' + "1" * 5_000 + "}",
    ],
)
def test_what_is_no_object_within_bounds_is_text(text: str) -> None:
    """A client's parser could not read it, or it would take too long."""
    result = as_call_result(ToolResult(text))
    assert text_of(result) == text
    assert result.structured_content is None


def test_an_error_is_no_structure() -> None:
    """Even if its text is an object."""
    result = as_call_result(ToolResult('{"a": 1}', is_error=True))
    assert (result.is_error, result.structured_content) == (True, None)


def test_an_answer_that_is_too_large_is_an_error() -> None:
    """It says how large it is."""
    result = as_call_result(ToolResult("x" * (reply.MAX_TEXT + 1)))
    assert result.is_error
    assert text_of(result) == (
        "the tool's answer has 4,194,305 characters, above the limit of 4,194,304"
    )


def test_halves_of_surrogate_pairs() -> None:
    """No UTF-8 can express them, so they are replaced; other text stays as it is."""
    result = as_call_result(ToolResult("a\ud800b ü 😀"))
    assert text_of(result) == "a\ufffd\ufffd\ufffdb ü 😀"
    assert result.model_dump_json()
