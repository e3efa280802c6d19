"""What plugins say, from JSON to types."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from wasmpool._metadata import (
    Metadata,
    Tool,
    read_compact_specs,
    read_metadata,
    read_tools,
)
from wasmpool._plugin_errors import AbiError


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def test_metadata_whole() -> None:
    """Each key of the contract arrives, and the class is frozen."""
    given = {
        "name": "n",
        "version": "1.2",
        "abi_version": 1,
        "description": "d",
        "author": "a",
        "homepage": "h",
        "license": "MIT",
        "capabilities": ["http"],
        "credential_keys": ["k", "l"],
        "plain_text_keys": ["k"],
        "optional_keys": ["l"],
        "placeholders": {"k": "v"},
    }
    metadata = read_metadata(as_json({**given, "from_the_future": [1]}))
    seen = attrs.asdict(metadata)
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in seen.items()} == given
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        metadata.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("given", [{}, dict.fromkeys(attrs.asdict(Metadata()))])
def test_metadata_left_out(given: dict[str, Any]) -> None:
    """Absent and null are empty."""
    assert read_metadata(as_json(given)) == Metadata()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ([], "metadata must be an object, not list"),
        ({"name": 1}, "metadata: name must be a string, not int"),
        ({"abi_version": "1"}, "metadata: abi_version must be an integer, not str"),
        ({"abi_version": True}, "metadata: abi_version must be an integer, not bool"),
        ({"capabilities": "http"}, "metadata: capabilities must be a list of strings, not str"),
        ({"optional_keys": [1]}, r"metadata: optional_keys\[0\] must be a string, not int"),
        ({"placeholders": {"k": []}}, "metadata: placeholders: k must be a string, not list"),
    ],
)
def test_metadata_of_wrong_types(given: object, key: str) -> None:
    """The message names the key."""
    with pytest.raises(AbiError, match=key):
        read_metadata(as_json(given))


def test_tools() -> None:
    """Name, description, parameters, and what is required."""
    given = [
        {"name": "a", "description": "b", "parameters": {"c": "d"}, "required": ["c"], "x": 1},
        {"name": "e", "description": None, "parameters": None, "required": None},
    ]
    assert read_tools(as_json(given)) == (Tool("a", "b", {"c": "d"}, ("c",)), Tool("e"))
    assert read_tools(b"null") == ()
    assert read_tools(b"") == ()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({}, "tools must be a list, not dict"),
        ([1], r"tools\[0\] must be an object, not int"),
        ([{"name": "a"}, {}], r"tools\[1\]: name is missing"),
        ([{"name": "a", "parameters": {"b": {}}}], r"tools\[0\] \(a\): parameters: b must be a st"),
        ([{"name": "a", "required": "b"}], r"tools\[0\] \(a\): required must be a list of strings"),
    ],
)
def test_tools_of_wrong_types(given: object, key: str) -> None:
    """The message names the tool and the key."""
    with pytest.raises(AbiError, match=key):
        read_tools(as_json(given))


def test_compact_specs() -> None:
    """Tool name to field paths."""
    assert read_compact_specs(b'{"a": ["b.c", "d"], "e": null}') == {"a": ("b.c", "d"), "e": ()}
    with pytest.raises(AbiError, match="compact_specs: a must be a list of strings, not str"):
        read_compact_specs(b'{"a": "b"}')


@pytest.mark.parametrize("broken", [b"{", b"\xff", b"[" * 100_000])
def test_no_json(broken: bytes) -> None:
    """It names the export."""
    with pytest.raises(AbiError, match=r"^tools answers no JSON"):
        read_tools(broken)
