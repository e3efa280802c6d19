"""Clocks, and waiting for several things at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from wasmpool_host import GuestTrap
from wasmpool_host._wasi.clock import SECOND, deadline_of, monotonic
from wasmpool_host._wasi_p2.pollable import Event, Pollable

from .test_streams import of_input, of_output, stdin, stdout, with_streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.wasi.preview2 import FakeComponent
    from trio.testing import MockClock

POLL = "wasi:io/poll"
CLOCK = "wasi:clocks/monotonic-clock"
HOUR = 3600 * SECOND


def timer(component: FakeComponent, nanoseconds: int) -> Any:
    return component.call(CLOCK, "subscribe-duration", nanoseconds)


async def poll(component: FakeComponent, *pollables: Any) -> Any:
    return await component.acall(POLL, "poll", list(pollables))


def test_the_time_of_day_is_the_systems(component: FakeComponent) -> None:
    """To the nanosecond."""
    before = time.time_ns()
    now = component.call("wasi:clocks/wall-clock", "now")
    assert before <= now.seconds * SECOND + now.nanoseconds <= time.time_ns()
    resolution = component.call("wasi:clocks/wall-clock", "resolution")
    assert (resolution.seconds, resolution.nanoseconds) == (0, 1)


async def test_a_guests_time_is_trios_time(
    component: FakeComponent, autojump_clock: MockClock
) -> None:
    """A sleep of an hour takes an hour of trio's, and the clock agrees."""
    assert component.call(CLOCK, "resolution") == 1
    before = component.call(CLOCK, "now")
    began = trio.current_time()
    pollable = timer(component, HOUR)
    assert component.call(POLL, "[method]pollable.ready", pollable) is False
    await component.acall(POLL, "[method]pollable.block", pollable)
    assert component.call(POLL, "[method]pollable.ready", pollable) is True
    assert component.call(CLOCK, "now") - before >= HOUR
    assert 3600 <= trio.current_time() - began < 3601


async def test_an_instant_has_come_when_the_clock_says_so(
    component: FakeComponent, autojump_clock: MockClock
) -> None:
    """However it is rounded: a guest that waits for an instant need not wait again."""
    for step in (1, 7, 333, 10**6 + 1, 10**12 + 3):
        when = component.call(CLOCK, "now") + step
        pollable = component.call(CLOCK, "subscribe-instant", when)
        await component.acall(POLL, "[method]pollable.block", pollable)
        assert component.call(CLOCK, "now") >= when


async def test_times_beyond_all_others_do_not_come(
    component: FakeComponent, autojump_clock: MockClock
) -> None:
    """The largest number is no error, and no time that is past."""
    for pollable in (
        timer(component, 2**64 - 1),
        component.call(CLOCK, "subscribe-instant", 2**64 - 1),
    ):
        assert component.call(POLL, "[method]pollable.ready", pollable) is False
    past = component.call(CLOCK, "subscribe-instant", 0)
    assert component.call(POLL, "[method]pollable.ready", past) is True
    assert await poll(component, timer(component, 2**64 - 1), past) == [1]


async def test_a_deadline_is_never_early(autojump_clock: MockClock) -> None:
    """Nor later than need be, as far as a float can say it."""
    for instant in (0, 1, SECOND, SECOND + 1, monotonic() + 123, 2**53 + 1, 2**63, 2**64 - 1):
        deadline = deadline_of(instant)
        assert SECOND + int(deadline * SECOND) >= instant


async def test_all_that_have_happened_are_reported(
    component: FakeComponent, autojump_clock: MockClock
) -> None:
    """By their places in the list; one may be there twice."""
    short, long = timer(component, SECOND), timer(component, HOUR)
    assert await poll(component, long, short, short) == [1, 2]
    assert await poll(component, long, short, timer(component, 0)) == [1, 2]
    out = of_output(component, "subscribe", stdout(component))
    assert await poll(component, long, out) == [1]


async def test_input_and_time_race(
    open_component: Callable[..., FakeComponent], autojump_clock: MockClock
) -> None:
    """Whichever is first ends the wait; what arrives later is not lost."""
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    component = with_streams(open_component(), receiver)
    stream = stdin(component)
    one, two = of_input(component, "subscribe", stream), of_input(component, "subscribe", stream)
    assert await poll(component, one, timer(component, SECOND), two) == [1]
    await sender.send_all(b"now")
    assert await poll(component, one, timer(component, SECOND), two) == [0, 2]
    assert of_input(component, "read", stream, 100).value == b"now"


class Signal:
    """Something of the host's that happens."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.waiting = 0

    def is_ready(self) -> bool:
        return self.event.is_set()

    async def wait(self) -> None:
        self.waiting += 1
        try:
            await self.event.wait()
        finally:
            self.waiting -= 1


async def test_several_things_of_the_host_are_waited_for_at_once(
    component: FakeComponent, autojump_clock: MockClock
) -> None:
    """The wait ends with the first, and leaves no task behind."""
    one, two = Signal(), Signal()
    handles = [Pollable(one), Pollable(two), timer(component, HOUR)]
    async with trio.open_nursery() as nursery:
        found: list[object] = []

        async def wait() -> None:
            found.append(await poll(component, *handles))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert (one.waiting, two.waiting) == (1, 1)
        two.event.set()
    assert found == [[1]]
    assert (one.waiting, two.waiting) == (0, 0)
    one.event, two.event = trio.Event(), trio.Event()
    assert await poll(component, *handles) == [2]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_wait_is_cancelled(component: FakeComponent, count: int) -> None:
    """At once, and nothing waits any longer."""
    signals = [Signal() for _ in range(count)]
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll, component, *map(Pollable, signals))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert not any(signal.waiting for signal in signals)


async def test_a_wait_for_what_has_happened_is_a_checkpoint(component: FakeComponent) -> None:
    """A guest that polls in a loop lets other tasks run."""
    ready = timer(component, 0)
    with trio.testing.assert_checkpoints():
        await poll(component, ready)
    with trio.testing.assert_checkpoints():
        await component.acall(POLL, "[method]pollable.block", ready)


async def test_a_list_of_pollables_is_bounded(component: FakeComponent) -> None:
    """Neither none, as the contract says, nor more than the loop has time for."""
    ready = timer(component, 0)
    assert len(await poll(component, *[ready] * 1024)) == 1024
    for count in (0, 1025):
        with pytest.raises(GuestTrap, match=f"a list of {count:,} pollables"):
            await poll(component, *[ready] * count)


class Fails:
    """An event of a stream of the caller's, which is broken."""

    def is_ready(self) -> bool:
        return False

    async def wait(self) -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("of the caller")


class Never:
    def is_ready(self) -> bool:
        return False

    async def wait(self) -> None:
        await trio.sleep_forever()


@pytest.mark.parametrize("others", [0, 1])
async def test_what_a_stream_of_the_callers_raises_comes_out_as_itself(
    component: FakeComponent, others: int
) -> None:
    """Also where it is waited for beside others."""
    events: list[Event] = [Fails(), *(Never() for _ in range(others))]
    with pytest.raises(LookupError, match="of the caller"):
        await poll(component, timer(component, HOUR), *map(Pollable, events))
