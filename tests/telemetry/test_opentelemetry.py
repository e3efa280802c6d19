"""What OpenTelemetry's own SDK gets of a pool."""

from __future__ import annotations

import gc
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.telemetry.stress import module, stress
from trio.testing import wait_all_tasks_blocked

from wasmpool import (
    Caller,
    GuestTrap,
    Module,
    PoolSaturated,
    host_function,
    open_plugin,
    open_pool,
)
from wasmpool.example import PATH
from wasmpool.telemetry import OpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

TRAP: Final = '(module (func (export "f")) (func (export "t") unreachable))'


@attrs.frozen
class Exported:
    """An instrument, and what comes of it."""

    instrument: OpenTelemetry
    reader: InMemoryMetricReader
    exporter: InMemorySpanExporter
    tracers: TracerProvider

    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def points(self, name: str) -> list[Any]:
        """The points of a metric now."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == f"wasmpool.instance.{name}"
            for point in metric.data.data_points
        ]

    def values(self, name: str, attribute: str) -> dict[Any, Any]:
        """The values of a metric now, by an attribute."""
        return {point.attributes.get(attribute): point.value for point in self.points(name)}


@pytest.fixture
def exported() -> Generator[Exported]:
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider([reader]), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield Exported(OpenTelemetry(meters, tracers), reader, exporter, tracers)
    meters.shutdown()
    tracers.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_sums_agree_with_statistics_after_a_stress_run(exported: Exported) -> None:
    """Each count, each sum of seconds, and a span for each call."""
    async with open_pool(
        await module(), size=3, max_waiting=6, name="s", instruments=[exported.instrument]
    ) as pool:
        leases = await stress(pool, calls=600)
        await wait_all_tasks_blocked()
        now = pool.statistics()
        assert exported.values("count", "state") == {
            state: getattr(now, state) for state in ("idle", "leased", "starting", "retiring")
        }
        assert exported.values("max", "pool") == {"s": 3}
        assert exported.values("pending_requests", "pool") == {"s": 0}
        assert exported.values("timeouts", "pool") == {"s": 0}
        for name, histogram in (
            ("wait_time", now.wait_seconds),
            ("use_time", now.lease_seconds),
            ("create_time", now.start_seconds),
        ):
            (point,) = exported.points(name)
            assert point.count == histogram.count > 0
            assert point.sum == pytest.approx(histogram.sum)
        retired = {reason: count for reason, count in now.retired.items() if count}
        assert exported.values("retired", "reason") == retired
        assert {"trap", "cancelled"} <= retired.keys()
        assert now.saturated > 0
    spans = exported.spans()
    calls = [span for span in spans if span.name.startswith("wasmpool.call")]
    waits = [span for span in spans if span.name == "wasmpool.wait"]
    assert len(waits) == now.granted - leases["granted"]
    ends = Counter(attributes(span).get("error.type") for span in calls)
    assert ends["wasmpool_host.GuestTrap"] == now.retired["trap"]
    assert ends["wasmpool.PoolSaturated"] == now.saturated - leases["refused"]
    assert len(calls) == now.asked + leases["granted"] - leases["refused"]


async def test_a_call_is_a_span_with_its_wait_as_its_child(exported: Exported) -> None:
    """It begins with the asking; the wait ends with the grant."""
    instruments = [exported.instrument]
    compiled = await Module.compile(TRAP)
    async with (
        open_pool(compiled, size=1, name="p", instruments=instruments) as pool,
        trio.open_nursery() as nursery,
        pool.lease(),
    ):
        nursery.start_soon(pool.call, "f")
        await wait_all_tasks_blocked()
    wait, call = exported.spans()
    assert (call.name, wait.name) == ("wasmpool.call f", "wasmpool.wait")
    assert attributes(call) == {"pool": "p", "export": "f", "instance": 1}
    assert wait.parent is not None
    assert call.context is not None
    assert wait.parent.span_id == call.context.span_id
    assert call.start_time == wait.start_time
    assert wait.end_time is not None
    assert call.end_time is not None
    assert wait.end_time <= call.end_time
    assert call.status.status_code is trace.StatusCode.UNSET


async def test_a_span_is_below_that_of_the_calling_task(exported: Exported) -> None:
    """And what a host function begins is below the call; each task has its own."""
    tracer = exported.tracers.get_tracer("test")
    outer: dict[str, int] = {}

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        with tracer.start_as_current_span("inside"):
            await trio.lowlevel.checkpoint()

    wat = '(module (import "env" "host" (func $h)) (func (export "f") call $h))'
    compiled = await Module.compile(wat, imports=[host])

    async def request(name: str) -> None:
        with tracer.start_as_current_span(name) as span:
            outer[name] = span.get_span_context().span_id
            await pool.call("f")
            assert trace.get_current_span() is span

    async with (
        open_pool(compiled, size=1, instruments=[exported.instrument]) as pool,
        trio.open_nursery() as nursery,
    ):
        for name in "a", "b", "c":
            nursery.start_soon(request, name)
    spans = exported.spans()
    calls = {
        span.context.span_id: span
        for span in spans
        if span.name == "wasmpool.call f" and span.context is not None
    }
    assert sorted(span.parent.span_id for span in calls.values() if span.parent) == sorted(
        outer.values()
    )
    inside = [span.parent.span_id for span in spans if span.name == "inside" and span.parent]
    assert sorted(inside) == sorted(calls)


async def test_a_call_in_a_host_function_nests(exported: Exported) -> None:
    """The calls of two pools are told apart, also where the inner one is refused."""

    @host_function("env", "host")
    async def host(caller: Caller) -> None:
        async with inner.lease():
            with pytest.raises(PoolSaturated):
                await inner.call("f")
        await inner.call("f")

    wat = '(module (import "env" "host" (func $h)) (func (export "f") call $h))'
    compiled = await Module.compile(wat, imports=[host])
    instruments = [exported.instrument]
    async with (
        open_pool(
            await Module.compile(TRAP), name="inner", size=1, max_waiting=0, instruments=instruments
        ) as inner,
        open_pool(compiled, name="outer", instruments=instruments) as pool,
    ):
        await pool.call("f")
    calls = [span for span in exported.spans() if span.name == "wasmpool.call f"]
    assert [attributes(span)["pool"] for span in calls] == ["inner", "inner", "outer"]
    outermost = calls[2].context
    assert outermost is not None
    assert {span.parent.span_id for span in calls[:2] if span.parent} == {outermost.span_id}
    assert calls[2].parent is None


async def test_an_error_has_its_class_and_nothing_else(exported: Exported) -> None:
    """What was passed, and what the guest said, stays out."""
    async with open_plugin(PATH, size=1, instruments=[exported.instrument]) as plugin:
        secret = "s3cret" * 3
        await plugin.execute("echo", {"message": secret})
        with pytest.raises(GuestTrap):
            await plugin.execute("crash", {"reason": secret})
        await plugin.execute(f"unknown {secret}\n" + "x" * 100_000)
    spans = [span for span in exported.spans() if span.name != "wasmpool.wait"]
    echo, crash, unknown = spans
    assert attributes(echo) == {
        "pool": "example", "plugin": "example", "export": "execute", "tool": "echo", "instance": 1,
    }  # fmt: skip
    assert attributes(crash)["error.type"] == "wasmpool_host.GuestTrap"
    assert crash.status.status_code is trace.StatusCode.ERROR
    assert not any(span.events for span in spans)
    assert secret not in str([echo.to_json(), crash.to_json()])
    assert len(attributes(unknown)["tool"]) <= 128
    assert "\n" not in attributes(unknown)["tool"]
    assert exported.values("max", "plugin") == {}


async def test_metrics_name_the_plugin_of_the_moment(exported: Exported) -> None:
    """A pool that was closed is not collected any more, and is not kept."""
    before = len([each for each in gc.get_objects() if type(each).__name__ == "Pool"])
    async with open_plugin(PATH, size=2, name="a", instruments=[exported.instrument]) as plugin:
        assert exported.values("max", "plugin") == {"a": 2}
        del plugin
    assert exported.points("max") == []
    gc.collect()
    after = len([each for each in gc.get_objects() if type(each).__name__ == "Pool"])
    assert after <= before


@pytest.mark.usefixtures("short_turns")
async def test_metrics_may_be_read_in_another_thread(exported: Exported) -> None:
    """As the SDK's periodic reader does, while calls are made and pools come and go."""
    compiled = await Module.compile(TRAP)
    done = False

    def read() -> int:
        count = 0
        while not done:
            count += len(exported.points("count"))
        return count

    counts: list[int] = []

    async def in_thread() -> None:
        counts.append(await trio.to_thread.run_sync(read))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread)
        for _ in range(10):
            async with open_pool(compiled, instruments=[exported.instrument]) as pool:
                for _ in range(20):
                    await pool.call("f")
        done = True
    (point,) = exported.points("use_time")
    assert point.count == 200
    assert counts


async def test_without_an_sdk_nothing_happens() -> None:
    """The API's own providers record nothing, and calls are as before."""
    compiled = await Module.compile(TRAP)
    async with open_pool(compiled, instruments=[OpenTelemetry()]) as pool:
        await pool.call("f")
        with pytest.raises(GuestTrap):
            await pool.call("t")
        assert pool.statistics().granted == 2
