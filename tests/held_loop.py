"""How long the loop was held, as an instrument of trio sees it."""

from __future__ import annotations

import contextlib
import gc
import time
from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["HELD", "Longest", "LongestStep", "watching"]

HELD: Final = 0.05
"""CPU seconds that are too many. Some 3 ms are measured, and 100 ms and more without bounds."""


@final
class Longest(trio.abc.Instrument):
    """The most CPU time that the loop's thread spent without looking at the rest of the world."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        del timeout
        self.seconds = max(self.seconds, time.thread_time() - self._since)

    def after_io_wait(self, timeout: float) -> None:
        del timeout
        self._since = time.thread_time()


@final
class LongestStep(trio.abc.Instrument):
    """The most CPU time that one task spent between two of its checkpoints.

    For tests of many tasks: how many of them are ready at the same time depends on the machine.
    """

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, time.thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self._since = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.seconds = max(self.seconds, time.thread_time() - self._since)


@contextlib.contextmanager
def watching(
    kind: type[Longest | LongestStep] = Longest,
) -> Generator[Longest | LongestStep, None, None]:
    """Measure the block, without what the collector takes to look at what all tests have made.

    It stays hidden afterwards: `pytest_collection_finish` hides the tests from all collections.
    """
    gc.collect()
    gc.freeze()
    longest = kind()
    trio.lowlevel.add_instrument(longest)
    try:
        yield longest
    finally:
        trio.lowlevel.remove_instrument(longest)
