"""The official client, and a program that serves a loader over its standard streams."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = Path(__file__).with_name("stdio_server.py")
REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@pytest.fixture
def server(example: Path, cache: Path) -> Callable[[], StdioServerParameters]:
    """How to start the program."""

    def parameters() -> StdioServerParameters:
        args = [str(SERVER), str(cache), str(example)]
        return StdioServerParameters(command=sys.executable, args=args)

    return parameters


@pytest.mark.parametrize("mode", REVISIONS)
async def test_the_official_client(server: Callable[[], StdioServerParameters], mode: str) -> None:
    """With both revisions it lists the tools, and calls one."""
    async with Client(stdio_client(server()), mode=mode) as client:
        assert client.protocol_version == REVISIONS[mode]
        assert client.server_info is not None
        assert client.server_info.name == "wasmpool"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["echo"].input_schema["required"] == ["message"]
        result = await client.call_tool("word_count", {"text": "one two two"})
        assert not result.is_error
        assert result.structured_content is not None
