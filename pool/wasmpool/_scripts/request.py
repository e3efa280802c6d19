"""What a script asks of its host, read from the bytes that it sends.

A request is one JSON object. Its member ``op`` says which kind it is::

    {"op": "begin"}
    {"op": "call", "tool": NAME, "arguments": {...}}
    {"op": "map", "tool": NAME, "arguments": [{...}, ...], "limit": NUMBER}

The bytes come from a guest: they may be anything.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias, final

import attrs

from wasmpool._json import decode

__all__ = ["BEGIN", "BadRequest", "Begin", "Call", "Map", "Request", "read_request"]

_MAX_TOKENS: Final = 100_000
"""In one request: to read as many takes a few milliseconds of the loop."""
_LONGEST_NAME: Final = 1_000
"""Characters: names of tools are compared with what a script asks for, to suggest one."""


class BadRequest(Exception):
    """The bytes are no request; the message says what is wrong with them."""


@final
@attrs.frozen
class Begin:
    """The interpreter asks for its script."""


@final
@attrs.frozen
class Call:
    """One call of a tool."""

    tool: str
    arguments: dict[str, Any]


@final
@attrs.frozen
class Map:
    """Calls of one tool, ``limit`` of them at once."""

    tool: str
    arguments: list[dict[str, Any]]
    limit: int


Request: TypeAlias = Begin | Call | Map

BEGIN: Final = Begin()


def read_request(frame: bytes) -> Request:
    """Read a request.

    Raises:
        BadRequest: it is none.
    """
    if sum(map(frame.count, (b",", b":", b"[", b"{"))) > _MAX_TOKENS:
        raise BadRequest(f"the arguments have more than {_MAX_TOKENS:,} parts")
    try:
        given = decode(frame)
    except ValueError as error:
        raise BadRequest("the request is not JSON") from error
    if type(given) is not dict:
        raise BadRequest("the request is not a JSON object")
    op = given.get("op")
    if op == "begin":
        return BEGIN
    if op == "call":
        return Call(_tool(given), _arguments(given.get("arguments")))
    if op == "map":
        return _map(given)
    raise BadRequest("the request asks for nothing that there is: 'begin', 'call' or 'map'")


def _tool(given: dict[str, Any]) -> str:
    tool = given.get("tool")
    if type(tool) is not str:
        raise BadRequest("the name of a tool is a string")
    if len(tool) > _LONGEST_NAME:
        raise BadRequest(f"no tool has a name of {len(tool):,} characters")
    return tool


def _arguments(given: object) -> dict[str, Any]:
    if type(given) is not dict:
        raise BadRequest("the arguments of a call are a dict, by name")
    return given


def _map(given: dict[str, Any]) -> Map:
    calls, limit = given.get("arguments"), given.get("limit")
    if type(calls) is not list:
        raise BadRequest("a map takes a list of arguments, a dict for each call")
    if type(limit) is not int or limit < 1:
        raise BadRequest("the limit of a map is a number from 1")
    return Map(_tool(given), [_arguments(each) for each in calls], limit)
