"""`Plugin.map`: a tool for each item of an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from wasmpool import GuestTrap, ToolResult, open_plugin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wasmpool import Pool


async def test_a_tool_answers_each_item_in_order(example: Path) -> None:
    """A failure, an error of the guest and an item that is no arguments are results in place."""
    items: list[Any] = [{"text": "one"}, {"text": "one two"}, 5, None, {"text": "a b c"}]
    async with open_plugin(example, size=3) as plugin:
        async with plugin.map("word_count", items) as results:
            got = [result async for result in results]
        assert [isinstance(each, ToolResult) for each in got] == [True] * 5
        assert [each.is_error for each in got if isinstance(each, ToolResult)][:3] == [
            False, False, True,
        ]  # fmt: skip
        assert got[4] == await plugin.execute("word_count", {"text": "a b c"})
        async with plugin.map("crash", [{}, None]) as results:
            assert [type(each) async for each in results] == [GuestTrap, GuestTrap]


async def test_calls_of_one_map_overlap_and_an_endless_one_can_be_left(example: Path) -> None:
    """Guests that sleep do so side by side; leaving the block ends them."""

    def endless() -> Iterator[Mapping[str, int]]:
        while True:
            yield {"ms": 3_600_000}

    async with open_plugin(example, size=4) as plugin:
        async with plugin.map("nap", endless()):
            with trio.fail_after(60):
                while plugin.pool.statistics().leased < 4:  # noqa: ASYNC110 - nothing tells of it
                    await trio.sleep(0.001)
        assert plugin.pool.statistics().leased == 0
        assert plugin.pool.statistics().retired["cancelled"] == 4


async def test_a_mapping_is_no_input(example: Path) -> None:
    """It would be the arguments of one call."""
    async with open_plugin(example, size=1) as plugin:
        arguments: Any = {"text": "one"}
        with pytest.raises(TypeError, match=r"^plugin\.map takes an iterable .*, not a dict$"):
            plugin.map("word_count", arguments)


async def test_instruments_hear_of_the_tool(example: Path) -> None:
    """The export of each tool is ``execute``."""
    heard: list[tuple[str, str | None]] = []

    class Notes:
        def call_started(self, pool: Pool, export: str, tool: str | None) -> None:
            heard.append((export, tool))

    async with open_plugin(example, size=1, instruments=[Notes()]) as plugin:  # type: ignore[list-item]
        await plugin.execute("word_count", {"text": "one"})
        await plugin.healthy()
    assert heard == [("execute", "word_count"), ("healthy", None)]
