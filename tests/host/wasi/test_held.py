"""A large operation of a guest does not delay the loop: it is cut, split, or runs in a thread."""

from __future__ import annotations

import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.host.wasi.conftest import OK, READ_WRITE, SCRATCH

from wasmpool_host import Module, Wasi
from wasmpool_host._wasi import files as files_module
from wasmpool_host._wasi import listing as listing_module
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import OFlag

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.host.wasi.conftest import FakeGuest


class Passes(trio.abc.Instrument):
    """Count the passes of the loop."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each removal, truncation or close of a file: True if in a thread. All files are large."""
    monkeypatch.setattr(files_module, "_LARGE", -1)
    seen: list[bool] = []
    main = threading.current_thread()
    for name in ("unlink", "rename", "ftruncate", "close", "open"):
        function = getattr(os, name)

        def noted(*args: object, of: Callable[..., object] = function, **options: object) -> object:
            seen.append(threading.current_thread() is not main)
            return of(*args, **options)

        monkeypatch.setattr(os, name, noted)
    return seen


async def test_a_large_file_is_removed_off_the_loop(
    guest: FakeGuest, root: Path, threads: list[bool]
) -> None:
    """To free the blocks of a file of 1 GiB takes a tenth of a second or more."""
    (root / "other").write_bytes(b"other")
    assert guest.stat(".")[0] == OK
    threads.clear()
    assert await guest.acall("path_unlink_file", 3, *guest.text("other")) == OK
    assert threads == [True]
    assert not (root / "other").exists()


async def test_a_large_file_is_replaced_off_the_loop(
    guest: FakeGuest, root: Path, threads: list[bool]
) -> None:
    """With a rename; one that replaces nothing runs on the loop."""
    (root / "other").write_bytes(b"other")
    assert guest.stat(".")[0] == OK
    names = guest.text("other"), guest.text("file")
    threads.clear()
    assert await guest.acall("path_rename", 3, *names[0], 3, *names[1]) == OK
    assert guest.rename("file", "new") == OK
    assert threads == [True, False]
    assert (root / "new").read_bytes() == b"other"


async def test_a_large_file_is_cut_off_the_loop(
    guest: FakeGuest, root: Path, threads: list[bool]
) -> None:
    """With ``fd_filestat_set_size`` and with an open that truncates; not if the file grows."""
    fd = guest.opened("file", READ_WRITE)
    threads.clear()
    assert await guest.acall("fd_filestat_set_size", fd, 5) == OK
    assert guest.call("fd_filestat_set_size", fd, 9) == OK
    text = guest.text("file")
    how = (OFlag.TRUNC, READ_WRITE, 0, 0, SCRATCH)
    assert await guest.acall("path_open", 3, 0, *text, *how) == OK
    assert threads == [True, False, True]
    assert (root / "file").read_bytes() == b""


@pytest.mark.parametrize("name", ["fd_close", "fd_renumber"])
async def test_the_last_close_of_a_large_file_is_off_the_loop(
    guest: FakeGuest, root: Path, threads: list[bool], name: str
) -> None:
    """Only for a file without a name: closing any other frees nothing."""
    fd, other = guest.opened("file", READ_WRITE), guest.opened("file", READ_WRITE)
    (root / "file").unlink()
    (root / "file").write_bytes(b"new")
    named = guest.opened("file", READ_WRITE)
    threads.clear()
    args = (fd,) if name == "fd_close" else (other, fd)
    assert await guest.acall(name, *args) == OK
    assert threads == [True]
    assert guest.call("fd_close", named) == OK
    assert threads == [True, False]
    assert await guest.acall("fd_close", other if name == "fd_close" else fd) == OK


async def test_an_instance_with_a_large_file_ends_off_the_loop(
    guest: FakeGuest, root: Path, threads: list[bool]
) -> None:
    """Its removed files are closed in a thread, without waiting for it."""
    guest.opened("file", READ_WRITE)
    (root / "file").unlink()
    threads.clear()
    guest.close()
    while len(threads) < 2:  # the file and the directory
        await trio.lowlevel.checkpoint()
    assert threads == [True, True]


