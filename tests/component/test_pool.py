"""Components in a pool."""

from __future__ import annotations

import trio
from tests.component.test_call import ADD, PAUSE

from wasmpool import open_pool
from wasmpool_host import Component, host_function


async def test_a_pool_calls_components() -> None:
    component = await Component.compile(ADD)
    async with open_pool(component) as pool:
        assert await pool.call("add", 1, 2) == 3
        assert await pool.call("docs:adder/add@0.1.0#add", 1, 2) == 3
        async with pool.lease() as lease:
            assert await lease.call("add", 1, 2) == 3


async def test_calls_that_wait_wait_together() -> None:
    """32 calls, of which each waits until all have begun."""
    waiting = 0
    all_here = trio.Event()

    @host_function("", "pause")
    async def pause(_: object, ms: int) -> int:
        nonlocal waiting
        waiting += 1
        if waiting == 32:
            all_here.set()
        await all_here.wait()
        return ms

    component = await Component.compile(PAUSE, imports=[pause])
    with trio.fail_after(20):
        async with open_pool(component, size=32) as pool, trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(pool.call, "nap", 1)


async def test_each_lease_may_have_an_instance_of_its_own() -> None:
    component = await Component.compile(ADD)
    async with open_pool(component, max_uses=1) as pool:
        for k in range(5):
            assert await pool.call("add", k, 2) == k + 2
        assert pool.statistics().retired["uses"] >= 4
