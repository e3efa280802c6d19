"""Ten minutes of everything at once on real wasm; ``WASMPOOL_SOAK_SECONDS`` says otherwise.

Run: pytest -m slow tests/pool/test_soak.py
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import trio
from tests.pool.seams import check_invariants

import wasmpool_host
from wasmpool._errors import LeaseRevoked
from wasmpool._pool.pool import Pool, open_pool

SECONDS = float(os.environ.get("WASMPOOL_SOAK_SECONDS", "600"))
WARM_UP = 0.2  # of the time: allocators and histories have reached their size by then
TASKS = 16

WAT = """
(module
  (import "env" "pause" (func $pause))
  (memory (export "memory") 1)
  (func (export "version") (result i32) i32.const {version})
  (func (export "trap") unreachable)
  (func (export "spin") (loop $again br $again))
  (func (export "grow") (drop (memory.grow (i32.const 8))))
  (func (export "pause") call $pause)
  (func (export "work") (param i32)
    (loop $again
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0)))))
"""


@wasmpool_host.host_function("env", "pause")
async def pause(_: wasmpool_host.Caller) -> None:
    await trio.sleep(0.002)


def resident() -> int:
    """Bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Soak:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.random = Random(0)
        self.seen: Counter[str] = Counter()
        self.memory: list[int] = []

    async def use(self) -> None:
        while True:
            await self.once()

    async def once(self) -> None:
        what = self.random.choices(
            ["version", "work", "pause", "grow", "trap", "cancelled", "lease"],
            [30, 20, 20, 5, 2, 5, 10],
        )[0]
        try:
            await getattr(self, what, self.plain)(what)
        except wasmpool_host.GuestTrap:
            assert what == "trap"
        except LeaseRevoked:
            assert what != "version"
            self.seen["revoked"] += 1
        self.seen[what] += 1

    async def plain(self, what: str) -> None:
        await self.pool.call(what)

    async def work(self, _: str) -> None:
        await self.pool.call("work", self.random.randrange(1, 200_000))

    async def cancelled(self, _: str) -> None:
        with trio.move_on_after(self.random.random() / 100) as scope:
            await self.pool.call("spin")
        assert scope.cancelled_caught

    async def lease(self, _: str) -> None:
        async with self.pool.lease() as lease:
            for _again in range(3):
                await lease.call("grow")
                await lease.call("pause")

    async def reload(self, modules: list[wasmpool_host.Module]) -> None:
        number = 0
        while True:
            await trio.sleep(0.1)
            number += 1
            await self.pool.reload(modules[number % 2], grace=0.05)

    async def look(self) -> None:
        while True:
            await trio.sleep(max(0.2, SECONDS / 200))
            check_invariants(self.pool)
            gc.collect()
            self.memory.append(resident())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
async def test_soak() -> None:
    """No error that was not provoked, memory flat within 5 % after warm-up, counters add up."""
    modules = [
        await wasmpool_host.Module.compile(WAT.format(version=version), imports=[pause])
        for version in (1, 2)
    ]
    async with open_pool(
        modules[0], size=6, min_size=2, max_uses=20, max_memory=4 * 1024 * 1024
    ) as pool:
        soak = Soak(pool)
        with trio.move_on_after(SECONDS):
            async with trio.open_nursery() as nursery:
                for _ in range(TASKS):
                    nursery.start_soon(soak.use)
                nursery.start_soon(soak.reload, modules)
                nursery.start_soon(soak.look)
    check_invariants(pool)
    statistics = pool.statistics()
    assert statistics.started == statistics.closed == sum(statistics.retired.values())
    assert statistics.reloads > SECONDS
    for reason in ("trap", "cancelled", "memory", "uses", "replaced"):
        assert statistics.retired[reason], reason
    assert not statistics.unavailable
    settled = soak.memory[int(len(soak.memory) * WARM_UP) :]
    quarter = max(1, len(settled) // 4)
    first = sorted(settled[:quarter])[quarter // 2]
    last = sorted(settled[-quarter:])[quarter // 2]
    assert last <= first * 1.05, f"memory grew from {first:,} to {last:,} bytes: {soak.seen}"
