from __future__ import annotations

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import Tool

from wasmpool._mcp import page as page_module
from wasmpool._mcp.page import page


def tools(*names: str, description: str = "") -> dict[str, Tool]:
    """Tools of these names."""
    schema = {"type": "object"}
    return {n: Tool(name=n, description=description, input_schema=schema) for n in names}


def all_pages(listed: dict[str, Tool]) -> list[list[str]]:
    """The names of all pages."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while True:
        found = page(listed, cursor)
        pages.append([tool.name for tool in found.tools])
        cursor = found.next_cursor
        if cursor is None:
            return pages


def test_pages_are_in_the_order_of_the_names() -> None:
    """Each tool is on one of them, and none is without tools."""
    names = [f"tool_{n:03}" for n in range(250)]
    pages = all_pages(tools(*reversed(names)))
    assert [len(each) for each in pages] == [100, 100, 50]
    assert [name for each in pages for name in each] == names
    assert all_pages({}) == [[]]
    assert all_pages(tools("ü", "a\ud800", "z")) == [["a\ud800", "z", "ü"]]


def test_a_page_has_a_bounded_size() -> None:
    """Descriptions can be long; a page ends after the one that is too much."""
    long = "x" * (page_module._MAX_BYTES // 2)
    pages = all_pages(tools("a", "b", "c", "d", "e", description=long))
    assert pages == [["a", "b"], ["c", "d"], ["e"]]


def test_the_list_may_change_between_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that stays is neither left out nor listed twice."""
    monkeypatch.setattr(page_module, "_MOST", 2)
    first = page(tools("a", "b", "c", "d"), None)
    second = page(tools("a", "aa", "c", "d"), first.next_cursor)  # b is gone
    assert [tool.name for tool in second.tools] == ["c", "d"]


@pytest.mark.parametrize("cursor", ["x", "!!!!", "a" * 100_001, "ü", "_w=="])
def test_a_cursor_that_is_none(cursor: str) -> None:
    """An error of the protocol."""
    with pytest.raises(MCPError, match="the cursor is not one of this server"):
        page(tools("a"), cursor)
