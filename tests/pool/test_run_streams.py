"""A program between two streams: any amount passes through it, at the pace of its reader."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trio.testing
from tests.held_loop import watching
from tests.measured import linux
from tests.pool.seams import retired, settle

from wasmpool import Module, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.abc import ReceiveStream, SendStream

    from wasmpool import Pool

PROGRAM: Final = Path(__file__).parents[1] / "guests" / "c_program.wasm"
MIB: Final = 1 << 20
PIECE: Final = 64 << 10

LATE: Final = 0.025
"""Seconds that the loop may be late by."""

HELD_BY_STREAMS: Final = 8 * PIECE
"""Two pipes of the system, a piece in each direction, and what the tasks at their ends hold."""


def pipe() -> tuple[SendStream, ReceiveStream]:
    """A pipe of the system, as to a subprocess."""
    reading, writing = os.pipe()
    return trio.lowlevel.FdStream(writing), trio.lowlevel.FdStream(reading)


@pytest.fixture
async def pool() -> AsyncGenerator[Pool]:
    async with open_pool(await Module.compile(PROGRAM), size=2) as pool:
        yield pool


class Passage:
    """What goes through a program, with a feeder and a slow reader at its ends."""

    def __init__(self) -> None:
        self.feeder, self.stdin = pipe()
        self.stdout, self.reader = pipe()
        self.sent = self.received = self.most_ahead = 0
        self.is_resting = False
        """While the reader rests, everybody waits for it."""

    async def feed(self, size: int) -> None:
        async with self.feeder:
            while self.sent < size:
                piece = self.sent.to_bytes(8, "little") * (PIECE // 8)
                await self.feeder.send_all(piece)
                self.sent += len(piece)

    async def copy(self, pool: Pool) -> None:
        """Both ends are the caller's, who closes them, however the run ends."""
        async with self.stdin, self.stdout:
            done = await pool.run(["program", "cat"], stdin=self.stdin, stdout=self.stdout)
        assert done.returncode == 0

    async def read_slowly(self) -> None:
        """Read to the end, and rest after each megabyte."""
        expected = bytearray()
        async with self.reader:
            while data := await self.reader.receive_some(PIECE // 4):
                while len(expected) < len(data):
                    at = (self.received + len(expected)) // PIECE * PIECE
                    expected += at.to_bytes(8, "little") * (PIECE // 8)
                assert data == expected[: len(data)]
                del expected[: len(data)]
                before, self.received = self.received // MIB, self.received + len(data)
                self.most_ahead = max(self.most_ahead, self.sent - self.received)
                if self.received // MIB > before:
                    await self._rest()

    async def _rest(self) -> None:
        self.is_resting = True
        await trio.sleep(0.03)
        self.is_resting = False


class Lateness:
    """How late a task wakes that sleeps for a moment: the worst of each stretch of work and rest.

    What is late in rest is so by the machine, and not by what passes through the program. So are
    the worst stretches of work; what the program does, it does in all of them.
    """

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._worst: dict[bool, list[float]] = {False: [0.0], True: []}

    async def watch(self) -> None:
        was_resting = False
        while True:
            due = trio.current_time() + 0.001
            await trio.sleep_until(due)
            resting = self._passage.is_resting
            if resting != was_resting:
                self._worst[resting].append(0.0)
                was_resting = resting
            of_this = self._worst[resting]
            of_this[-1] = max(of_this[-1], trio.current_time() - due)

    @property
    def by_the_program(self) -> float:
        """Seconds."""
        work, rest = (quantiles(self._worst[resting], n=4)[0] for resting in (False, True))
        return work - rest


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@linux
@pytest.mark.parametrize("size", [8 * MIB, pytest.param(100 * MIB, marks=pytest.mark.slow)])
async def test_any_amount_passes_in_bounded_memory(pool: Pool, size: int) -> None:
    """Byte for byte, at the pace of a slow reader, and the loop is never late by it."""
    passage = Passage()
    lateness = Lateness(passage)
    assert (await pool.run(["program", "cat"], stdin=b"x")).stdout == b"x"  # all is in memory
    before = most = resident()

    async def weigh() -> None:
        nonlocal most
        while True:
            most = max(most, resident())
            await trio.sleep(0.02)

    with watching() as longest:
        async with trio.open_nursery() as watchers:
            watchers.start_soon(lateness.watch)
            watchers.start_soon(weigh)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(passage.feed, size)
                nursery.start_soon(passage.copy, pool)
                nursery.start_soon(passage.read_slowly)
            watchers.cancel_scope.cancel()
    assert passage.sent == passage.received == size
    assert passage.most_ahead <= HELD_BY_STREAMS
    assert most - before < 4 * MIB
    assert longest.seconds < LATE
    assert lateness.by_the_program < LATE


@pytest.mark.parametrize("waits_for", ["its reader", "its input"])
async def test_a_cancel_in_the_middle_is_told_to_both_ends(pool: Pool, waits_for: str) -> None:
    """The run ends at once, its caller closes the streams, and nobody hangs."""
    passage = Passage()
    told: list[str] = []

    async def feed_until_told() -> None:
        async with passage.feeder:
            try:
                while waits_for == "its reader" or passage.sent < PIECE:
                    await passage.feeder.send_all(bytes(PIECE))
                    passage.sent += PIECE
                await cancelled.wait()
                await passage.feeder.send_all(bytes(PIECE))
            except trio.BrokenResourceError:
                told.append("feeder")

    async def run() -> None:
        with scope:
            await passage.copy(pool)
        assert scope.cancelled_caught
        cancelled.set()

    scope, cancelled = trio.CancelScope(), trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, passage.reader:
            nursery.start_soon(feed_until_told)
            nursery.start_soon(run)
            received = len(await passage.reader.receive_some(PIECE))
            await trio.testing.wait_all_tasks_blocked(0.01)
            scope.cancel()
            await cancelled.wait()
            while data := await passage.reader.receive_some(PIECE):
                received += len(data)
            told.append("reader")
    assert sorted(told) == ["feeder", "reader"]
    assert 0 < received <= passage.sent + PIECE
    assert (await pool.run(["program", "cat"], stdin=b"on")).stdout == b"on"
    await settle(pool)
    assert retired(pool) == {"cancelled": 1, "finished": 1}
