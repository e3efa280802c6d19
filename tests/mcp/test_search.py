from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.mcp.scripted import scripted, tool

import wasmpool
from wasmpool import ToolResult
from wasmpool._mcp.catalog import Catalog
from wasmpool._mcp.tool_set import CatalogTools, SearchTools, new_tool_set

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

TOOLS = [
    tool("github_create_issue", "Open an issue in a repository.", title="the title", body="text"),
    tool("github_list_issues", "List the issues of a repository.", state="open or closed"),
    tool("getWeather", "Weather for a place.", city="the name of a city"),
    tool("send_mail", "Send a message; an issue with it is reported.", to="an address"),
]


async def _answer(name: str, args: dict[str, Any]) -> str:
    return json.dumps({"called": name, "with": args})


@pytest.fixture
async def catalog() -> AsyncGenerator[Catalog]:
    """A catalog of two plugins."""
    async with wasmpool.open_loader(size=1, grace=0) as loader:
        await loader.load(await scripted("tools", TOOLS, _answer))
        await loader.load(await scripted("more", [tool("zip", "Pack files.")], _answer))
        yield Catalog(loader)


def names(result: Any) -> list[str]:
    return [each.name for each in result.tools]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("github_list_issues", ["github_list_issues", "github_create_issue"]),
        ("create issue", ["github_create_issue", "github_list_issues", "send_mail"]),
        ("WEATHER", ["getWeather"]),
        ("city", ["getWeather"]),
        ("pack", ["zip"]),
        ("reposit", ["github_create_issue", "github_list_issues"]),
        ("th xyzzy", []),
        ("more", ["zip"]),
    ],
)
async def test_what_is_found(catalog: Catalog, query: str, found: list[str]) -> None:
    """Names count more than parameters, and these more than descriptions."""
    assert names(catalog.search(query))[: len(found)] == found
    assert bool(found) == bool(catalog.search(query).total)


async def test_pages_of_a_search(catalog: Catalog) -> None:
    """Without words all tools match, in the order of their names."""
    everything = sorted(catalog.tools)
    assert names(catalog.search("")) == everything
    assert names(catalog.search(" ", limit=2, offset=1)) == everything[1:3]
    assert names(catalog.search("", plugin="more")) == ["zip"]
    assert catalog.search("", limit=2).total == len(everything)
    assert names(catalog.search("", offset=1_000)) == []


async def test_a_long_query(catalog: Catalog) -> None:
    """Only its start counts."""
    assert names(catalog.search("zip " + "x " * 100_000)) == ["zip"]


async def test_two_tools_instead_of_many(catalog: Catalog) -> None:
    """One finds tools, with the schemas of their arguments; the other one calls them."""
    tools = SearchTools(catalog, None)
    assert set(tools.list()) == {"search", "execute"}
    found = json.loads((await tools.call("search", {"query": "weather"})).data)
    assert found["total"] == 1
    assert found["tools"][0]["name"] == "getWeather"
    assert found["tools"][0]["plugin"] == "tools"
    assert found["tools"][0]["input_schema"]["required"] == ["city"]
    called = await tools.call("execute", {"tool_name": "getWeather", "arguments": {"city": "Rome"}})
    assert json.loads(called.data) == {"called": "getWeather", "with": {"city": "Rome"}}
    assert (await tools.call("execute", {"tool_name": "zip"})).data


async def test_a_search_in_pages(catalog: Catalog) -> None:
    """The answer says where the next page begins."""
    tools = SearchTools(catalog, None)
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        answer = json.loads((await tools.call("search", {"limit": 2, "offset": offset})).data)
        seen += [each["name"] for each in answer["tools"]]
        offset = answer.get("next_offset")
    assert seen == sorted(catalog.tools)


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("search", {"query": 7}, "the argument 'query' must be of type string"),
        ("search", {"limit": 0}, "the argument 'limit' must be at least 1"),
        ("search", {"limit": True}, "the argument 'limit' must be of type integer"),
        ("search", {"offset": -1}, "the argument 'offset' must be at least 0"),
        ("search", {"q": "x"}, "there is no argument 'q'; there are: query, plugin, limit, offset"),
        ("search", {"plugin": "no"}, "there is no such plugin; there are: 'tools', 'more'"),
        ("execute", {}, "the argument 'tool_name' is missing"),
        ("execute", {"tool_name": "zipp"}, "there is no tool 'zipp': did you mean 'zip'?"),
        ("execute", {"tool_name": "zip", "arguments": []}, "must be of type object"),
        ("execute", {"script": "1"}, "there is no argument 'script'"),
        ("zip", {}, "there are the tools 'search', which finds tools, and 'execute', for them"),
    ],
)
async def test_wrong_use(
    catalog: Catalog, name: str, arguments: dict[str, Any], problem: str
) -> None:
    """Each is a result with a sentence."""
    result = await SearchTools(catalog, None).call(name, arguments)
    assert result.is_error
    assert problem in result.data


class _Scripts:
    async def run(self, source: str, /) -> ToolResult:
        return ToolResult(f"ran {source}")


async def test_scripts(catalog: Catalog) -> None:
    """With a runner of scripts, `execute` takes one; in plain mode it is a tool for that alone."""
    for tools in (SearchTools(catalog, _Scripts()), CatalogTools(catalog, _Scripts())):
        assert "script" in tools.list()["execute"].input_schema["properties"]
        assert (await tools.call("execute", {"script": "1 + 1"})).data == "ran 1 + 1"
        wrong = await tools.call("execute", {"script": 1})
        assert (wrong.is_error, "must be of type string" in wrong.data) == (True, True)
    plain = CatalogTools(catalog, _Scripts())
    assert (await plain.call("zip", {})).data == '{"called": "zip", "with": {}}'
    with pytest.raises(ValueError, match="mode must be 'plain' or 'search', not 'x'"):
        new_tool_set(catalog, "x", None)  # type: ignore[arg-type]  # wrong use
