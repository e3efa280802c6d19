"""The schemas of parameters: what is read, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from wasmpool._plugin.errors import AbiError
from wasmpool._plugin.inspect import Inspection
from wasmpool._plugin.metadata import Metadata, Tool, read_tools
from wasmpool._plugin.plugin import open_plugin
from wasmpool._plugin.revision import Description

if TYPE_CHECKING:
    from collections.abc import Callable


def tools_with(schema: object, name: str = "p") -> tuple[Tool, ...]:
    """Read the answer of a plugin with one tool, whose parameter has this schema."""
    return read_tools(json.dumps([{"name": "t", "parameters": {name: schema}}]).encode())


def test_a_parameter_is_a_description_or_a_schema() -> None:
    """The description of a schema is the parameter's; the schema arrives as it was given."""
    many = {
        "type": "object",
        "description": "where it is",
        "properties": {"$ref": {"type": ["string", "null"], "default": None}, "x": {"$ref": "#"}},
        "enum": [{}, None, {"$ref": "no reference"}],
        "x-from-the-future": {"$ref": 1},
    }
    parameters = {"a": "text", "b": many, "c": {"type": "integer"}, "d": None}
    answer = [{"name": "t", "parameters": parameters, "required": ["a", "b"]}]
    (tool,) = read_tools(json.dumps(answer).encode())
    assert tool.parameters == {"a": "text", "b": "where it is", "c": "", "d": ""}
    assert tool.schemas == {"b": many, "c": {"type": "integer"}}
    assert tool.required == ("a", "b")


def test_the_schema_of_all_arguments() -> None:
    """Strings where there is no schema; a name that is only required can be given, too."""
    tool = Tool(
        "t",
        parameters={"a": "text", "b": "", "c": ""},
        required=("a", "z", "a"),
        schemas={"b": {"type": "integer"}},
    )
    assert tool.input_schema == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "description": "text"},
            "b": {"type": "integer"},
            "c": {"type": "string"},
            "z": {"type": "string"},
        },
        "required": ["a", "z"],
        "additionalProperties": False,
    }
    assert Tool("t").input_schema == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_the_head_of_a_document_and_nulls_are_left_out() -> None:
    """As generators of schemas write them, and guests in Go."""
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://x/y"}
    schema = {**head, "$comment": "c", "type": None, "const": None, "items": {"enum": None}}
    assert tools_with(schema)[0].schemas == {"p": {"const": None, "items": {}}}


