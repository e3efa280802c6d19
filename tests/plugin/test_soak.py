"""What only shows after many: leaks of the guests, and of the host."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from wasmpool._http.policy import HttpPolicy
from wasmpool._plugin.plugin import open_plugin
from wasmpool._plugin.tool_result import ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
LOCAL = HttpPolicy(allow_private=True)


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def test_reloads_leave_nothing(wat: Callable[..., str]) -> None:
    """The process after 1,000 reloads is within 10 % of what it was after 50."""
    after_50 = 0
    async with open_plugin(wat(), credentials={"k": "v"}) as plugin:
        for turn in range(1, 1001):
            version = "v2" if turn % 2 else "v1"
            await plugin.reload(wat(version=version))
            assert await plugin.execute("version") == ToolResult(version)
            if turn == 50:
                after_50 = resident()
        assert plugin.pool.generation == 1001
        assert resident() < 1.1 * after_50


async def test_a_guest_that_leaks_serves_on(leaky: Path) -> None:
    """50,000 executes whose free traps: none fails, and the process does not grow with them."""
    warm = 0

    async def caller(task: int) -> None:
        nonlocal warm
        for turn in range(6250):
            message = f"{task}/{turn}/{'x' * 2000}"
            result = await plugin.execute("echo", {"message": message})
            assert json.loads(result.data) == {"echo": message}
            if task == 0 and turn == 1000:
                warm = resident()

    async with open_plugin(leaky, size=4, max_memory=4 << 20) as plugin:
        async with trio.open_nursery() as nursery:
            for task in range(8):
                nursery.start_soon(caller, task)
        statistics = plugin.pool.statistics()
        assert statistics.retired["memory"] > 10
        assert sum(statistics.retired.values()) == statistics.retired["memory"]
        assert resident() < 1.1 * warm + (16 << 20)  # instances that grow up to max_memory


async def test_replies_that_leak(leaky: Path, server: Any) -> None:
    """The same for 2,000 replies of 50 kB that the guest never frees."""
    warm = 0
    credentials = {"base_url": server.url}
    async with open_plugin(
        leaky, size=2, http=LOCAL, credentials=credentials, max_memory=4 << 20
    ) as plugin:
        for turn in range(2000):
            result = await plugin.execute("fetch", {"path": "/big?size=50000"})
            assert len(json.loads(result.data)["body"]) == 50_000
            if turn == 200:
                warm = resident()
        assert plugin.pool.statistics().retired["memory"] > 20
        assert resident() < 1.1 * warm + (8 << 20)
