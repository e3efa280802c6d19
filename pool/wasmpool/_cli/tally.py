"""The counts of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .output_row import OutputRow

__all__ = ["Tally"]


@final
@attrs.define(eq=False)
class Tally:
    """Counts of what has been written."""

    calls: int = attrs.field(init=False, default=0)
    """Answered lines, including those that were too broken for a call."""
    failures: int = attrs.field(init=False, default=0)
    size: int = attrs.field(init=False, default=0)
    """Bytes of the answered input."""
    seconds: float = attrs.field(init=False, default=0.0)
    """From the start to the end; 0 before the end."""
    _began: float = attrs.field(init=False, default=0.0)

    def start(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self._began

    def count(self, rows: Iterable[OutputRow]) -> None:
        """Count rows that have been written."""
        for row in rows:
            self.calls += 1
            self.failures += row.failed
            self.size += row.size
