"""The counts of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wasmpool._batch.ordered import Done

    from .kept_rows import KeptRows

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
    kept: int = attrs.field(init=False, default=0)
    """Lines that an earlier run has answered."""
    kept_failures: int = attrs.field(init=False, default=0)
    seconds: float = attrs.field(init=False, default=0.0)
    """From the start to the end; 0 before the end."""
    _began: float = attrs.field(init=False, default=0.0)

    def go_on(self, kept: KeptRows, size: int) -> None:
        """Note the rows of an earlier run, and the bytes of their lines."""
        self.kept, self.kept_failures, self.size = kept.count, kept.failures, size

    def start(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self._began

    def count(self, done: Iterable[Done]) -> None:
        """Count rows that have been written."""
        for each in done:
            self.calls += each.rows.count
            self.failures += len(each.rows.failed)
            self.size += each.size
