"""What schedules the guests of one trio run, found in one step: each new instance needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from trio.lowlevel import RunVar

from .epoch_ticker import ticker_of_this_run
from .loop_budget import budget_of_this_run
from .placement import placement_of_this_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from .epoch_ticker import Ticker
    from .loop_budget import LoopBudget
    from .placement import Placement

__all__ = ["RunScheduling", "scheduling_of_this_run"]


@final
class RunScheduling:
    """The ticker, the loop's budget and the placement of one trio run."""

    __slots__ = ("budget", "placement", "ticker")

    def __init__(self, advance_epochs: Callable[[], None]) -> None:
        self.ticker: Ticker = ticker_of_this_run(advance_epochs)
        self.budget: LoopBudget = budget_of_this_run()
        self.placement: Placement = placement_of_this_run()


_of_this_run: RunVar[RunScheduling] = RunVar("wasmpool_scheduling")


def scheduling_of_this_run(advance_epochs: Callable[[], None]) -> RunScheduling:
    """The scheduling of the current trio run; its ticker advances the epochs of all engines."""
    try:
        return _of_this_run.get()
    except LookupError:
        scheduling = RunScheduling(advance_epochs)
        _of_this_run.set(scheduling)
        return scheduling
