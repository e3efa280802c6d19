"""What a scrape says of pools, read by prometheus_client's own parser."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from tests.telemetry.stress import module, stress
from trio.testing import wait_all_tasks_blocked

from wasmpool import Module, open_loader, open_plugin, open_pool
from wasmpool.example import PATH
from wasmpool.telemetry import prometheus_collector

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.registry import Collector

to_text = cast("Any", generate_latest)
families_of = cast("Any", text_string_to_metric_families)
EMPTY = '(module (func (export "f")))'


def scrape(collector: Collector) -> dict[tuple[Any, ...], float]:
    """The samples by name and labels; each is there once."""
    registry = CollectorRegistry()
    registry.register(collector)
    text = to_text(registry).decode()
    found: dict[tuple[Any, ...], float] = {}
    for family in families_of(text):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def named(found: dict[tuple[Any, ...], float], name: str) -> dict[Any, float]:
    """The samples of one name, by the values of their labels without the pool's."""
    return {
        tuple(value for label, value in key[1:] if label != "pool"): value
        for key, value in found.items()
        if key[0] == f"wasmpool_{name}"
    }


async def test_sums_agree_with_statistics_after_a_stress_run() -> None:
    """Each number of `PoolStatistics`, its histograms too."""
    async with open_pool(await module(), size=3, max_waiting=6, name="s") as pool:
        await stress(pool, calls=600)
        await wait_all_tasks_blocked()
        found, now = scrape(prometheus_collector(pool)), pool.statistics()
    for name in "size", "waiting", "generation":
        assert named(found, name) == {(): getattr(now, name)}
    for name in "started", "reloads":
        assert named(found, f"{name}_total") == {(): getattr(now, name)}
    states = named(found, "instances")
    assert states == {(each,): getattr(now, each) for (each,) in states}
    assert sum(states.values()) == now.started - now.closed
    asks = named(found, "asks_total")
    assert asks == {(each,): getattr(now, each) for (each,) in asks}
    assert sum(asks.values()) == now.asked
    assert named(found, "retired_total") == {(each,): n for each, n in now.retired.items()}
    for name in "wait_seconds", "lease_seconds", "start_seconds":
        histogram = getattr(now, name)
        assert named(found, f"{name}_count") == {(): histogram.count}
        assert named(found, f"{name}_sum") == {(): pytest.approx(histogram.sum)}
        buckets = named(found, f"{name}_bucket")
        assert buckets["+Inf",] == histogram.count > 0
        for (bound,), count in buckets.items():
            lower = sum(n for upper, n in histogram.buckets if upper <= float(bound))
            assert count == lower
        values = [count for _, count in sorted((float(each), n) for (each,), n in buckets.items())]
        assert values == sorted(values)


async def test_it_is_valid_as_openmetrics() -> None:
    """The stricter format is accepted by its parser."""
    registry = CollectorRegistry()
    async with open_pool(await Module.compile(EMPTY), name='a"\\\n\x1b') as pool:
        await pool.call("f")
        registry.register(prometheus_collector(pool))
        text = openmetrics.generate_latest(registry).decode()  # type: ignore[no-untyped-call]  # it has no types
    parsed = openmetrics_families(text)  # type: ignore[no-untyped-call]  # nor has this
    families = {family.name: family for family in parsed}
    assert families["wasmpool_lease_seconds"].type == "histogram"
    assert families["wasmpool_size"].samples[0].labels == {"pool": 'a"\\\\n\\x1b'}


async def test_pools_of_one_name_are_told_apart() -> None:
    """Two series with the same labels would be refused; a closed pool is left out."""
    compiled = await Module.compile(EMPTY)
    async with open_pool(compiled, name="p") as first, open_pool(compiled, name="p") as second:
        collector = prometheus_collector([first, second])
        assert {key[1][1] for key in scrape(collector) if key[0] == "wasmpool_size"} == {
            "p",
            "p #2",
        }
        await first.aclose()
        assert {key[1][1] for key in scrape(collector) if key[0] == "wasmpool_size"} == {"p"}


async def test_a_loader_is_the_plugins_of_the_moment(tmp_path: Path) -> None:
    """And those that failed to load; a plugin alone is its pool."""
    broken = tmp_path / "broken.wasm"
    broken.write_bytes(b"\0asm\1\0\0\0")
    async with open_loader(size=1) as loader:
        collector = prometheus_collector(loader)
        assert named(scrape(collector), "size") == {}
        plugin = await loader.load(PATH, name="one")
        assert ("wasmpool_size", ("pool", "one")) in scrape(collector)
        assert ("wasmpool_size", ("pool", "one")) in scrape(prometheus_collector(plugin))
        with pytest.raises(Exception, match="broken"):
            await loader.load(broken, name="bad")
        assert named(scrape(collector), "plugin_failed") == {("bad",): 1}
        await loader.unload("one")
        assert named(scrape(collector), "size") == {}


async def test_an_iterable_is_read_at_each_scrape() -> None:
    """So a list may grow; what an iterator has is kept."""
    compiled = await Module.compile(EMPTY)
    async with open_pool(compiled, name="a") as first, open_plugin(PATH, size=1) as plugin:
        growing: list[Any] = [first]
        collector = prometheus_collector(growing)
        kept = prometheus_collector(iter([first]))
        growing.append(plugin)
        for _ in range(2):
            assert len([key for key in scrape(collector) if key[0] == "wasmpool_size"]) == 2
            assert len([key for key in scrape(kept) if key[0] == "wasmpool_size"]) == 1


@pytest.mark.parametrize(
    ("observed", "says"), [(5, "a pool, a plugin, a loader or several, not 5"), ([5], "not 5")]
)
def test_other_things_are_refused(observed: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        prometheus_collector(observed)


@pytest.mark.usefixtures("short_turns")
async def test_a_scrape_may_come_from_another_thread(tmp_path: Path) -> None:
    """While calls are made, and plugins come and go."""
    done = False

    async with open_loader(size=1) as loader:
        collector = prometheus_collector(loader)

        def scrapes() -> int:
            count = 0
            while not done:
                found = scrape(collector)
                for key, value in found.items():
                    if key[0].endswith("_bucket") and ("le", "+Inf") in key:
                        name = key[0].removesuffix("_bucket") + "_count"
                        assert (
                            value == found[(name, *(each for each in key[1:] if each[0] != "le"))]
                        )
                count += 1
            return count

        counts: list[int] = []

        async def in_thread() -> None:
            counts.append(await trio.to_thread.run_sync(scrapes))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread)
            for number in range(4):
                plugin = await loader.load(PATH, name=f"p{number}")
                for _ in range(10):
                    await plugin.execute("echo", {"message": 1})
                if number % 2:
                    await loader.unload(f"p{number}")
            done = True
    assert counts[0] > 0


async def test_buckets_add_up() -> None:
    """Their bounds rise; the values of one are within a sixteenth of its bound."""
    async with open_pool(await module()) as pool:
        await stress(pool, calls=120)
        for histogram in (pool.statistics().wait_seconds, pool.statistics().lease_seconds):
            bounds = [bound for bound, _ in histogram.buckets]
            assert bounds == sorted(set(bounds))
            assert sum(count for _, count in histogram.buckets) == histogram.count
            most = sum(bound * count for bound, count in histogram.buckets)
            assert histogram.sum <= most <= histogram.sum * 16 / 15 or math.isclose(
                most, histogram.sum
            )
