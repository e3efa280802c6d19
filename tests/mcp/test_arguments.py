from __future__ import annotations

import json
import time
from typing import Any

import pytest

from wasmpool._mcp.arguments import ArgumentCheck
from wasmpool._plugin.metadata import Tool, read_tools


def checked(arguments: dict[str, Any], *required: str, **parameters: Any) -> str | None:
    """What is wrong with the arguments of a tool with these parameters."""
    described = {"name": "t", "parameters": parameters, "required": list(required)}
    (tool,) = read_tools(json.dumps([described]).encode())
    return ArgumentCheck(tool).problem(arguments)


def test_arguments_that_fit() -> None:
    """A parameter with a description alone is a string; one that is not required can be missing."""
    number = {"type": "integer", "minimum": 1}
    assert checked({"a": "x", "n": 3}, "a", a="a text", n=number) is None
    assert checked({"a": "x"}, "a", a="a text", n=number) is None
    assert checked({}) is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "the argument 'word' is missing"),
        (
            {"wrod": "x"},
            "there is no argument 'wrod': did you mean 'word'?; the tool takes: 'word',",
        ),
        ({"word": 7}, "the argument 'word' is wrong: 7 is not of type 'string'"),
        ({"word": "x", "n": 0}, "the argument 'n' is wrong: 0 is less than the minimum of 1"),
        ({"word": "x", "n": "1"}, "the argument 'n' is wrong: '1' is not of type 'integer'"),
        (
            {"word": "x", "list": [{"a": 1}, {"a": "x"}]},
            "the argument 'list'[1].a is wrong: 'x' is not of type 'integer'",
        ),
        (
            {"word": "x", "list": [{}]},
            "the argument 'list'[0] is wrong: 'a' is a required",
        ),
        ({"word": "x", "one": "c"}, "the argument 'one' is wrong: 'c' is not one of ['a', 'b']"),
    ],
)
def test_what_is_wrong_is_a_sentence(arguments: dict[str, Any], problem: str) -> None:
    """It names the argument, the place in it, and what was given."""
    item = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    found = checked(
        arguments,
        "word",
        word="a word",
        n={"type": "integer", "minimum": 1},
        list={"type": "array", "items": item},
        one={"enum": ["a", "b"]},
    )
    assert found is not None
    assert found.startswith(problem)


def test_what_a_client_sends_is_escaped_and_cut() -> None:
    """A message has no control characters, and no megabytes."""
    found = checked({"a\nb\x1b" + "x" * 10_000: 1}, a="x")
    assert found is not None
    assert "\n" not in found
    assert len(found) < 1_000
    found = checked({"a": ["\x1b" * 100_000]}, a="x")
    assert found is not None
    assert len(found) < 1_000


HOSTILE = {
    "a pattern that backtracks": ({"type": "string", "pattern": "^(a+)+$"}, "a" * 40 + "!"),
    "recursion without end": ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, 1),
    "recursion that doubles": (
        {"allOf": [{"$ref": "#/$defs/a"}] * 2, "$defs": {"a": {"allOf": [{"$ref": "#"}] * 2}}},
        1,
    ),
    "all items compared": (
        {"type": "array", "uniqueItems": True},
        [{"a": n} for n in range(9_999)],
    ),
    "many items": ({"type": "array", "items": {"allOf": [{"type": "integer"}] * 50}}, [1] * 99_999),
    "many errors": ({"type": "array", "items": {"type": "string"}}, [1] * 99_999),
    "a pattern for the other properties": (
        {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        {"a" * 40 + "!": 1},
    ),
    "a pattern for what was not evaluated": (
        {"patternProperties": {"^(a+)+$": {}}, "unevaluatedProperties": False},
        {"a" * 40 + "!": 1},
    ),
    "items of which nothing is said": ({"items": {}}, [0] * 999_999),
    "items that are not evaluated": ({"unevaluatedItems": False}, [0] * 999_999),
    "items that contain nothing": ({"contains": False}, [0] * 999_999),
    "messages that quote megabytes": (
        {"anyOf": [{"anyOf": [{"type": "number"}] * 99}] * 99},
        "\0" * 4_000_000,
    ),
    "a number that no message can quote": ({"type": "string"}, 10**5_000),
    "a number that no float can hold": ({"multipleOf": 0.1}, 10**4_000),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_check_takes_few_steps(case: str) -> None:
    """What a plugin's schema would make long is left to the plugin."""
    schema, value = HOSTILE[case]
    began = time.process_time()
    found = checked({"a": value}, a=schema)
    assert (found is not None) == (case == "many errors")
    assert time.process_time() - began < 1  # some 10 ms; the control is that it ends at all


def test_a_reference_is_not_fetched() -> None:
    """A plugin cannot be loaded with one; without that, it is left out."""
    tool = Tool("t", schemas={"a": {"$ref": "http://127.0.0.1:1/schema"}})
    assert ArgumentCheck(tool).problem({"a": 1}) is None
