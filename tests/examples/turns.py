"""Two ways to do the same, measured in turns."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Turns", "compare"]


@attrs.frozen
class Turns:
    """How long one of the two took in its turns, in seconds."""

    wall: list[float] = attrs.field(factory=list[float])
    cpu: list[float] = attrs.field(factory=list[float])

    @contextlib.contextmanager
    def turn(self) -> Generator[None]:
        """Measure one turn."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def compare(what: str, ours: Turns, theirs: Turns) -> None:
    """Fail if the best of our turns took more CPU time than the best of theirs.

    Wall time is only printed: of a busy machine the one with more threads gets more.
    """
    wall, cpu = min(ours.wall) / min(theirs.wall), min(ours.cpu) / min(theirs.cpu)
    print(f"{what}: {min(ours.wall):.3f} s, {wall:.2f} of theirs, {cpu:.2f} of their CPU time")
    assert cpu <= 1
