"""Where a lease was asked for: a line of the user's, however it came to the pool."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import wasmpool
from wasmpool import Instrument, LeaseInfo, Plugin, Pool, open_plugin
from wasmpool._pool.pool import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.pool.fakes import FakeModule

EXAMPLE = Path(wasmpool.__file__).parent / "example" / "example.wasm"


def line() -> int:
    """Where this is called."""
    return sys._getframe(1).f_lineno


class Places(Instrument):
    """An instrument that notes where each lease was taken."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
        self.seen.append(lease.place)

    def take(self) -> str:
        (place,) = set(self.seen)
        self.seen.clear()
        return place


@pytest.fixture
def places() -> Places:
    return Places()


async def test_calls_of_a_plugin_show_the_line_of_their_caller(places: Places) -> None:
    """And not the line in this library that passes them on; loading one shows who loads it."""
    async with open_plugin(EXAMPLE, instruments=[places], min_size=0) as plugin:
        assert places.take().startswith(f"{__file__}:")

        async def execute() -> None:
            await plugin.execute("word_count", {"text": "a"})

        await execute()
        assert places.take() == f"{__file__}:{execute.__code__.co_firstlineno + 1}"
        await plugin.healthy()
        assert places.take() == f"{__file__}:{line() - 1}"


async def test_call_of_a_plugin_in_line_shows_the_line_of_its_caller(places: Places) -> None:
    """It is looked up when the call joins the line, in its own task."""

    async def execute(plugin: Plugin) -> None:
        await plugin.execute("word_count", {"text": "a"})

    async with (
        open_plugin(EXAMPLE, instruments=[places], size=1) as plugin,
        trio.open_nursery() as nursery,
    ):
        async with plugin.pool.lease():
            assert places.take() == f"{__file__}:{line() - 1}"
            for _ in range(3):
                nursery.start_soon(execute, plugin)
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert places.take() == f"{__file__}:{execute.__code__.co_firstlineno + 1}"


async def test_leases_show_the_line_of_their_caller_through_any_context(
    module: FakeModule, places: Places
) -> None:
    """An exit stack, a context of the user's own, a partial."""

    @asynccontextmanager
    async def own() -> AsyncGenerator[None]:
        async with pool.lease():
            yield

    async with open_pool(module, size=1, instruments=[places]) as pool:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pool.lease())
            assert places.take() == f"{__file__}:{line() - 1}"
        async with own():
            assert places.take() == f"{__file__}:{own.__wrapped__.__code__.co_firstlineno + 2}"  # type: ignore[attr-defined]
        take = partial(pool.lease_nowait)
        async with take():
            assert places.take() == f"{__file__}:{line() - 1}"


async def test_task_that_is_a_method_of_the_pool_has_no_line(
    module: FakeModule, places: Places
) -> None:
    """Better none than one in trio or in this library."""
    async with open_pool(module, size=1, instruments=[places]) as pool:
        for name, *args in (("echo", 1), ("step",)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.call, name, *args)
            assert places.take() == "unknown"


async def test_leak_log_shows_the_line_of_the_caller(
    module: FakeModule, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """For a call that pends, as for a lease."""
    async with open_pool(module, leak_after=10) as pool:
        await pool.call("sleep", 20)
        assert caplog.messages[-1].endswith(f"taken at {__file__}:{line() - 1}")
        await sleep_in_a_lease(pool)
        where = sleep_in_a_lease.__code__.co_firstlineno + 1
        assert caplog.messages[-1].endswith(f"taken at {__file__}:{where}")


async def sleep_in_a_lease(pool: Pool) -> None:
    async with pool.lease() as lease:
        await lease.call("sleep", 20)
