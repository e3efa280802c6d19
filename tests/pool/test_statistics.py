"""What a pool tells about itself: counts, messages, leases, leaks, hooks."""

from __future__ import annotations

import ast
import inspect
import itertools
import logging
import math
import re
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given
from tests.pool.fakes import FakeModule, Trap
from tests.pool.seams import active_instruments
from trio.testing import MockClock, wait_all_tasks_blocked

from wasmpool._pool import histogram as histogram_module
from wasmpool._pool import statistics
from wasmpool._pool.histogram import snapshot
from wasmpool._pool.instruments import Instrument
from wasmpool._pool.pool import Pool, open_pool
from wasmpool._pool.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from wasmpool._pool.statistics import LeaseInfo


async def test_repr_shows_counts(module: FakeModule) -> None:
    """The name is the module's unless one is given."""
    async with open_pool(module, size=8, min_size=2) as pool, trio.open_nursery() as nursery:
        assert repr(pool) == "<Pool 'fake' open gen=1: 0 leased, 2 idle, 0 waiting, size 8>"
        await pool.resize(1)
        release = trio.Event()
        for _ in range(3):
            nursery.start_soon(pool.call, "wait", release)
        await wait_all_tasks_blocked()
        assert repr(pool) == "<Pool 'fake' open gen=1: 1 leased, 0 idle, 2 waiting, size 1>"
        release.set()


