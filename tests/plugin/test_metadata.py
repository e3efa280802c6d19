"""What plugins say, from JSON to types."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from wasmpool._plugin.errors import AbiError, ConfigureError
from wasmpool._plugin.metadata import (
    Metadata,
    Tool,
    read_compact_specs,
    read_metadata,
    read_name_reply,
    read_refusal,
    read_tools,
)


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
        (
            [{"name": "a", "parameters": {"b": []}}],
            r"parameters: b must be a description or",
        ),
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
    with pytest.raises(AbiError, match=r"^tools answers (invalid JSON|JSON that is too large)"):
        read_tools(broken)


def tool(**given: object) -> bytes:
    return as_json([{"name": "t", **given}])


LONG = "x" * 70_000


@pytest.mark.parametrize(
    ("read", "reply", "why"),
    [
        (read_tools, as_json([{"name": "t"}] * 501), "tools: 501 tools, above the limit of 500"),
        (read_tools, tool(name="n" * 257), "name has 257 characters, above the limit of 256"),
        (read_tools, tool(description=LONG), "(t): description has 70,000 characters, above the"),
        (
            read_tools,
            tool(parameters={f"p{i}": "" for i in range(101)}),
            "tools[0] (t): 101 parameters, above the limit of 100",
        ),
        (
            read_tools,
            tool(parameters={"p": LONG}),
            "parameters: p has 70,000 characters, above the",
        ),
        (read_tools, tool(parameters={LONG: ""}), "the name xxxxx"),
        (
            read_tools,
            tool(required=[LONG]),
            "required[0] has 70,000 characters, above the limit of",
        ),
        (read_tools, tool(required=["p"] * 1_001), "required: 1,001 entries, above the limit of"),
        (read_tools, tool(more="x" * (1 << 20)), "tools answers 1,048,603 bytes, above the limit"),
        (read_tools, tool(more=[{}] * 30_000), "above the limit of 30,000"),
        (read_metadata, as_json({"name": "n" * 257}), "metadata: name has 257 characters"),
        (read_metadata, as_json({"version": LONG}), "metadata: version has 70,000 characters"),
        (read_metadata, as_json({"capabilities": ["c"] * 1_001}), "capabilities: 1,001 entries"),
        (read_metadata, as_json({"placeholders": {LONG: ""}}), "above the limit of 256"),
        (read_metadata, as_json({"x": "x" * (1 << 20)}), "metadata answers 1,048,585 bytes, above"),
        (read_metadata, b"[" * (1 << 20), "above the limit of 30,000"),
        (
            read_compact_specs,
            as_json({f"t{i}": [] for i in range(501)}),
            "compact_specs: 501 tools, above the limit of 500",
        ),
        (read_compact_specs, as_json({"t": ["a"] * 1_001}), "compact_specs: t: 1,001 entries"),
        (read_compact_specs, as_json({"t": [LONG]}), "compact_specs: t[0] has 70,000 characters"),
        (read_name_reply, b"n" * 257, "name answers 257 bytes: a plugin's name has at most 256"),
        (read_name_reply, "é".encode() * 300, "name answers 600 bytes"),
        (read_name_reply, "\U0001f600".encode() * (1 << 20), "name answers 4,194,304 bytes"),
        (read_name_reply, b"\xff" * (1 << 20), "name answers 1,048,576 bytes"),
        (read_name_reply, b"\xff", "name answers text that is not UTF-8"),
    ],
    ids=lambda each: getattr(each, "__name__", repr(each))[:40],
)
def test_each_bound_is_named(read: Any, reply: bytes, why: str) -> None:
    """With what there is and what there may be, in a short message."""
    with pytest.raises(AbiError) as refused:
        read(reply)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 300


def test_at_the_bounds_a_plugin_is_loaded() -> None:
    """500 tools, names of 256 characters and 100 parameters, within 1 MiB."""
    tools = read_tools(as_json([{"name": f"{i:0256}"} for i in range(500)]))
    assert len(tools) == 500
    parameters = {f"{i:0256}": "" for i in range(100)}
    assert read_tools(tool(parameters=parameters))[0].parameters == parameters
    assert read_tools(tool(description="x" * 65_536))[0].description == "x" * 65_536
    assert read_name_reply("\U0001f600".encode() * 256) == "\U0001f600" * 256


def test_a_message_shows_a_plugins_words_escaped() -> None:
    """They may be meant for the terminal, or for the reader of a log."""
    bad = "\x1b[2J\n\u202e"
    shown = r"\x1b[2J\n\u202e"
    with pytest.raises(AbiError) as refused:
        read_tools(as_json([{"name": bad, "description": 1}]))
    assert str(refused.value) == f"tools[0] ({shown}): description must be a string, not int"
    with pytest.raises(AbiError) as refused:
        read_compact_specs(as_json({bad: 1}))
    assert str(refused.value) == f"compact_specs: {shown} must be a list of strings, not int"
    error = ConfigureError("p", bad)
    assert str(error) == f"plugin 'p' refused its credentials: {shown}"
    assert error.text == bad


def test_of_a_long_refusal_the_beginning_is_kept() -> None:
    """With its length; a short one is kept whole, also where it is no UTF-8."""
    assert read_refusal(b"bad key \xff") == "bad key \ufffd"
    assert read_refusal(b"x" * (1 << 20)) == "x" * 4_096 + " ... (1,048,576 bytes)"


def test_a_refusal_shows_no_secret() -> None:
    """Wherever it stands in the text, also across the end of what is kept."""
    secrets = ["hunter2", "hunter2hunter3", "abc"]
    assert read_refusal(b"bad hunter2hunter3, hunter2", secrets) == "bad ***, ***"
    assert read_refusal(b"abcdef", secrets) == "abcdef"
    for before in range(4_080, 4_100):
        shown = read_refusal(b"x" * before + b"hunter2" + b"y" * 9, secrets)
        assert "hun" not in shown
        assert shown.startswith("x" * 4_080)
