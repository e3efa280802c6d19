"""How many commands of each part of the suite passed, were refused, or failed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.spec.verdict import Verdict

__all__ = ["Tally"]


class Tally:
    """Counts of verdicts, by part of the suite."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, part: str, verdict: Verdict) -> None:
        """Count one command."""
        self._counts[part, str(verdict)] += 1

    def table(self) -> str:
        """A row for each part and verdict, and one for all parts."""
        rows = [*sorted(self._counts.items()), *self._totals()]
        return "\n".join(f"{part:30}{verdict:55}{count:>8,}" for (part, verdict), count in rows)

    def _totals(self) -> list[tuple[tuple[str, str], int]]:
        totals: Counter[str] = Counter()
        for (_, verdict), count in self._counts.items():
            totals[verdict] += count
        named = [(("all", verdict), count) for verdict, count in totals.most_common()]
        return [*named, (("all", "commands"), totals.total())]
