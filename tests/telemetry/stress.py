"""A pool under all kinds of calls at once, for sums that must agree afterwards."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from wasmpool import (
    Caller,
    GuestTrap,
    Module,
    PoolSaturated,
    Wasi,
    host_function,
)

if TYPE_CHECKING:
    from wasmpool import Pool

__all__ = ["module", "stress"]

WAT = """(module
  (import "env" "pause" (func $pause))
  (func (export "ok") (result i32) i32.const 7)
  (func (export "pause") call $pause)
  (func (export "trap") unreachable)
  (func (export "spin") (loop br 0)))"""


@host_function("env", "pause")
async def pause(caller: Caller) -> None:
    for _ in range(3):
        await trio.lowlevel.checkpoint()


async def module() -> Module:
    return await Module.compile(WAT, imports=[pause], wasi=Wasi())


async def stress(pool: Pool, *, calls: int, seed: int = 1) -> Counter[str]:
    """Make calls in some tasks: they return, trap, are cancelled, wait, are refused, on leases.

    Returns:
        how many leases were ``"granted"`` and ``"refused"``.
    """
    dice = random.Random(seed)
    leases: Counter[str] = Counter()
    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(_some, pool, calls // 12, dice, leases)
    return leases


async def _some(pool: Pool, calls: int, dice: random.Random, leases: Counter[str]) -> None:
    for _ in range(calls):
        kind = dice.choice(["ok"] * 6 + ["pause"] * 4 + ["trap", "spin", "lease"])
        with suppress(GuestTrap, PoolSaturated):
            if kind == "lease":
                await _lease(pool, leases)
            elif kind == "spin":
                with trio.move_on_after(0.002):
                    await pool.call("spin")
            else:
                await pool.call(kind)


async def _lease(pool: Pool, leases: Counter[str]) -> None:
    try:
        async with pool.lease() as lease:
            leases["granted"] += 1
            await lease.call("ok")
            await lease.call("pause")
    except PoolSaturated:
        leases["refused"] += 1
