"""The race of ``wasmpool demo``: the same calls, on one instance behind a lock and on a pool.

Both sides get the same list of calls, all at once: most wait for a host function, as for a reply
from the network; some compute; one never ends, until its caller gives up. In the middle of the run,
both load a new version of the module.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol, final

import attrs
import trio

from wasmpool import Module, host_function, open_pool

if TYPE_CHECKING:
    from wasmpool import Instance

__all__ = ["CALLS", "Call", "Cell", "Kind", "Side", "run_race"]

CALLS: Final = 200
SIZE: Final = 12
"""Instances of the pool; the other side has one."""
MIN_SIZE: Final = 4
"""Instances that are kept ready. During a reload the pool can have so many above its size."""
PATIENCE: Final = 0.5
"""Seconds after which the caller of the endless loop gives up."""

MODULE: Final = """(module
  (import "demo" "pause" (func $pause (param i32)))
  (func (export "wait") (param i32) (call $pause (local.get 0)))
  (func (export "compute") (param $n i32)
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n))))
  (func (export "spin") (param i32) (loop $for_ever (br $for_ever))))"""


@host_function("demo", "pause", params=["i32"])
async def _pause(_caller: object, milliseconds: int) -> None:
    await trio.sleep(milliseconds / 1000)


class Kind(StrEnum):
    """What a call does; the values are the guest's exports."""

    WAIT = "wait"
    COMPUTE = "compute"
    SPIN = "spin"


@final
@attrs.frozen
class Call:
    """One call of the list."""

    kind: Kind
    argument: int


@final
@attrs.define(eq=False)
class Cell:
    """One instance, as the display shows it."""

    kind: Kind | None = None
    """What it runs; None while it is idle."""
    generation: int = 1
    """1, or 2 for the new version."""


@final
@attrs.define(eq=False)
class Side:
    """The progress of one side of the race."""

    title: str
    cells: list[Cell]
    done: int = 0
    reloaded: float | None = None
    """Seconds until the new version served."""
    took: float | None = None
    """Seconds until all calls had ended."""

    began: float = attrs.field(init=False, factory=trio.current_time)
    half: trio.Event = attrs.field(init=False, factory=trio.Event)

    @property
    def seconds(self) -> float:
        """The time so far, or of the whole run."""
        return trio.current_time() - self.began if self.took is None else self.took

    def call_ended(self) -> None:
        """Count a call; the reload starts after half of the calls."""
        self.done += 1
        if self.done >= CALLS // 2:
            self.half.set()


class _Contender(Protocol):
    """One of the two ways to serve calls."""

    async def run(self, call: Call) -> None: ...

    async def reload(self) -> None: ...


@final
@attrs.define(eq=False)
class _Locked:
    """One instance behind a lock."""

    side: Side
    module: Module
    instance: Instance
    lock: trio.Lock = attrs.field(init=False, factory=trio.Lock)

    async def run(self, call: Call) -> None:
        (cell,) = self.side.cells
        async with self.lock:
            cell.kind = call.kind
            with trio.move_on_after(PATIENCE):
                await self.instance.call(call.kind, call.argument)
            cell.kind = None
            if self.instance.poisoned is not None:
                await self._replace()

    async def reload(self) -> None:
        async with self.lock:  # waits for the calls that came before
            await self._replace()
            self.side.cells[0].generation = 2

    async def _replace(self) -> None:
        await self.instance.aclose()
        self.instance = await self.module.instantiate()


@final
@attrs.define(eq=False)
class _Pooled:
    """A pool of instances."""

    side: Side
    module: Module
    pool: Any

    async def run(self, call: Call) -> None:
        async with self.pool.lease() as lease:
            cell = next(cell for cell in self.side.cells if cell.kind is None)
            cell.kind, cell.generation = call.kind, lease.generation
            with trio.move_on_after(PATIENCE if call.kind is Kind.SPIN else float("inf")):
                await lease.call(call.kind, call.argument)
            cell.kind = None

    async def reload(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._reload)  # returns when the new version serves
            self.side.reloaded = self.side.seconds

    async def _reload(self, task_status: trio.TaskStatus[int]) -> None:
        await self.pool.reload(self.module, force=True, task_status=task_status)


async def run_race(locked: Side, pooled: Side) -> None:
    """Run both sides at the same time, and keep their progress up to date."""
    module = await Module.compile(MODULE, imports=[_pause])
    instance = await module.instantiate()
    behind_lock = _Locked(locked, module, instance)
    calls = _calls()
    try:
        async with open_pool(module, size=SIZE, min_size=MIN_SIZE) as pool:
            locked.began = pooled.began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_run_side, behind_lock, locked, calls)
                nursery.start_soon(_run_side, _Pooled(pooled, module, pool), pooled, calls)
    finally:
        with trio.CancelScope(shield=True):
            await behind_lock.instance.aclose()


async def _run_side(contender: _Contender, side: Side, calls: list[Call]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reload_at_half, contender, side)
        async with trio.open_nursery() as callers:
            for call in calls:
                callers.start_soon(_run_call, contender, side, call)
        side.took = side.seconds


async def _run_call(contender: _Contender, side: Side, call: Call) -> None:
    await contender.run(call)
    side.call_ended()


async def _reload_at_half(contender: _Contender, side: Side) -> None:
    await side.half.wait()
    await contender.reload()
    if side.reloaded is None:
        side.reloaded = side.seconds


def _calls() -> list[Call]:
    """Return the list of calls, always the same."""
    pick = Random(7)  # noqa: S311 - not for security
    calls = [Call(Kind.WAIT, pick.randrange(10, 40)) for _ in range(180)]
    calls += [Call(Kind.COMPUTE, pick.randrange(1, 8) * 1_000_000) for _ in range(19)]
    pick.shuffle(calls)
    calls.insert(CALLS // 8, Call(Kind.SPIN, 0))
    return calls


def new_sides() -> tuple[Side, Side]:
    """Return both sides, before the race."""
    return (
        Side("one instance behind a lock", [Cell()]),
        Side(f"a pool of {SIZE} instances", [Cell() for _ in range(SIZE + MIN_SIZE)]),
    )