def nested(levels: int) -> dict[str, Any]:
    """A schema of so many levels."""
    schema: dict[str, Any] = {}
    for _ in range(levels - 1):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ([], "p must be a description or a schema, not list"),
        (True, "p must be a description or a schema, not bool"),
        ({"type": "text"}, "p: type must be of: array, boolean, integer, null, number, object, st"),
        ({"type": []}, "p: type must be of"),
        ({"type": 1}, "p: type must be a string or a list, not int"),
        ({"type": ["null", "null"]}, "p: type has an entry twice"),
        ({"type": [[]]}, "p: type must be a string, not list"),
        ({"description": 1}, "p: description must be a string, not int"),
        ({"minimum": True}, "p: minimum must be a number, not bool"),
        ({"multipleOf": 0}, "p: multipleOf must be above 0"),
        ({"maxLength": 1.5}, "p: maxLength must be an integer of at least 0"),
        ({"minItems": -1}, "p: minItems must be an integer of at least 0"),
        ({"uniqueItems": 1}, "p: uniqueItems must be a boolean, not int"),
        ({"enum": {}}, "p: enum must be a list, not dict"),
        ({"required": [1]}, "p: required must be a string, not int"),
        ({"dependentRequired": {"a": "b"}}, "p: dependentRequired.a must be a list, not str"),
        ({"anyOf": []}, "p: anyOf must not be empty"),
        ({"items": [{}]}, "p: items must be an object or a boolean, not list"),
        ({"properties": {"a": {"not": 1}}}, "p: properties.a.not must be an object or a boolean"),
        ({"properties": []}, "p: properties must be an object, not list"),
        ({"oneOf": [{}, {"type": "x"}]}, "p: oneOf.1.type must be of"),
        ({"properties": {"\x1b": {"type": 1}}}, r"p: properties.\x1b.type must be a string"),
        ({"properties": {"a" * 999: 1}}, "p: properties.aaaaaaaaa...aaa"),
        ({"$ref": "https://x/y"}, "p: $ref must be # or begin with #/, not be https://x/y"),
        ({"$ref": "//x" * 999}, "p: $ref must be # or begin with #/"),
        ({"$ref": "#anchor"}, "p: $ref must be # or begin with #/"),
        ({"$ref": "#/$defs/a"}, "p: $ref leads to no schema of this parameter: #/$defs/a"),
        ({"$ref": "#/$defs", "$defs": {"type": {}}}, "p: $ref leads to no schema"),
        ({"$ref": "#/x", "x": {"type": 1}}, "p: $ref leads to no schema of this parameter: #/x"),
        ({"$ref": "#/enum/0", "enum": [{}]}, "p: $ref leads to no schema of this parameter"),
        ({"$ref": "#/allOf/1", "allOf": [{}]}, "p: $ref leads to no schema"),
        ({"$ref": "#/allOf/" + "9" * 5_000, "allOf": [{}]}, "p: $ref leads to no schema"),
        ({"$ref": "#/allOf/-1", "allOf": [{}]}, "p: $ref leads to no schema"),
        ({"$ref": "#" + "/not" * 17}, "p: $ref has more than 16 parts: #/not/not"),
        ({"not": {"$id": "https://x"}}, "p: not.$id is not supported"),
        ({"$dynamicRef": "#"}, "p: $dynamicRef is not supported"),
        ({"$anchor": "a"}, "p: $anchor is not supported"),
        (nested(51), "p: the schema has more than 50 levels"),
        ({"default": float("nan")}, "p: nan is not a number of JSON"),
        ({"default": [float("inf")]}, "p: inf is not a number of JSON"),
        ({"title": "x" * 70_000}, "p: a text has 70,000 characters, above the limit of 65,536"),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_what_is_wrong_with_a_schema_is_named(schema: object, why: str) -> None:
    """By parameter and keyword, in a short message."""
    with pytest.raises(AbiError) as refused:
        tools_with(schema)
    assert f"tools[0] (t): parameters: {why}" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_schema_at_the_limit_of_its_depth() -> None:
    """It is read, and its copy with references is made."""
    assert tools_with(nested(50))[0].input_schema["properties"] == {"p": nested(50)}


async def test_a_plugin_with_a_schema(wat: Callable[..., str]) -> None:
    """It is loaded with it; with one that is wrong, it is not loaded."""
    description = '\\"anything\\"'
    text = wat()
    assert description in text
    async with open_plugin(text.replace(description, '{\\"not\\":{}}')) as plugin:
        assert plugin.tools[0].schemas == {"message": {"not": {}}}
        assert plugin.tools[0].parameters == {"message": ""}
        assert plugin.tools[1].schemas == {}
    wrong = open_plugin(text.replace(description, '{\\"type\\":1}'))
    with pytest.raises(AbiError, match=r"\(echo\): parameters: message: type must be a string or"):
        async with wrong:
            pass


def test_the_report_shows_types() -> None:
    """With those parameters that have a schema."""
    parameters = {
        "a": "first",
        "b": {"type": "integer", "description": "second"},
        "c": {"type": ["string", "null"]},
        "d": {"enum": [1]},
    }
    answer = [{"name": "t", "parameters": parameters, "required": ["a", "b"]}]
    tools = read_tools(json.dumps(answer).encode())
    text = str(Inspection((), {}, (), Description("p", Metadata(), tools, {})))
    assert "      a (required): first\n" in text
    assert "      b (integer, required): second\n" in text
    assert "      c (string or null): \n" in text
    assert "      d: \n" in text
