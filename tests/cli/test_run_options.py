from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs
import pytest

from wasmpool import HttpPolicy, Limits
from wasmpool._cli.run_options import RunOptions
from wasmpool._cli.run_plugin import choose_tool, plugin_options
from wasmpool._cli.wrong_use import WrongUse

if TYPE_CHECKING:
    from wasmpool import Plugin


@attrs.frozen
class FakeTool:
    name: str


@attrs.frozen
class FakePlugin:
    name: str
    tools: tuple[FakeTool, ...]


def choose(wanted: str | None, *names: str, plugin: str | None = "p.wasm") -> str:
    fake = FakePlugin("p", tuple(FakeTool(name) for name in names))
    job = RunOptions(
        plugin=plugin, tool=wanted, input=None, output=None, size=1, tasks=1, timeout=None
    )
    return choose_tool(cast("Plugin", fake), job)


def test_the_only_tool_needs_no_name() -> None:
    """A plugin with one tool is called without `--tool`."""
    assert choose(None, "only") == "only"


def test_without_a_plugin_the_example_counts_words() -> None:
    """The default of the example is its word_count; another tool of it is chosen by name."""
    assert choose(None, "echo", "word_count", plugin=None) == "word_count"
    assert choose("echo", "echo", "word_count", plugin=None) == "echo"


@pytest.mark.parametrize(
    ("wanted", "names", "says"),
    [
        (None, ["a", "b"], "'p' has 2 tools, choose one with --tool: a, b"),
        (None, [], "'p' has no tools"),
        ("c", ["a", "b"], "'p' has no tool 'c'; it has: a, b"),
        ("c", [], "'p' has no tools"),
    ],
)
def test_any_other_choice_is_wrong_use_that_lists_the_tools(
    wanted: str | None, names: list[str], says: str
) -> None:
    """The names to choose from are in the sentence."""
    with pytest.raises(WrongUse, match=says):
        choose(wanted, *names)


def test_no_host_is_allowed_unless_named() -> None:
    """Without --allow-host the plugin's default stands; with it, exactly these hosts."""
    job = RunOptions(
        plugin="p.wasm",
        tool=None,
        input=None,
        output=None,
        size=3,
        tasks=1,
        timeout=2.0,
        memory=65536,
    )
    limits = Limits(memory=65536, call_seconds=2.0)
    assert plugin_options(job) == {"size": 3, "max_uses": None, "limits": limits}
    hosts = ("api.example.com", "*.example.org")
    allowed = plugin_options(attrs.evolve(job, allow_hosts=hosts))
    assert allowed.get("http") == HttpPolicy(allow_hosts=hosts)
