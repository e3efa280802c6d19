"""The official client, and a program that serves a loader over its standard streams."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from tests.mcp.serving import call_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

SERVER = Path(__file__).with_name("stdio_server.py")
REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@pytest.fixture
def server(example: Path, cache: Path) -> Callable[[], StdioServerParameters]:
    """How to start the program."""

    def parameters() -> StdioServerParameters:
        args = [str(SERVER), str(cache), str(example)]
        return StdioServerParameters(command=sys.executable, args=args)

    return parameters


@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.slow)])
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


@asynccontextmanager
async def spinning(example: Path, cache: Path) -> AsyncGenerator[trio.Process]:
    """The program, in the middle of a call that computes for hours."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(SERVER), str(cache), str(example)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        calls = [
            call_request("spin", {"rounds": 10**18}, 1),
            call_request("echo", {"message": 1}, 2),
        ]
        for call in calls:
            await process.stdin.send_all(json.dumps(call).encode() + b"\n")
        seen = b""
        while b'"id":2' not in seen:  # so the first one has begun
            data = await process.stdout.receive_some()
            assert data
            seen += data
        assert b'"id":1' not in seen
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_a_killed_client_leaves_nothing_running(example: Path, cache: Path) -> None:
    """The system closes its ends of the pipes, and the program ends by itself."""
    async with spinning(example, cache) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.aclose()
        await process.stdout.aclose()
        with trio.fail_after(60):
            assert await process.wait() == 0


@pytest.mark.slow
async def test_an_interrupt_ends_the_program(example: Path, cache: Path) -> None:
    """No thread swallows it."""
    async with spinning(example, cache) as process:
        process.send_signal(signal.SIGINT)
        with trio.fail_after(60):
            assert await process.wait() in (1, -signal.SIGINT)  # as a group of exceptions, or alone
