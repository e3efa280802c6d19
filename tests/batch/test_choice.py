from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs
import pytest

from wasmpool._batch.choice import NoSuchTool, choose_tool

if TYPE_CHECKING:
    from wasmpool import Plugin


@attrs.frozen
class FakeTool:
    name: str


@attrs.frozen
class FakePlugin:
    name: str
    tools: tuple[FakeTool, ...]


def choose(wanted: str | None, *names: str) -> str:
    fake = FakePlugin("p", tuple(FakeTool(name) for name in names))
    return choose_tool(cast("Plugin", fake), wanted, "--tool")


def test_the_only_tool_needs_no_name() -> None:
    """A plugin with one tool is called without naming it; one of several is named."""
    assert choose(None, "only") == "only"
    assert choose("b", "a", "b") == "b"


@pytest.mark.parametrize(
    ("wanted", "names", "says"),
    [
        (None, ["a", "b"], "'p' has 2 tools, choose one with --tool: a, b"),
        (None, [], "'p' has no tools"),
        ("c", ["a", "b"], "'p' has no tool 'c'; it has: a, b"),
        ("c", [], "'p' has no tools"),
    ],
)
def test_any_other_choice_lists_the_tools(wanted: str | None, names: list[str], says: str) -> None:
    """The names to choose from are in the sentence."""
    with pytest.raises(NoSuchTool, match=says):
        choose(wanted, *names)
