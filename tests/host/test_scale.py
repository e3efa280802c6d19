"""Many instances, and one after the other for long: what they take, and that they give it back."""

from __future__ import annotations

import sys
import sysconfig
from importlib.metadata import version
from typing import Final

import pytest
from tests.measured import linux, measure

_WASMTIME: Final = int(version("wasmtime").partition(".")[0])
_FREE_THREADED: Final = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def _most_bytes() -> int:
    """Bytes for each waiting call.

    From Python 3.13 on, and with older releases of Wasmtime, it takes a page more: of the fiber's
    stack, which the callback from C uses. From 3.14 on, Trio's events and the objects of ctypes
    take 600 bytes more. And without the GIL, an object that the collector does not track has 16
    bytes more at its head.
    """
    if _FREE_THREADED:
        return 27_000
    if sys.version_info < (3, 13) and _WASMTIME >= 50:
        return 22_000
    return 25_500 if sys.version_info < (3, 14) else 26_000


@linux
@pytest.mark.parametrize("calls", [10_000])  # of fewer, what is shared by all would count
def test_thousands_of_calls_wait_at_once_in_one_thread(calls: int) -> None:
    """In an async host function, each on its own instance: within the bound, and all complete."""
    code = """
    N = int(sys.argv[1])

    @host_function("env", "wait", params=("i32",), results=("i32",))
    async def wait(caller, value):
        global waiting
        waiting += 1
        if waiting == N:
            everybody.set()
        await leave.wait()
        return value + 1

    async def main():
        global waiting, everybody, leave
        waiting, everybody, leave = 0, trio.Event(), trio.Event()
        module = await Module.compile('''(module
          (import "env" "wait" (func (param i32) (result i32)))
          (memory (export "memory") 1) (export "go" (func 0)))''', imports=[wait])
        results = []

        async def use(instance, k):
            results.append(await instance.call("go", k) - k)

        before = held()
        instances = [await module.instantiate() for _ in range(N)]
        async with trio.open_nursery() as nursery:
            for k, instance in enumerate(instances):
                nursery.start_soon(use, instance, k)
            await everybody.wait()
            during = held()
            leave.set()
        for instance in instances:
            await instance.aclose()
        print(json.dumps({
            "each": (during["bytes"] - before["bytes"]) / N,
            "maps": (during["maps"] - before["maps"]) / N,
            "threads": during["threads"] - before["threads"],
            "complete": results.count(1),
        }))

    trio.run(main)
    """
    measured = measure(code, str(calls))
    assert measured["complete"] == calls
    assert measured["threads"] <= 1  # the ticker
    assert measured["each"] <= _most_bytes()
    assert measured["maps"] <= 5


CYCLE = """
N, WARM = int(sys.argv[1]), 1_000

async def main():
    @host_function("env", "f", params=("i64",), results=("i64",))
    async def f(caller, packed):
        return await caller.reply(caller.read(packed))

    module = await Module.compile('''(module (import "env" "f" (func $f (param i64) (result i64)))
      (memory (export "memory") 1)
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func (export "free") (param i32))
      (func (export "go") (param i64) (result i64) (call $f (local.get 0)))
      (func (export "trap") unreachable))''', imports=[f])

    async def cycle(k):
        instance = await module.instantiate()
        for _ in range(3):
            assert await instance.exchange("go", b"hello") == b"hello"
        if k % 3 == 0:
            try:
                await instance.call("trap")
            except GuestTrap:
                pass
        await instance.aclose()

    for k in range(WARM):
        await cycle(k)
    before = held()
    for k in range(N):
        await cycle(k)
    after = held()
    print(json.dumps({key: after[key] - before[key] for key in before}))

trio.run(main)
"""


@linux
@pytest.mark.parametrize("cycles", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_instances_that_come_and_go_leave_nothing(cycles: int) -> None:
    """Memory, threads, files and maps are where they were after the first thousand."""
    grown = measure(CYCLE, str(cycles))
    assert grown["threads"] <= 0  # trio lets its idle ones go
    assert grown["files"] == 0
    assert abs(grown["maps"]) <= 20  # the allocator's own
    assert grown["bytes"] <= 1_000_000
