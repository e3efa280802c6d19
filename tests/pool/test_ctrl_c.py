"""Ctrl-C at every instruction of the pool: none loses an instance, or leaves one taken."""

from __future__ import annotations

import dis
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.pool.fakes import FakeModule
from tests.pool.seams import check_invariants
from trio.testing import wait_all_tasks_blocked

import wasmpool
from wasmpool._pool.pool import Pool, open_pool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

POOL = str(Path(wasmpool.__file__).parent)

AWAITING = {"SEND", "YIELD_VALUE", "RESUME", "JUMP_BACKWARD_NO_INTERRUPT"}
"""Between an await and what it waits for, where the interpreter does not look at signals."""


def opcode(frame: FrameType) -> str:
    return dis.opname[frame.f_code.co_code[frame.f_lasti]]


class CtrlC:
    """Raises SIGINT when the n-th instruction of the pool's code is about to run."""

    def __init__(self, n: int) -> None:
        self.left = n

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(POOL):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode" and opcode(frame) not in AWAITING:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
        return self.trace


async def call(pool: Pool) -> None:
    await pool.call("step")


async def exchange(pool: Pool) -> None:
    await pool.exchange("bytes")


async def wait_in_line(pool: Pool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.call, "step")
        await trio.lowlevel.checkpoint()
        await pool.call("step")


async def trap(pool: Pool) -> None:
    with pytest.raises(Exception, match="unreachable"):
        await pool.call("trap")


async def resize(pool: Pool) -> None:
    await pool.resize(2, 2)
    await pool.resize(1, 0)


async def reload(pool: Pool) -> None:
    await pool.reload(FakeModule(2), force=True)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # Ctrl-C came just before
@pytest.mark.parametrize("operation", [call, exchange, wait_in_line, trap, resize, reload])
def test_ctrl_c_at_every_instruction_loses_nothing(operation: Any) -> None:
    """It comes out of the operation, or at the next checkpoint; the pool serves on."""
    interrupted = 0

    async def story(n: int) -> bool:
        nonlocal interrupted
        ctrl_c = CtrlC(n)
        module = FakeModule()
        with catch_interrupts() as out_of_the_block:  # it hit a task of the pool
            async with open_pool(module, size=1) as pool:
                with catch_interrupts() as caught:
                    sys.settrace(ctrl_c.trace)
                    try:
                        await operation(pool)
                    finally:
                        sys.settrace(None)
                    await trio.lowlevel.checkpoint()
                interrupted += bool(caught)
                await wait_all_tasks_blocked()
                check_invariants(pool)
                await pool.resize(1)
                assert await pool.call("echo", 1) == 1
        interrupted += bool(out_of_the_block)
        assert not module.live
        return ctrl_c.left <= 0

    for n in steps():
        if not trio.run(story, n):
            break
    assert interrupted > 10


def steps() -> Iterator[int]:
    """Each of the first hundred, then fewer: the whole of it takes minutes."""
    yield from range(1, 100)
    yield from range(100, 500, 7)
    yield from range(500, 100_000, 31)


class catch_interrupts:  # noqa: N801 - used like a function
    def __enter__(self) -> list[BaseException]:
        self.caught: list[BaseException] = []
        return self.caught

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, BaseExceptionGroup):
            assert error.split(KeyboardInterrupt)[1] is None
        elif not isinstance(error, (KeyboardInterrupt, type(None))):
            return False
        self.caught += [error] if error is not None else []
        return True
