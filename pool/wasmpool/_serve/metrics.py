"""The metrics of a server in Prometheus's text format; those of several workers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import attrs
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from wasmpool.telemetry import prometheus_collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.metrics_core import Metric

    from wasmpool import Loader
    from wasmpool._mcp.endpoint import Endpoint

__all__ = ["CONTENT_TYPE", "Metrics", "merged_metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@final
class Metrics:
    """The metrics of the plugins of a loader, of the calls of clients, and of the process.

    Args:
        loader: whose plugins they are.
        endpoint: of the clients.
        measures_process: False where another server in this process tells of that.
    """

    def __init__(self, loader: Loader, endpoint: Endpoint, *, measures_process: bool) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(prometheus_collector(loader))
        self._registry.register(_Server(loader, endpoint))
        if measures_process:
            ProcessCollector(registry=self._registry)

    def text(self) -> str:
        """Return all of them as they are now."""
        return generate_latest(self._registry).decode()


@final
@attrs.frozen(eq=False)  # a registry compares collectors by identity
class _Server(Collector):
    """What the pools do not know."""

    loader: Loader
    endpoint: Endpoint

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "wasmpool_serve_calls", "Calls of clients under way.", self.endpoint.calls
        )
        yield GaugeMetricFamily(
            "wasmpool_serve_plugins", "Plugins that serve.", len(self.loader.plugins)
        )


def merged_metrics(workers: Mapping[str, str | None]) -> str:
    """Return the metrics of several workers as one text, each sample with its ``worker``."""
    if set(workers) == {""} and (only := workers[""]) is not None:
        return only
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(workers))
    return generate_latest(registry).decode()


@final
@attrs.frozen(eq=False)  # a registry compares collectors by identity
class _Merged(Collector):
    workers: Mapping[str, str | None]

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        up = GaugeMetricFamily("wasmpool_serve_worker_up", "1 if it answers.", labels=["worker"])
        for worker, text in self.workers.items():
            up.add_metric([worker], float(text is not None))
            for family in text_string_to_metric_families(text or ""):
                samples = [
                    each._replace(labels={**each.labels, "worker": worker})
                    for each in family.samples
                ]
                known = families.setdefault(family.name, family)
                known.samples = samples if known is family else [*known.samples, *samples]
        return [up, *families.values()]
