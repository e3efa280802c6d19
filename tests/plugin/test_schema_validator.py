"""The schema of all arguments, read by a validator that is not the project's own."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmpool._json import encode
from wasmpool._plugin.errors import AbiError
from wasmpool._plugin.metadata import Tool, read_tools

Draft202012Validator: Any = pytest.importorskip("jsonschema").Draft202012Validator

MANY = {
    "type": "object",
    "title": "t",
    "description": "where it is",
    "properties": {
        "lines": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 9},
        "kind": {"enum": ["a", None, {"$ref": "no reference"}]},
        "$ref": {"type": ["string", "null"], "default": None},
        "next": {"$ref": "#"},
        "at": {"$ref": "#/$defs/a~1b%20c"},
        "any": {"$ref": "#/$defs/any"},
        "either": {"anyOf": [{"type": "null"}, {"$ref": "#/properties/lines"}]},
        "each": {"items": {"$ref": "#/properties/lines/items"}},
    },
    "$defs": {"a/b c": {"type": "number", "multipleOf": 0.5}, "any": True},
    "required": ["lines"],
    "additionalProperties": False,
    "x-from-the-future": {"$ref": 1},
}


def tools_with(schema: object, name: str = "p") -> tuple[Tool, ...]:
    """Read the answer of a plugin with one tool, whose parameter has this schema."""
    return read_tools(json.dumps([{"name": "t", "parameters": {name: schema}}]).encode())


@pytest.mark.parametrize("name", ["p", "a/b~c%41 e#\N{SNOWMAN}", "properties", "\ud800"])
def test_references_are_right_in_the_schema_of_all_arguments(name: str) -> None:
    """They lead to the same schemas from there, and the schema of the parameter is unchanged."""
    (tool,) = tools_with(MANY, name)
    schema = tool.input_schema
    assert tool.schemas[name] == MANY
    Draft202012Validator.check_schema(schema)
    if name == "\ud800":  # no reference can name it; the schema is written and read, however
        return
    validator = Draft202012Validator(json.loads(encode(schema)))
    right = {"at": 1.5, "next": {"lines": []}, "any": 1, "either": [0], "each": [1, 2]}
    assert validator.is_valid({name: {"lines": [1], **right}})
    wrong: dict[str, Any]
    for wrong in (
        {"at": 1.4},
        {"next": {}},
        {"next": {"lines": [], "at": ""}},
        {"$ref": 1},
        {"either": [-1]},
        {"each": [-1]},
    ):
        assert not validator.is_valid({name: {"lines": [], **wrong}})


KEYWORDS = st.sampled_from([*Draft202012Validator.VALIDATORS, "then", "minContains", "$defs", "x"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.floats()
    | st.sampled_from(["string", "a", "#", "#/not", "#/$defs/a", "#/items/x", "https://x/y"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYWORDS | st.sampled_from("ab"), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(st.dictionaries(KEYWORDS, VALUES, max_size=4), VALUES)
def test_what_is_accepted_can_be_used(schema: dict[str, Any], value: Any) -> None:
    """Any schema is refused, or it is one for an independent validator, which then never fails."""
    try:
        (tool,) = tools_with(schema)
    except AbiError:
        return
    encode(tool.input_schema)
    Draft202012Validator.check_schema(tool.input_schema)
    # A schema may be recursive, and may need numbers that are too large for a float.
    with contextlib.suppress(RecursionError, OverflowError):
        list(Draft202012Validator(tool.input_schema).iter_errors({"p": value}))
