from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool_host._wasi.errno import Errno

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.wasi.conftest import FakeGuest

REALTIME, MONOTONIC = 0, 1
CLOCK, FD_READ, FD_WRITE = 0, 1, 2
ABSOLUTE = 1
MS = 1_000_000

OUT, EVENTS = 0x100, 0x200


def timer(userdata: int, timeout: int, clock: int = MONOTONIC, flags: int = 0) -> bytes:
    return struct.pack("<QB7xI4xQQH6x", userdata, CLOCK, clock, timeout, 0, flags)


def ready(userdata: int, fd: int, kind: int = FD_READ) -> bytes:
    return struct.pack("<QB7xI28x", userdata, kind, fd)


async def poll(guest: FakeGuest, *subscriptions: bytes) -> list[tuple[int, int, int, int, int]]:
    """(userdata, error, type, nbytes, flags) of each event."""
    ptr = guest.put(b"".join(subscriptions))
    errno = await guest.acall("poll_oneoff", ptr, EVENTS, len(subscriptions), OUT)
    assert errno == Errno.SUCCESS
    packed = guest.memory.read(EVENTS, guest.u32(OUT) * 32)
    return list(struct.iter_unpack("<QHB5xQH6x", packed))


def now(guest: FakeGuest, clock: int = MONOTONIC) -> int:
    assert guest.call("clock_time_get", clock, 0, OUT) == Errno.SUCCESS
    return guest.u64(OUT)


@pytest.fixture
def guest(open_guest: Callable[..., FakeGuest]) -> FakeGuest:
    return open_guest(stdin=b"input")


async def test_a_sleep_is_trios(guest: FakeGuest, autojump_clock: trio.testing.MockClock) -> None:
    """It takes that long on trio's clock and on the guest's monotonic clock."""
    began, guest_began = trio.current_time(), now(guest)
    assert await poll(guest, timer(7, 3_600_000 * MS)) == [(7, 0, CLOCK, 0, 0)]
    assert trio.current_time() - began == pytest.approx(3600)
    assert now(guest) - guest_began == pytest.approx(3600e9)


async def test_sleeping_guests_do_not_delay_each_other(
    open_guest: Callable[..., FakeGuest], autojump_clock: trio.testing.MockClock
) -> None:
    """A hundred that sleep 50 ms take 50 ms together."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(poll, open_guest(), timer(0, 50 * MS))
    assert trio.current_time() - began == pytest.approx(0.05)


async def test_the_first_timer_ends_the_wait(
    guest: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """All that have expired by then are reported, the others are not."""
    began = trio.current_time()
    events = await poll(guest, timer(1, 30 * MS), timer(2, 10 * MS), timer(3, 10 * MS))
    assert [event[0] for event in events] == [2, 3]
    assert trio.current_time() - began == pytest.approx(0.01)


async def test_an_absolute_monotonic_time_is_waited_for(
    guest: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """Exact to a nanosecond of the guest's clock; a deadline in the past does not wait."""
    deadline = now(guest) + 25 * MS
    assert await poll(guest, timer(1, deadline, flags=ABSOLUTE))
    assert now(guest) >= deadline
    began = trio.current_time()
    assert await poll(guest, timer(1, deadline - 10 * MS, flags=ABSOLUTE))
    assert await poll(guest, timer(1, 0, flags=ABSOLUTE))
    assert trio.current_time() == began


