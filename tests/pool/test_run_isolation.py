"""Nothing of one run is seen by another, tried by a program that looks for it.

`c_prober.c` says what it looks for, and what it leaves for the next one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from tests.pool.seams import retired, settle

from wasmpool import GuestTrap, Module, open_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmpool import Completed, Pool

PROBER: Final = Path(__file__).parents[1] / "guests" / "c_prober.wasm"

LEFT_OPEN: Final = 20
"""Files that each run leaves, and descriptors."""

SPOTLESS: Final = (
    *("memory 0", "stack 0", "grown 0", "marks 0"),
    *("descriptor 0", "descriptor 1", "descriptor 2", "descriptor 3"),
    "preopen /",
)
"""What a program sees that is the first one on earth."""


@pytest.fixture
async def module() -> Module:
    return await Module.compile(PROBER)


class Probe:
    """One run with a world of its own, and what must come of it."""

    def __init__(self, number: int, end: str) -> None:
        self.end = end
        self.mark = f"MARK{number}"
        self.args = ["prober", end, f"word {number}"]
        self.world: dict[str, Any] = {
            "env": {"NAME": f"value {number}"},
            "stdin": self.mark.encode(),
            "files": {f"/in/{number}": f"content {number}".encode()},
            "collect": ["**"],
        }
        self.report = [
            *SPOTLESS,
            f"word word {number}",
            f"variable NAME=value {number}",
            f"input {self.mark}file /in/{number} content {number}",
            self.mark,
        ]
        self.files = {f"/moved/{number}": f"content {number}".encode()} | {
            f"/{self.mark}.{left}": self.mark.encode() for left in range(LEFT_OPEN)
        }

    async def __call__(self, pool: Pool) -> None:
        check: Callable[[Pool], Any] = getattr(self, f"_check_{self.end}")
        await check(pool)

    async def _run(self, pool: Pool, **more: Any) -> Completed:
        return await pool.run(self.args, **self.world, **more)

    async def _check_return(self, pool: Pool) -> None:
        done = await self._run(pool)
        self.report[-1] += " and more"
        assert done.returncode == 0
        self._compare(done.stdout, done.stderr)
        assert done.files == self.files

    async def _check_exit(self, pool: Pool) -> None:
        done = await self._run(pool, stderr="log")
        assert done.returncode == 7
        self._compare(done.stdout, self.mark.encode())
        assert done.files == self.files

    async def _check_trap(self, pool: Pool) -> None:
        with pytest.raises(GuestTrap) as caught:
            await self._run(pool)
        self._compare(caught.value.stdout, caught.value.stderr)

    async def _check_spin(self, pool: Pool) -> None:
        output = bytearray()

        def take(data: bytes) -> None:
            output.extend(data)
            if output.endswith(f"\n{self.mark}".encode()):
                scope.cancel()

        with trio.CancelScope() as scope:
            await self._run(pool, stdout=take)
        assert scope.cancelled_caught
        self._compare(bytes(output), self.mark.encode())

    def _compare(self, stdout: bytes, stderr: bytes) -> None:
        assert stdout.decode().split("\n") == self.report
        assert stderr == self.mark.encode()


@pytest.mark.parametrize("runs", [80, pytest.param(400, marks=pytest.mark.slow)])
async def test_many_runs_see_nothing_of_each_other(
    runs: int, module: Module, caplog: pytest.LogCaptureFixture
) -> None:
    """Over 8 instances, 32 at once, however they end: each sees its own world, and no more."""
    caplog.set_level(logging.WARNING, "wasmpool.guest")
    limit = trio.CapacityLimiter(32)
    ends = ("return", "exit", "trap", "spin")
    most = 0

    async def run(number: int) -> None:
        nonlocal most
        async with limit:
            most = max(most, limit.borrowed_tokens)
            await Probe(number, ends[number % len(ends)])(pool)

    async with open_pool(module, size=8, min_size=4) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(runs):
                nursery.start_soon(run, number)
        await settle(pool)
        assert retired(pool) == {
            "finished": runs // 2,
            "trap": runs // 4,
            "cancelled": runs // 4,
        }
    assert most == 32
    logged = [record.getMessage() for record in caplog.records]
    assert sorted(logged) == sorted(f"MARK{number}" for number in range(1, runs, 4))


async def test_the_prober_finds_what_is_there(module: Module) -> None:
    """Marks in memory that nobody has cleared, at its end and on its stack."""
    instance = await module.instantiate()
    mark = b"MARK0"
    instance.memory.write(instance.memory.size - len(mark), mark)
    instance.memory.write(1000, mark)
    done = await instance.run(["prober", "return"], stdin=mark, files={})
    found = done.stdout.decode().split("\n")
    assert found[:4] == ["memory 5", "stack 5", "grown 0", "marks 2"]
    await instance.aclose()