async def test_a_long_listing_is_made_off_the_loop(
    guest: FakeGuest, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buffer of 64 KiB is filled on the loop, one for 10,000 entries in a thread; both fully."""
    for number in range(700):  # of long names, so that few files fill both
        (root / f"{number:n>250}").touch()
    seen: list[bool] = []
    main = threading.current_thread()
    pack = listing_module.Listing.pack

    def noted(listing: listing_module.Listing, cookie: int, size: int) -> bytes:
        seen.append(threading.current_thread() is not main)
        return pack(listing, cookie, size)

    monkeypatch.setattr(listing_module.Listing, "pack", noted)
    buffer = guest.put(bytes(256 * 1024))
    assert guest.call("fd_readdir", 3, buffer, 64 * 1024, 0, SCRATCH) == OK
    assert guest.u32() == 64 * 1024
    assert await guest.acall("fd_readdir", 3, buffer, 256 * 1024, 0, SCRATCH) == OK
    listed = guest.memory.read(buffer, guest.u32())
    assert sum(b"%d" % number in listed for number in range(700)) == 700
    assert seen == [False, True]


async def test_many_subscriptions_are_looked_at_in_pieces(guest: FakeGuest) -> None:
    """With a thousand, other tasks run in between; a hundred thousand are refused unread."""
    record = struct.pack("<QB7xI28x", 7, 1, 0)
    subscriptions, events = guest.put(record * 1024), guest.put(bytes(32 * 1024))
    passes = Passes()
    trio.lowlevel.add_instrument(passes)
    assert await guest.acall("poll_oneoff", subscriptions, events, 1024, SCRATCH) == OK
    trio.lowlevel.remove_instrument(passes)
    assert guest.u32() == 1024
    assert passes.count >= 4
    answer = await guest.acall("poll_oneoff", subscriptions, events, 100_000, SCRATCH)
    assert answer == Errno.INVAL


async def test_a_large_random_buffer_is_filled_in_pieces(
    open_guest: Callable[..., FakeGuest],
) -> None:
    """All of it, with other tasks running after each 64 KiB."""
    guest = open_guest(size=2**24)
    passes = Passes()
    trio.lowlevel.add_instrument(passes)
    assert await guest.acall("random_get", 0, 2**24) == OK
    trio.lowlevel.remove_instrument(passes)
    assert passes.count >= 255
    assert guest.memory.read(2**24 - 64, 64) != bytes(64)


@pytest.mark.parametrize("count", [1000, 1024])
def test_a_thousand_buffers_of_a_megabyte_move_one(guest: FakeGuest, count: int) -> None:
    """The guest gets the number of bytes, in both directions."""
    fd = guest.opened("new", READ_WRITE, OFlag.CREAT)
    vectors = guest.vectors(*[(0, 2**20)] * count)
    assert guest.call("fd_write", fd, *vectors, SCRATCH) == OK
    assert guest.u32() == 2**20
    assert guest.call("fd_pread", fd, *vectors, 0, SCRATCH) == OK


def test_a_huge_write_to_the_log_is_taken_in_pieces(
    open_guest: Callable[..., FakeGuest], caplog: pytest.LogCaptureFixture
) -> None:
    """Of 200 MiB one call accepts 16 KiB; no record exceeds its limit, not counting escapes."""
    guest = open_guest(size=2**28)
    with caplog.at_level("INFO", "wasmpool.guest.stdout"):
        vectors = guest.vectors((2**20, 200 * 2**20))
        assert guest.call("fd_write", 1, *vectors, SCRATCH) == OK
    assert guest.u32() == 16 * 1024
    assert sum(record.getMessage().count("\\x00") for record in caplog.records) <= 16 * 1024
    assert all(len(record.getMessage()) <= 4 * 8 * 1024 for record in caplog.records)


WRITES = """(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "write") (param $times i32)
    (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 16384))
    (memory.fill (i32.const 65536) (i32.const 27) (i32.const 16384))
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))"""


async def test_a_guest_that_writes_without_end_takes_its_turns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The time of its calls counts towards the budget: other tasks run about every millisecond."""
    module = await Module.compile(WRITES, wasi=Wasi())
    instance = await module.instantiate()
    passes = Passes()
    try:
        with caplog.at_level("INFO", "wasmpool.guest.stdout"):
            trio.lowlevel.add_instrument(passes)
            await instance.call("write", 300)
            trio.lowlevel.remove_instrument(passes)
    finally:
        await instance.aclose()
        caplog.clear()
    assert passes.count >= 30