async def test_an_absolute_real_time_is_waited_for(
    guest: FakeGuest, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """It lasts as long as the deadline is away when the wait starts."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000 * MS)
    began = trio.current_time()
    assert await poll(guest, timer(1, 1_000_500 * MS, REALTIME, ABSOLUTE))
    assert trio.current_time() - began == pytest.approx(0.5)


async def test_an_endless_sleep_can_be_cancelled(
    guest: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """However long the guest wants to sleep."""
    with trio.move_on_after(1e6) as scope:
        await poll(guest, timer(1, 2**64 - 1))
    assert scope.cancelled_caught


async def test_descriptors_are_ready_at_once(
    guest: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """So timers beside them are not waited for."""
    began = trio.current_time()
    events = await poll(
        guest,
        timer(1, 1000 * MS),
        timer(2, 0),
        ready(3, 0),
        ready(4, 1, FD_WRITE),
    )
    assert events[0] == (3, 0, FD_READ, len(b"input"), 0)
    assert events[1][:3] == (4, 0, FD_WRITE)
    assert events[2] == (2, 0, CLOCK, 0, 0)
    assert len(events) == 3
    assert trio.current_time() == began


async def test_stdin_at_its_end_is_hung_up(
    open_guest: Callable[..., FakeGuest], autojump_clock: trio.testing.MockClock
) -> None:
    """Always ready, with nothing to read."""
    assert await poll(open_guest(), ready(1, 0)) == [(1, 0, FD_READ, 0, 1)]


async def test_files_tell_how_much_is_left(
    reader: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """From the offset on."""
    fd = reader.opened("file")
    reader.seek(fd, 7)
    assert await poll(reader, ready(1, fd)) == [(1, 0, FD_READ, 3, 0)]


async def test_nonsense_is_an_event_of_its_own(
    guest: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """An invalid subscription does not affect the others."""
    events = await poll(
        guest,
        ready(1, 99),
        timer(2, 0, clock=2),
        timer(3, 0, clock=77),
        struct.pack("<QB39x", 4, 9),
        timer(5, 0),
    )
    assert [event[:2] for event in events] == [
        (1, Errno.BADF),
        (2, Errno.INVAL),
        (3, Errno.INVAL),
        (4, Errno.INVAL),
        (5, Errno.SUCCESS),
    ]


async def test_the_number_of_subscriptions_is_bounded(
    guest: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """The number is checked before anything is read; zero is refused."""
    for count in (0, 1025, 2**31, 2**32 - 1):
        assert await guest.acall("poll_oneoff", 0, 0, count, OUT) == Errno.INVAL
    assert len(await poll(guest, *[timer(1, 0)] * 1024)) == 1024


async def test_wild_pointers_are_refused_before_the_wait(
    guest: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """It is checked at once, not after an hour of sleep."""
    began = trio.current_time()
    ptr = guest.put(timer(1, 3_600_000 * MS))
    assert await guest.acall("poll_oneoff", -8, EVENTS, 1, OUT) == Errno.FAULT
    assert await guest.acall("poll_oneoff", ptr, -8, 1, OUT) == Errno.FAULT
    assert await guest.acall("poll_oneoff", ptr, EVENTS, 1, -2) == Errno.FAULT
    assert trio.current_time() == began


async def test_waiting_and_yielding_are_checkpoints(
    guest: FakeGuest, autojump_clock: trio.testing.MockClock
) -> None:
    """A guest that only polls or yields lets other tasks run, and can be cancelled."""
    with trio.testing.assert_checkpoints():
        await poll(guest, ready(1, 0))
    with trio.testing.assert_checkpoints():
        await poll(guest, timer(1, 0))
    with trio.testing.assert_checkpoints():
        assert await guest.acall("sched_yield") == Errno.SUCCESS


async def test_clocks(guest: FakeGuest, autojump_clock: trio.testing.MockClock) -> None:
    """There are two, with a resolution of a nanosecond, and none for CPU time."""
    before = time.time_ns()
    assert before <= now(guest, REALTIME) <= time.time_ns()
    for clock in (REALTIME, MONOTONIC):
        assert guest.call("clock_res_get", clock, OUT) == Errno.SUCCESS
        assert guest.u64(OUT) == 1
    for clock in (2, 3, 4, -1):
        assert guest.call("clock_res_get", clock, OUT) == Errno.INVAL
        assert guest.call("clock_time_get", clock, 0, OUT) == Errno.INVAL