async def test_statistics_are_a_frozen_snapshot(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """What happens later does not change it; times are in seconds."""
    async with open_pool(module, size=1) as pool:
        before = pool.statistics()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(pool.call, "sleep", 2)
        after = pool.statistics()
        assert before.asked == before.wait_seconds.count == 0
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            before.asked = 1  # type: ignore[misc]
        assert (after.asked, after.granted, after.started) == (4, 4, 1)
        assert after.wait_seconds.sum == pytest.approx(0 + 2 + 4 + 6)
        assert after.lease_seconds.count == 4
        assert after.lease_seconds.quantile(0.5) == pytest.approx(2, rel=0.04)
        assert after.start_seconds.count == 1


async def test_leases_say_who_holds_what_since_when_and_where(
    module: FakeModule, autojump_clock: MockClock
) -> None:
    """The oldest first."""
    async with open_pool(module, size=2) as pool, trio.open_nursery() as nursery:
        await pool.call("echo", 1)
        nursery.start_soon(pool.call, "sleep", 3, name="first")
        await trio.sleep(1)

        async def second() -> None:
            async with pool.lease() as lease:
                await lease.call("sleep", 3)

        nursery.start_soon(second, name="second")
        await trio.sleep(1)
        first, other = pool.leases()
        assert (first.holder, first.since, first.uses, first.instance) == ("first", 0, 2, 1)
        assert (other.holder, other.since, other.generation) == ("second", 1, 1)
        line = second.__code__.co_firstlineno + 1
        assert other.place == f"{__file__}:{line}"


async def test_long_lease_is_logged_once_with_its_task_and_place(
    module: FakeModule, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A short one before or after it is not."""
    async with open_pool(module, size=2, leak_after=10) as pool, trio.open_nursery() as nursery:
        await pool.call("sleep", 9)

        async def leak() -> None:
            async with pool.lease():
                await trio.sleep(100)

        nursery.start_soon(leak, name="leaky")
        await trio.sleep(5)
        await pool.call("sleep", 9)
        await trio.sleep(50)
        messages = [record.getMessage() for record in caplog.records]
        line = leak.__code__.co_firstlineno + 1
        (message,) = messages
        assert re.fullmatch(
            r"pool 'fake': instance . has been leased for 10.0 s \(leak_after=10\) by task"
            rf" 'leaky', taken at {re.escape(__file__)}:{line}",
            message,
        )
        assert caplog.records[0].levelno == logging.WARNING


async def test_pool_without_leak_after_reports_nothing(
    module: FakeModule, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """And has no timer for it."""
    async with open_pool(module, leak_after=None) as pool:
        await pool.call("sleep", 1000)
        assert not caplog.records


class Notes(Instrument):
    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    def instance_started(self, pool: Pool, instance: int, generation: int, seconds: float) -> None:
        self.notes.append(("started", instance, generation))

    def instance_retired(self, pool: Pool, instance: int, generation: int, reason: str) -> None:
        self.notes.append(("retired", instance, reason))

    def lease_granted(self, pool: Pool, lease: LeaseInfo, waited: float) -> None:
        self.notes.append(("granted", lease.instance, waited))

    def lease_ended(self, pool: Pool, lease: LeaseInfo, held: float) -> None:
        self.notes.append(("ended", lease.instance, held))

    def waiting(self, pool: Pool, waiting: int) -> None:
        self.notes.append(("waiting", waiting))

    def reloaded(self, pool: Pool, generation: int) -> None:
        self.notes.append(("reloaded", generation))

    def closing(self, pool: Pool) -> None:
        self.notes.append(("closing", pool.state.value))


async def test_instruments_see_everything_in_its_order(
    make_module: Callable[..., FakeModule], autojump_clock: MockClock
) -> None:
    """Each hook at the moment that it happens."""
    notes = Notes()
    async with open_pool(make_module(1), size=1, instruments=[notes]) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, "sleep", 2)
            await wait_all_tasks_blocked()
            nursery.start_soon(pool.call, "echo", 1)
        await pool.reload(make_module(2))
        with pytest.raises(Trap):
            await pool.call("trap")
        await wait_all_tasks_blocked()
    assert notes.notes == [
        ("started", 1, 1),
        ("granted", 1, 0.0), ("waiting", 1), ("ended", 1, 2.0),
        ("granted", 1, 2.0), ("ended", 1, 0.0),
        ("retired", 1, "replaced"), ("started", 2, 2), ("reloaded", 2),
        ("granted", 2, 0.0), ("ended", 2, 0.0), ("retired", 2, "trap"), ("started", 3, 2),
        ("closing", "closing"), ("retired", 3, "closed"),
    ]  # fmt: skip


async def test_the_laws_of_the_statistics_hold_in_each_hook(
    make_module: Callable[..., FakeModule], autojump_clock: MockClock
) -> None:
    """An instrument may look at any moment that it is told of."""
    seen: list[str] = []

    class Laws:
        def __getattr__(self, hook: str) -> Callable[..., None]:
            def look(pool: Pool, *_: object) -> None:
                seen.append(hook)
                stats = pool.statistics()
                assert stats.started == (
                    stats.closed + stats.idle + stats.leased + stats.starting + stats.retiring
                ), hook
                assert stats.asked == stats.granted + stats.waiting, hook

            return look

    laws = Laws()
    async with open_pool(make_module(1), size=1, max_uses=2, instruments=[laws]) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pool.call, "sleep", 2)
        with pytest.raises(Trap):
            await pool.call("trap")
        await pool.reload(make_module(2))
        assert active_instruments(pool) == [laws]  # none of them raised
    assert {name for name in vars(Instrument) if not name.startswith("_")} == set(seen)


async def test_instrument_that_raises_is_logged_and_dropped(
    module: FakeModule, caplog: pytest.LogCaptureFixture
) -> None:
    """Callers never feel it; the others go on."""

    class Broken:
        def lease_granted(self, *_: Any) -> None:
            raise SystemExit("no")

    notes = Notes()
    async with open_pool(module, instruments=[Broken(), object(), notes]) as pool:
        assert await pool.call("echo", 1) == 1
        assert await pool.call("echo", 2) == 2
    assert len([record for record in caplog.records if "is dropped" in record.getMessage()]) == 1
    assert len([note for note in notes.notes if note[0] == "granted"]) == 2


@pytest.mark.parametrize(
    ("module", "name"),
    [(statistics, "PoolStatistics"), (statistics, "LeaseInfo"), (histogram_module, "Histogram")],
)
def test_every_field_says_what_it_holds(module: ModuleType, name: str) -> None:
    """In a docstring below it; one of a time says that it is in seconds."""
    classes = [each for each in ast.parse(inspect.getsource(module)).body if is_class(each, name)]
    (definition,) = classes
    assert isinstance(definition, ast.ClassDef)
    undocumented = []
    for field, below in itertools.pairwise([*definition.body, ast.Pass()]):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        text = ast.unparse(below) if isinstance(below, ast.Expr) else ""
        timed = field.target.id in {"since", "sum"} or field.target.id.endswith("_seconds")
        if not (text or field.target.id.startswith("_")) or (timed and "seconds" not in text):
            undocumented.append(field.target.id)
    assert undocumented == []


def is_class(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == name


# --- histograms -----------------------------------------------------------------------------


@given(
    st.lists(st.floats(1e-9, 1e5), min_size=1, max_size=200),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_quantiles_are_within_four_percent(values: list[float], shares: list[float]) -> None:
    """Of the value that the sorted list has at that place."""
    recorder = Recorder()
    for value in values:
        recorder.record(value)
    histogram = snapshot(recorder)
    assert histogram.count == len(values)
    assert histogram.sum == pytest.approx(sum(values))
    for q in shares:
        rank = max(1, math.ceil(q * len(values)))
        exact = sorted(values)[rank - 1]
        assert histogram.quantile(q) == pytest.approx(exact, rel=0.04)


def test_histogram_takes_zeros_and_what_is_out_of_range() -> None:
    """And has an answer without values, too."""
    recorder = Recorder()
    assert snapshot(recorder).quantile(0.5) == 0.0
    assert snapshot(recorder).mean == 0.0
    for value in (0.0, 0.0, 0.0, 1e-15, 1e12):
        recorder.record(value)
    histogram = snapshot(recorder)
    assert histogram.count == 5
    assert histogram.quantile(0.5) == 0.0
    assert 0 < histogram.quantile(0.7) < 1e-8
    assert histogram.quantile(1) > 1e5
    assert histogram.mean == pytest.approx(2e11)
    assert repr(histogram).startswith("<Histogram: 5 values, median 0 s, p99 ")
    with pytest.raises(ValueError, match="q=1.5"):
        histogram.quantile(1.5)


def test_histogram_memory_is_bounded() -> None:
    """Whatever is recorded, the buckets are as many as before."""
    recorder, random = Recorder(), Random(0)
    before = len(snapshot(recorder)._buckets)
    for _ in range(10_000):
        recorder.record(10 ** random.uniform(-12, 12))
    assert len(snapshot(recorder)._buckets) == before


@given(
    st.lists(st.sampled_from([0.0, 1e-6, 2e-3, 5.0])), st.lists(st.sampled_from([0.0, 3e-5, 7.0]))
)
def test_what_was_recorded_since_an_earlier_snapshot(
    before: list[float], after: list[float]
) -> None:
    """It equals a histogram of these values alone."""
    both, alone = Recorder(), Recorder()
    for value in before:
        both.record(value)
    earlier = snapshot(both)
    for value in after:
        both.record(value)
        alone.record(value)
    since, expected = snapshot(both).since(earlier), snapshot(alone)
    assert since.count == expected.count
    assert since.sum == pytest.approx(expected.sum, abs=1e-9)
    assert [since.quantile(q) for q in (0, 0.5, 1)] == [expected.quantile(q) for q in (0, 0.5, 1)]


def test_a_later_snapshot_is_no_earlier_one() -> None:
    """Nor is one of another histogram: counts would be negative."""
    recorder = Recorder()
    first = snapshot(recorder)
    recorder.record(1.0)
    with pytest.raises(ValueError, match="is no earlier snapshot of"):
        first.since(snapshot(recorder))
    recorder.record(0.0)
    with pytest.raises(ValueError, match="is no earlier snapshot of"):
        first.since(snapshot(recorder))
