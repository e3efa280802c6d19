"""An instrument that tells OpenTelemetry of a pool.

Its metrics are those of OpenTelemetry's conventions for pools of database connections, of instances
instead of connections. Counts of what is there now are read from `Pool.statistics` when they are
collected, which another thread may do; durations are recorded as they end.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias, final
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace
from opentelemetry.metrics import Observation

from wasmpool._pool.instruments import Instrument
from wasmpool._pool.pool_state import PoolState

from .bounds import BOUNDS
from .label import label
from .open_call import OpenCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

    from wasmpool._pool.pool import Pool
    from wasmpool._pool.statistics import LeaseInfo, PoolStatistics

__all__ = ["OpenTelemetry"]

_Attributes: TypeAlias = "Mapping[str, AttributeValue]"

_SCOPE: Final = "wasmpool"
_STATES: Final = ("idle", "leased", "starting", "retiring")


@final
class OpenTelemetry(Instrument):
    """An instrument for ``instruments=`` that records metrics and traces with OpenTelemetry.

    One is enough for all pools, plugins and loaders of a process. Metrics have the attributes
    ``pool`` and, for a plugin's, ``plugin``. Each call is a span, below the one that is current in
    its task, with the wait for its instance as a child. A span has the attributes ``export``,
    ``tool`` where a plugin runs one, ``instance``, and ``error.type`` for a call that raised:
    neither arguments, results nor messages are recorded.

    Args:
        meter_provider: where metrics go; None for the process's own.
        tracer_provider: where spans go; None for the process's own.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._call: ContextVar[OpenCall | None] = ContextVar("wasmpool_call", default=None)
        self._lock = Lock()
        self._pools: WeakKeyDictionary[Pool, tuple[str, _Attributes]] = WeakKeyDictionary()
        """The name and the attributes of each pool that was seen; changed under the lock."""
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        meter.create_observable_up_down_counter(
            "wasmpool.instance.count", [self._observe_states], "{instance}",
            "Instances that are there now, by state.",
        )  # fmt: skip
        meter.create_observable_up_down_counter(
            "wasmpool.instance.max", [self._observer(lambda now: now.size)], "{instance}",
            "How many instances may be there at once.",
        )  # fmt: skip
        meter.create_observable_up_down_counter(
            "wasmpool.instance.pending_requests", [self._observer(lambda now: now.waiting)],
            "{request}", "Tasks that wait for an instance now.",
        )  # fmt: skip
        meter.create_observable_counter(
            "wasmpool.instance.timeouts", [self._observer(lambda now: now.timed_out)],
            "{timeout}", "Tasks that have waited for max_wait, and got no instance.",
        )  # fmt: skip
        self._wait_time = meter.create_histogram(
            "wasmpool.instance.wait_time", "s", "How long tasks waited until they had an instance.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )  # fmt: skip
        self._use_time = meter.create_histogram(
            "wasmpool.instance.use_time", "s", "How long an instance was leased.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )  # fmt: skip
        self._create_time = meter.create_histogram(
            "wasmpool.instance.create_time", "s", "How long an instance took to start and set up.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )  # fmt: skip
        self._retired = meter.create_counter(
            "wasmpool.instance.retired", "{instance}", "Instances that do not serve any more."
        )

    # --- hooks ---

    def instance_started(self, pool: Pool, instance: int, generation: int, seconds: float) -> None:
        """Record how long the start took."""
        self._create_time.record(seconds, self._attributes(pool))

    def instance_retired(self, pool: Pool, instance: int, generation: int, reason: str) -> None:
        """Count it."""
        self._retired.add(1, {**self._attributes(pool), "reason": reason})

    def call_started(self, pool: Pool, export: str, tool: str | None) -> None:
        """Begin the call's span."""
        attributes = {**self._attributes(pool), "export": label(export)}
        name = f"wasmpool.call {attributes['export']}"
        if tool is not None:
            attributes["tool"] = label(tool)
            name = f"wasmpool.execute {attributes['tool']}"
        self._call.set(OpenCall(self._tracer, name, attributes, self._call.get()))

    def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
        """Record the wait, and end its span."""
        self._wait_time.record(waited, self._attributes(pool))
        call = self._call.get()
        if call is not None:
            call.granted(lease.instance)

    def call_ended(
        self, pool: Pool, export: str, seconds: float, error: BaseException | None
    ) -> None:
        """End the call's span."""
        call = self._call.get()
        if call is not None:
            self._call.set(call.outer)
            call.end(error)

    def lease_ended(self, pool: Pool, lease: LeaseInfo, held: float) -> None:
        """Record how long it lasted."""
        self._use_time.record(held, self._attributes(pool))

    def waiting(self, pool: Pool, waiting: int) -> None:
        """See a pool that has started no instance yet."""
        self._attributes(pool)

    # --- what is read when it is collected ---

    def _attributes(self, pool: Pool) -> _Attributes:
        """Return the attributes of a pool, whose name may change with a reload."""
        known = self._pools.get(pool)
        if known is not None and known[0] == pool.name:
            return known[1]
        name = label(pool.name)
        attributes: dict[str, AttributeValue] = {"pool": name}
        if pool._core.options.of_plugin:  # noqa: SLF001 - users know a plugin by its pool
            attributes["plugin"] = name
        with self._lock:
            self._pools[pool] = pool.name, attributes
        return attributes

    def _taken(self) -> Iterator[tuple[PoolStatistics, _Attributes]]:
        with self._lock:
            pools = tuple(self._pools.items())
        for pool, (_, attributes) in pools:
            now = pool.statistics()
            if now.state is not PoolState.CLOSED:
                yield now, attributes

    def _observe_states(self, _: CallbackOptions) -> Iterator[Observation]:
        for now, attributes in self._taken():
            for state in _STATES:
                yield Observation(getattr(now, state), {**attributes, "state": state})

    def _observer(
        self, value: Callable[[PoolStatistics], int]
    ) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for now, attributes in self._taken():
                yield Observation(value(now), attributes)

        return observe
