"""Random modules compiled, instantiated and called, alone and in pools whose callers are cancelled.

python -m tests.spec.random_modules FIRST_SEED COUNT SECONDS

It is a process of its own, as a module may end it. Before each module it prints the seed, and at
the end what the calls came to. Any error that is not one of the library's ends it with status 1.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import trio
from tests.spec.random_values import random_value
from tests.spec.smith import MEMORY, Smith
from tests.spec.wasm_tools import find_wasm_tools

from wasmpool import open_pool
from wasmpool_host import (
    Caller,
    FunctionType,
    GlobalType,
    GuestTrap,
    Limits,
    MemoryType,
    Module,
    WasmpoolError,
    host_function,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wasmpool_host import HostFunction, Instance

LIMITS: Final = Limits(memory=MEMORY, table_elements=10_000, call_seconds=0.02)

CALLS: Final = 8
"""Calls of each module's instance, or of each caller of its pool."""

IMPORTS: Final = """(module
  (import "env" "pause" (func))
  (import "env" "number" (func (param i32 f32) (result i64 f64)))
  (import "env" "vector" (func (param v128) (result v128)))
  (import "env" "fail" (func))
  (import "env" "again" (func (param i32) (result i32))))"""


DOCUMENTED: Final = re.compile(
    "cannot be passed between host and guest"
    "|cannot be called before the guest has started"  # by a host function that a start exports
)
"""What a TypeError or RuntimeError may say, as the reference does."""


class HostFailure(Exception):
    """What a host function raises."""


class Trial:
    """One module, and what becomes of it; the seed decides all but the time."""

    def __init__(self, seed: int, seen: Counter[str]) -> None:
        self._random = Random(seed)
        self._seen = seen
        self._functions: list[tuple[str, FunctionType]] = []

    async def run(self, binary: bytes) -> None:
        """Compile the module and use it in one of two ways."""
        try:
            module = await Module.compile(binary, imports=self._imports(), limits=LIMITS)
        except WasmpoolError as error:
            self._note("compile", error)
            return
        self._functions = [
            (name, type_) for name, type_ in module.exports.items()
            if isinstance(type_, FunctionType)
        ]  # fmt: skip
        self._seen["compiled"] += 1
        await self._random.choice((self._alone, self._in_pool))(module)

    # --- one instance ---

    async def _alone(self, module: Module) -> None:
        instance: Instance | None = None
        for _ in range(CALLS):
            if instance is None:
                instance = await self._instance(module)
            if instance is None:
                return
            await self._noted("call", partial(self._call, instance.call))
            if not instance.poisoned:
                await self._noted("state", partial(self._change_state, module, instance))
            if instance.poisoned:
                await instance.aclose()
                instance = None
        if instance is not None:
            await instance.aclose()

    async def _instance(self, module: Module) -> Instance | None:
        try:
            return await module.instantiate()
        except (WasmpoolError, HostFailure) as error:
            self._note("start", error)
            return None

    async def _change_state(self, module: Module, instance: Instance) -> None:
        """Read and write what it exports besides functions."""
        others = [each for each in module.exports.items() if not isinstance(each[1], FunctionType)]
        if not others:
            return
        name, type_ = self._random.choice(others)
        if isinstance(type_, GlobalType):
            if type_.mutable:
                instance.globals[name] = random_value(self._random, type_.content)
            assert instance.globals[name] is not None
        elif isinstance(type_, MemoryType):
            memory = instance.memories[name]
            data = self._random.randbytes(min(9, memory.size))
            memory.write(0, data)
            assert memory.read(0, len(data)) == data

    # --- a pool ---

    async def _in_pool(self, module: Module) -> None:
        async def open_and_call() -> None:
            async with open_pool(
                module, size=self._random.randint(1, 3), min_size=self._random.randint(0, 1),
                max_uses=self._random.choice((None, 1, 3)), start_timeout=5, grace=0.01,
            ) as pool, trio.open_nursery() as nursery:  # fmt: skip
                for _ in range(4):
                    nursery.start_soon(self._caller, pool.call, Random(self._random.random()))

        await self._noted("pool", open_and_call)

    async def _caller(self, call: Callable[..., Awaitable[Any]], random: Random) -> None:
        """Call some exports; half of the calls are cancelled, if they last."""
        for _ in range(CALLS):
            seconds = random.choice((0, 0.0005, 0.003, 1e9, 1e9, 1e9))
            with trio.move_on_after(seconds) as scope:
                await self._noted("pool call", partial(self._call, call))
            self._seen["cancelled"] += scope.cancelled_caught

    # --- calls ---

    async def _call(self, call: Callable[..., Awaitable[Any]]) -> None:
        """Call any function that is exported."""
        if self._functions:
            name, type_ = self._random.choice(self._functions)
            await call(name, *self._args(type_.params))

    def _args(self, types: Sequence[str]) -> list[Any]:
        return [random_value(self._random, type_) for type_ in types]

    async def _noted(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step, and count how it ended; an error that must not be is raised."""
        try:
            await step()
        except (WasmpoolError, HostFailure) as error:
            self._note(what, error)
        except (TypeError, RuntimeError) as error:
            if not DOCUMENTED.search(str(error)):
                raise
            self._note(what, error)
        else:
            self._seen[what] += 1

    def _note(self, what: str, error: Exception) -> None:
        code = f" {error.code}" if isinstance(error, GuestTrap) else ""
        str(error)  # it can be shown, whatever the module calls its parts
        self._seen[f"{what}: {type(error).__name__}{code}"] += 1

    # --- host functions ---

    def _imports(self) -> list[HostFunction]:
        @host_function("env", "pause")
        async def pause(_caller: Caller) -> None:
            await trio.sleep(self._random.choice((0, 0, 0.001)))

        @host_function("env", "number", params=("i32", "f32"), results=("i64", "f64"))
        def number(_caller: Caller, _first: float, _second: float) -> tuple[Any, Any]:
            return random_value(self._random, "i64"), random_value(self._random, "f64")

        @host_function("env", "vector", params=("v128",), results=("v128",))
        def vector(_caller: Caller, value: bytes) -> bytes:
            return value[::-1]

        @host_function("env", "fail")
        def fail(_caller: Caller) -> None:
            raise HostFailure

        @host_function("env", "again", params=("i32",), results=("i32",))
        async def again(caller: Caller, number: int) -> int:
            await self._noted("nested", partial(self._call, caller.call))
            return number

        return [pause, number, vector, fail, again]


async def run(first: int, count: int, seconds: float) -> None:
    """Try the modules of ``count`` seeds, or fewer if ``seconds`` have passed."""
    tool = find_wasm_tools()
    assert tool is not None
    seen: Counter[str] = Counter()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        smith = Smith(tool, Path(folder), IMPORTS)
        for seed in range(first, first + count):
            if time.monotonic() > end:
                break
            print(f"seed {seed}", flush=True)
            binary = smith.module(seed)
            if binary is not None:
                await Trial(seed, seen).run(binary)
                seen["modules"] += 1
    print(json.dumps(dict(sorted(seen.items()))))


if __name__ == "__main__":
    trio.run(run, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
