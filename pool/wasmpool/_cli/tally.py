"""What a run has done so far."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .window import Row

__all__ = ["Tally"]


@final
@attrs.define(eq=False)
class Tally:
    """Counts of a run, of what is written."""

    calls: int = attrs.field(init=False, default=0)
    """Lines answered, those among them that were too broken for a call."""
    failures: int = attrs.field(init=False, default=0)
    size: int = attrs.field(init=False, default=0)
    """Bytes of the input that were answered."""
    seconds: float = attrs.field(init=False, default=0.0)
    """From the start to the end; 0 before that."""
    _began: float = attrs.field(init=False, default=0.0)

    def start(self) -> None:
        """The clock starts here."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """And ends here."""
        self.seconds = time.perf_counter() - self._began

    def count(self, rows: Iterable[Row]) -> None:
        """Add `rows`, just written."""
        for row in rows:
            self.calls += 1
            self.failures += row.failed
            self.size += row.size
