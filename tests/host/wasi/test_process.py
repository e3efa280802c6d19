from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool_host._errors import GuestExit
from wasmpool_host._wasi.errno import Errno

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.wasi.conftest import FakeGuest

STRINGS = pytest.mark.parametrize("what", ["args", "environ"])


def strings(guest: FakeGuest, what: str) -> list[bytes]:
    """Read arguments or environment as a C library does."""
    assert guest.call(f"{what}_sizes_get", 0x100, 0x104) == Errno.SUCCESS
    count, size = guest.u32(0x100), guest.u32(0x104)
    array, buffer = guest.put(bytes(4 * count)), guest.put(bytes(size))
    assert guest.call(f"{what}_get", array, buffer) == Errno.SUCCESS
    packed = guest.memory.read(buffer, size)
    starts = [guest.u32(array + 4 * position) - buffer for position in range(count)]
    return [packed[start : packed.index(b"\0", start)] for start in starts]


@STRINGS
def test_there_is_nothing_by_default(open_guest: Callable[..., FakeGuest], what: str) -> None:
    """It has no arguments, and nothing of the host's environment."""
    assert strings(open_guest(), what) == []


def test_arguments_and_environment(open_guest: Callable[..., FakeGuest]) -> None:
    """In order, in UTF-8, empty ones too."""
    guest = open_guest(args=["prog", "", "größe"], env={"B": "2=3", "A": ""})
    assert strings(guest, "args") == [b"prog", b"", "größe".encode()]
    assert strings(guest, "environ") == [b"B=2=3", b"A="]


@STRINGS
def test_strings_need_their_room(open_guest: Callable[..., FakeGuest], what: str) -> None:
    """Invalid pointers for the array, the text and the sizes."""
    guest = open_guest(args=["prog"], env={"A": "B"})
    for a, b in ((-4, 0x200), (0x200, -4), (guest.memory.size - 2, 0x200)):
        assert guest.call(f"{what}_get", a, b) == Errno.FAULT
        assert guest.call(f"{what}_sizes_get", a, b) == Errno.FAULT


@pytest.mark.parametrize("status", [0, 1, 42, 2**32 - 1])
def test_exit_carries_its_status(open_guest: Callable[..., FakeGuest], status: int) -> None:
    """As an unsigned number."""
    with pytest.raises(GuestExit) as caught:
        open_guest().call("proc_exit", status)
    assert caught.value.status == status


def test_there_are_no_signals(open_guest: Callable[..., FakeGuest]) -> None:
    """They are refused, and never reach the host."""
    for signal in (0, 2, 9, 255):
        assert open_guest().call("proc_raise", signal) == Errno.NOTSUP


async def test_random_bytes_fill_the_buffer(open_guest: Callable[..., FakeGuest]) -> None:
    """The whole buffer, and nothing around it."""
    guest = open_guest()
    for size in (0, 1, 64 * 1024, 64 * 1024 + 1, 300_000):
        ptr = 0x2000
        guest.memory.write(ptr - 8, bytes(size + 16))
        assert await guest.acall("random_get", ptr, size) == Errno.SUCCESS
        filled = guest.memory.read(ptr - 8, size + 16)
        assert filled[:8] == filled[-8:] == bytes(8)
        assert size < 64 or len(set(filled[-72:-8])) > 16


async def test_many_random_bytes_let_others_run(open_guest: Callable[..., FakeGuest]) -> None:
    """A large buffer is filled in chunks."""
    guest = open_guest()
    with trio.testing.assert_checkpoints():
        await guest.acall("random_get", 0x2000, 500_000)
    with trio.CancelScope() as scope:
        scope.cancel()
        await guest.acall("random_get", 0x2000, 500_000)
    assert scope.cancelled_caught


async def test_a_wild_random_buffer_costs_nothing(
    open_guest: Callable[..., FakeGuest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before any byte is generated."""
    monkeypatch.setattr(os, "urandom", None)
    guest = open_guest()
    assert await guest.acall("random_get", 0, 2**32 - 1) == Errno.FAULT
    assert await guest.acall("random_get", -16, 32) == Errno.FAULT
