"""How long and how often a run of the benchmarks measures."""

from __future__ import annotations

import os
import statistics
import time
from typing import Final, Self

import attrs

from bench.contenders import _wheel

__all__ = ["Effort", "cpus"]

_CALIBRATED_WITH: Final = 2_000_000  # rounds of `spin`: a few milliseconds


def cpus() -> int:
    """The number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@attrs.frozen(kw_only=True)
class Effort:
    """The settings of each scenario, in each process.

    Attributes:
        quick: fewer cases, for a rough result.
        rounds: how often each contender is measured.
        seconds: the approximate time of a round of repeated calls.
        spins_per_ms: iterations of the guest's ``spin`` in one millisecond on this machine.
    """

    quick: bool
    rounds: int
    seconds: float
    spins_per_ms: int

    @classmethod
    def of(cls, *, quick: bool) -> Self:
        """The settings for this machine; measured once, so that all contenders compute the same."""
        spins = _measure_spin()
        if quick:
            return cls(quick=True, rounds=3, seconds=0.1, spins_per_ms=spins)
        return cls(quick=False, rounds=7, seconds=0.4, spins_per_ms=spins)

    def spins(self, milliseconds: float) -> int:
        """The argument of ``spin`` for about this many milliseconds."""
        return max(1, round(self.spins_per_ms * milliseconds))


def _measure_spin() -> int:
    guest = _wheel.Guest(_wheel.Calls(epochs=True))
    guest.allow_ticks()
    taken = []
    for _ in range(9):
        began = time.perf_counter()
        guest.call("spin", _CALIBRATED_WITH)
        taken.append(time.perf_counter() - began)
    return round(_CALIBRATED_WITH / statistics.median(taken) / 1_000)
