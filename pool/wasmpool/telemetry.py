"""Metrics and traces of pools: for OpenTelemetry as they happen, for Prometheus when it asks.

It needs the extra ``telemetry``, and nothing else of the package imports it.
"""

from __future__ import annotations

try:
    from ._telemetry.opentelemetry import OpenTelemetry
    from ._telemetry.prometheus import prometheus_collector
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] not in {"opentelemetry", "prometheus_client"}:
        raise
    raise ModuleNotFoundError(
        f"wasmpool.telemetry needs {_missing.name}, which is not installed:"
        ' pip install "wasmpool[telemetry]"',
        name=_missing.name,
    ) from _missing

__all__ = ["OpenTelemetry", "prometheus_collector"]

for _each in (OpenTelemetry, prometheus_collector):
    _each.__module__ = __name__  # where users import them from
