"""What it costs to observe a pool: a short call without instruments, and with each kind of them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from prometheus_client import CollectorRegistry

from bench._guests import EXAMPLE
from bench._load import per_call
from bench._plot import Line, Plot
from bench._results import Sample
from bench._scenario import Bound, Case, Column, Scenario
from wasmpool import Instrument, open_plugin
from wasmpool.telemetry import OpenTelemetry, prometheus_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from bench._effort import Effort
    from bench._results import Results
    from bench._scenario import Round
    from wasmpool import Plugin

__all__ = ["SCENARIO"]

_NONE: Final = "nothing"
_PROMETHEUS: Final = "prometheus_collector"
_HOOKS: Final = "an instrument that does nothing"
_METRICS: Final = "OpenTelemetry, no span sampled"
_SPANS: Final = "OpenTelemetry, each span recorded"
_CASES: Final = (_NONE, _PROMETHEUS, _HOOKS, _METRICS, _SPANS)
_CONTENDER: Final = "wasmpool"


def _cases(_effort: Effort) -> list[Case]:
    return [Case(name, (_CONTENDER,)) for name in _CASES]


def _instruments(case: str) -> Sequence[Instrument]:
    if case == _HOOKS:
        return [Instrument()]
    if case in {_METRICS, _SPANS}:
        sampler = ALWAYS_ON if case == _SPANS else ALWAYS_OFF
        meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
        tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        return [OpenTelemetry(meters, tracers)]
    return []


@asynccontextmanager
async def _open(_contender: str, effort: Effort) -> AsyncGenerator[Round]:
    async with AsyncExitStack() as stack:
        opened: dict[str, Plugin] = {}
        registry = CollectorRegistry()

        async def measure(case: str) -> Sample:
            if case not in opened:
                opening = open_plugin(EXAMPLE, size=4, instruments=_instruments(case))
                opened[case] = await stack.enter_async_context(opening)
                if case == _PROMETHEUS:
                    registry.register(prometheus_collector(opened[case]))
            plugin = opened[case]

            async def step() -> Any:
                return await plugin.execute("echo", {"message": 1})

            return Sample({"us": await per_call(step, 1, effort.seconds)})

        yield measure


def _bounds(results: Results) -> Sequence[Bound]:
    def times(case: str) -> float | None:
        return results.ratio("us", (case, _CONTENDER), (_NONE, _CONTENDER))

    return [
        Bound("with a Prometheus collector, of a call without", times(_PROMETHEUS), at_most=1.2),
        Bound("with OpenTelemetry's metrics, of a call without", times(_METRICS), at_most=6),
        Bound("with a recorded span, of a call without", times(_SPANS), at_most=10),
    ]


def _plots(results: Results) -> Sequence[Plot]:
    cases = list(results.samples)
    values = [results.median(case, _CONTENDER, "us") or 0 for case in cases]
    line = Line(list(range(len(cases))), values)
    return [Plot(title="Telemetry", x="observed by", y="us", lines={_CONTENDER: line}, bars=cases)]


SCENARIO: Final = Scenario(
    name="telemetry",
    measures="A plugin's `execute` of some microseconds by one task, with what observes its pool.",
    objection=(
        "The spans go nowhere: an exporter takes time of its own, in a thread. And a call that"
        " takes a millisecond hardly notices any of this."
    ),
    cases=_cases,
    open=_open,
    columns=[Column("us", "us a call")],
    bounds=_bounds,
    plots=_plots,
)
