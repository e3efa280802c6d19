"""A collector for prometheus_client that reads the statistics of pools when it is scraped.

So the calls pay nothing for it. A scrape may come from another thread: all that is read there is a
number, or is copied in one step. The numbers of one scrape can then be of moments that are a call
apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from wasmpool._plugin.loader import Loader
from wasmpool._plugin.plugin import Plugin
from wasmpool._pool.pool import Pool
from wasmpool._pool.pool_state import PoolState

from .bounds import BOUNDS
from .label import label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.core import Metric

    from wasmpool._pool.histogram import Histogram
    from wasmpool._pool.statistics import PoolStatistics

__all__ = ["prometheus_collector"]

Observed: TypeAlias = "Pool | Plugin | Loader"

_GAUGES: Final = {
    "size": "How many instances may be there at once.",
    "waiting": "Tasks that wait for an instance now.",
    "generation": "The number of the generation in service.",
}
_COUNTERS: Final = {
    "started": "Starts of instances that were begun.",
    "reloads": "Reloads that put another generation in service.",
}
_STATES: Final = ("idle", "leased", "starting", "retiring")
_ENDS: Final = (
    "granted", "cancelled", "timed_out", "saturated", "refused_closed", "unavailable", "deadlocked",
    "would_block",
)  # fmt: skip
_HISTOGRAMS: Final = {
    "wait_seconds": "How long tasks waited until they had an instance.",
    "lease_seconds": "How long an instance was leased.",
    "start_seconds": "How long an instance took to start and set up.",
}
_MOST_FAILURES: Final = 1_000  # of a loader; each is a time series


def prometheus_collector(
    observed: Pool | Plugin | Loader | Iterable[Pool | Plugin | Loader],
) -> Collector:
    """Return a collector of the metrics of pools, for a registry of prometheus_client.

    It reads `Pool.statistics` when it is scraped, in whichever thread. The label ``pool`` is the
    pool's name, which for a plugin's is the plugin's; of several with one name the later have
    ``#2``, ``#3`` and so on after it. A pool that is closed is left out.

    Args:
        observed: a `Pool`, a `Plugin`, a `Loader`, whose plugins are those of the moment, or an
            iterable of these, which is read at each scrape unless it is an iterator.

    Raises:
        TypeError: ``observed`` is nothing of these.
    """
    if isinstance(observed, (Pool, Plugin, Loader)):
        return _Collector((observed,))
    if not isinstance(observed, Iterable):
        raise TypeError(
            f"prometheus_collector takes a pool, a plugin, a loader or several, not {observed!r}"
        )
    several = tuple(observed) if iter(observed) is observed else observed
    for each in several:
        _check(each)
    return _Collector(several)


def _check(each: object) -> None:
    if not isinstance(each, (Pool, Plugin, Loader)):
        raise TypeError(f"prometheus_collector takes pools, plugins and loaders, not {each!r}")


@final
class _Collector(Collector):
    """Makes the metrics of a scrape."""

    def __init__(self, observed: Iterable[Observed]) -> None:
        self._observed = observed

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all pools, each with all its samples."""
        taken = self._take()
        for name, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"wasmpool_{name}", text, labels=["pool"])
            for pool, now in taken:
                gauge.add_metric([pool], getattr(now, name))
            yield gauge
        for name, text in _COUNTERS.items():
            counter = CounterMetricFamily(f"wasmpool_{name}", text, labels=["pool"])
            for pool, now in taken:
                counter.add_metric([pool], getattr(now, name))
            yield counter
        yield from _by_kind(taken)
        for name, text in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"wasmpool_{name}", text, labels=["pool"])
            for pool, now in taken:
                values: Histogram = getattr(now, name)
                histogram.add_metric([pool], _cumulative(values), values.sum)
            yield histogram
        yield self._failures()

    def _take(self) -> Sequence[tuple[str, PoolStatistics]]:
        """Return the statistics of each open pool, with its label."""
        seen: Counter[str] = Counter()
        taken: list[tuple[str, PoolStatistics]] = []
        for pool in self._pools():
            now = pool.statistics()
            if now.state is not PoolState.CLOSED:
                name = label(pool.name)
                seen[name] += 1
                taken.append((f"{name} #{seen[name]}" if seen[name] > 1 else name, now))
        return taken

    def _pools(self) -> Iterator[Pool]:
        for each in tuple(self._observed):
            if isinstance(each, Pool):
                yield each
            elif isinstance(each, Plugin):
                yield each.pool
            else:
                for plugin in _plugins(each):
                    yield plugin.pool

    def _failures(self) -> Metric:
        text = "Plugins whose last load or reload failed; 1 for each."
        family = GaugeMetricFamily("wasmpool_plugin_failed", text, labels=["plugin"])
        names: set[str] = set()
        for each in tuple(self._observed):
            if isinstance(each, Loader):
                names.update(label(name) for name in tuple(each.failures))
        for name in sorted(names)[:_MOST_FAILURES]:
            family.add_metric([name], 1)
        return family


def _plugins(loader: Loader) -> Sequence[Plugin]:
    while True:
        try:
            names = list(loader.plugins)
        except RuntimeError:  # one came or went meanwhile, in the loader's thread
            continue
        return [plugin for name in names if (plugin := loader.plugins.get(name)) is not None]


def _by_kind(taken: Sequence[tuple[str, PoolStatistics]]) -> Iterator[Metric]:
    """Yield the metrics with a second label."""
    states = GaugeMetricFamily(
        "wasmpool_instances", "Instances that are there now, by state.", labels=["pool", "state"]
    )
    asks = CounterMetricFamily(
        "wasmpool_asks", "How often an instance was asked for, by the end.", labels=["pool", "end"]
    )
    retired = CounterMetricFamily(
        "wasmpool_retired", "Instances that do not serve any more, by reason.",
        labels=["pool", "reason"],
    )  # fmt: skip
    for pool, now in taken:
        for state in _STATES:
            states.add_metric([pool, state], getattr(now, state))
        for end in _ENDS:
            asks.add_metric([pool, end], getattr(now, end))
        for reason, count in now.retired.items():
            retired.add_metric([pool, reason], count)
    yield from (states, asks, retired)


def _cumulative(values: Histogram) -> list[Any]:
    """Return how many values are not above each bound.

    A bucket of the pool's own may lie across a bound. Its values count as above it: a bound is off
    by 6 % at most.
    """
    counts = [0] * (len(BOUNDS) + 1)
    for upper, count in values.buckets:
        counts[bisect_left(BOUNDS, upper)] += count
    bounds = [*map(floatToGoString, BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))
