"""Several trio runs, each in a thread: they share modules, a cache, and source files of plugins.

Without the GIL they compute at the same time, so this is where a race of theirs shows. Each run
checks its own results, which differ from those of the others. ``WASMPOOL_SOAK_SECONDS`` bounds the
soak.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, final

import pytest
import trio
from tests.host.seams import open_instances
from tests.pool.seams import check_invariants

import wasmpool_host
from wasmpool import GuestTrap, LeaseRevoked, Module, Pool, host_function, open_loader, open_pool
from wasmpool.example import PATH as EXAMPLE
from wasmpool_host._capi import text_to_binary
from wasmpool_host._instance.host_call import new_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wasmpool import Caller, Loader, Plugin

SECONDS: Final = float(os.environ.get("WASMPOOL_SOAK_SECONDS", "600"))
RUNS: Final = 2
TASKS: Final = 8
VERSIONS: Final = ("v1", "v2", "v3", "v4")
PLUGIN: Final = Path(__file__).parent / "guests" / "wat_plugin.wat"
RUN: Final = trio.lowlevel.RunVar[int]("RUN")

GUEST: Final = """(module
  (import "env" "ask" (func $ask (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "ask") (param i32) (result i32) (call $ask (local.get 0)))
  (func (export "count") (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls))
  (func (export "trap") unreachable)
  (func (export "spin") (loop $again br $again))
  (func (export "work") (param i32) (result i32) (local i32)
    (loop $again
      (local.set 1 (i32.add (local.get 1) (i32.const 3)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0)))
    (local.get 1)))"""


@host_function("env", "ask", params=("i32",), results=("i32",))
async def ask(caller: Caller, value: int) -> int:
    """Add the number of the run to the value, in the guest that asks."""
    number = RUN.get()
    await trio.lowlevel.checkpoint()
    added: Any = await caller.call("add", value, number)
    assert RUN.get() == number
    return int(added)


@final
class Shared:
    """What all runs use."""

    def __init__(self, modules: list[Module], directory: Path, cache: Path) -> None:
        self.modules: Final = modules
        self.directory: Final = directory
        self.cache: Final = cache
        self.pools: Final[list[Pool]] = []
        text = PLUGIN.read_text()
        self.plugins: Final = [text_to_binary(text.replace("v1", each)) for each in VERSIONS]

    def write(self, random: Random) -> None:
        """Put another version of the plugin in its file's place, as a deployment does."""
        new = self.directory / f".{threading.get_ident()}"
        new.write_bytes(random.choice(self.plugins))
        new.replace(self.directory / "plugin.wasm")


@final
class Run:
    """One run: what its tasks do, and what must come of it."""

    def __init__(self, number: int, shared: Shared, pool: Pool, loader: Loader) -> None:
        self.number = number
        self.random = Random(number)
        self.shared = shared
        self.pool = pool
        self.loader = loader
        self.done = 0
        self.kinds: list[Callable[[], Any]] = [
            self.add, self.add, self.add, self.ask, self.ask, self.work, self.trap, self.spin,
            self.churn, self.compile, self.execute, self.execute, self.watched, self.look,
            self.replace,
        ]  # fmt: skip

    async def once(self) -> None:
        await self.random.choice(self.kinds)()
        self.done += 1

    async def add(self) -> None:
        value = self.random.randrange(1000)
        assert await self.pool.call("add", value, self.number) == value + self.number

    async def ask(self) -> None:
        value = self.random.randrange(1000)
        assert await self.pool.call("ask", value) == value + self.number

    async def work(self) -> None:
        turns = self.random.randrange(1, 200_000)
        assert await self.pool.call("work", turns) == 3 * turns

    async def trap(self) -> None:
        with pytest.raises(GuestTrap):
            await self.pool.call("trap")

    async def spin(self) -> None:
        with trio.move_on_after(self.random.random() / 200) as scope:
            await self.pool.call("spin")
        assert scope.cancelled_caught

    async def churn(self) -> None:
        instance = await self.random.choice(self.shared.modules).instantiate()
        assert await instance.call("count") == 1
        assert await instance.call("ask", 5) == 5 + self.number
        await instance.aclose()

    async def compile(self) -> None:
        number = self.random.randrange(8)
        text = f'(module (func (export "f") (result i32) (i32.const {number})))'
        module = await Module.compile(text, cache=self.shared.cache)
        async with open_pool(module, size=1) as pool:
            assert await pool.call("f") == number

    async def execute(self) -> None:
        message = f"{self.number} {self.random.random()}"
        result = await self.example.execute("echo", {"message": message})
        assert message in result.data

    async def watched(self) -> None:
        plugin = self.loader.plugins.get("plugin")
        if plugin is not None:
            assert (await plugin.execute("version")).data in VERSIONS

    async def look(self) -> None:
        """The statistics of every run's pool, from this thread."""
        await trio.lowlevel.checkpoint()
        assert wasmpool_host.statistics().instances >= 0
        for pool in list(self.shared.pools):
            now = pool.statistics()
            assert now.size == 3
            assert now.lease_seconds.count >= 0
            assert repr(pool)

    async def replace(self) -> None:
        if self.random.random() < 0.3:
            self.shared.write(self.random)
        else:
            await self.pool.reload(self.random.choice(self.shared.modules), grace=5)

    @property
    def example(self) -> Plugin:
        return self.loader.plugins["example"]


async def run(number: int, shared: Shared, wanted: Callable[[int], bool]) -> int:
    """Do things at random, in a trio run; return how many."""
    number = 10 * number + 1
    RUN.set(number)
    async with (
        open_loader(size=2) as loader,
        open_pool(shared.modules[0], size=3, max_uses=50) as pool,
        trio.open_nursery() as nursery,
    ):
        shared.pools.append(pool)
        await loader.load(EXAMPLE)
        if find_spec("watchfiles") is not None:  # it has no wheel for each interpreter
            await nursery.start(loader.watch, shared.directory)
        this = Run(number, shared, pool, loader)

        async def use() -> None:
            while wanted(this.done):
                with contextlib.suppress(LeaseRevoked):
                    await this.once()

        async with trio.open_nursery() as tasks:
            for _ in range(TASKS):
                tasks.start_soon(use)
        nursery.cancel_scope.cancel()
    check_invariants(pool)
    return this.done


def run_in_threads(function: Callable[..., Awaitable[Any]], *args: Any) -> list[Any]:
    """Run it in several threads at the same time, with the number of each; return the results."""
    together = threading.Barrier(RUNS)
    results: list[Any] = [None] * RUNS
    failures: list[BaseException] = []

    def work(number: int) -> None:
        together.wait()
        try:
            results[number] = trio.run(function, number, *args)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(RUNS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failures:
        raise failures[0]
    return results


def two_runs(path: Path, wanted: Callable[[int], bool]) -> None:
    """What runs share is usable in each, and nothing of theirs is left."""
    directory = path / "plugins"
    directory.mkdir()

    async def compile_all() -> list[Module]:
        changed = GUEST.replace("(local.get 1))))", "(local.get 1))) (func))")
        return [await Module.compile(text, imports=[ask]) for text in (GUEST, changed)]

    shared = Shared(trio.run(compile_all), directory, path / "cache")
    shared.write(Random(0))
    before = open_instances()
    done = run_in_threads(run, shared, wanted)
    assert all(done)
    assert open_instances() == before
    assert not [each for each in threading.enumerate() if each.name == "wasmpool ticker"]
    for pool in shared.pools:
        now = pool.statistics()
        assert now.started == now.closed


def test_two_trio_runs_share_what_they_use(tmp_path: Path) -> None:
    """Modules, compiled code in a cache, and files that both watch and one of them replaces."""
    two_runs(tmp_path, lambda done: done < 300)


@pytest.mark.slow
def test_two_trio_runs_for_long(tmp_path: Path) -> None:
    """The same, as long as a soak."""
    end = time.monotonic() + SECONDS
    two_runs(tmp_path, lambda _: time.monotonic() < end)


def test_the_first_compile_may_be_in_two_threads(tmp_path: Path) -> None:
    """Of one module with one cache, and with stacks of a size that has no engine yet."""
    from wasmpool import Limits  # noqa: PLC0415 - of this test alone

    async def use(_number: int, stack: int) -> object:
        limits = Limits(stack=stack)
        module = await Module.compile(GUEST, imports=[ask], limits=limits, cache=tmp_path)
        instance = await module.instantiate()
        try:
            return await instance.call("add", 1, 2)
        finally:
            await instance.aclose()

    for stack in 600 << 10, 700 << 10, 800 << 10:
        assert run_in_threads(use, stack) == [3, 3]


def test_keys_are_given_once() -> None:
    """A fiber or a host call with the key of another would answer for it."""

    async def take(_number: int) -> list[int]:
        return [new_key() for _ in range(20_000)]

    keys = run_in_threads(take)
    assert len(set(itertools.chain(*keys))) == RUNS * 20_000
