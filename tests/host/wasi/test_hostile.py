from __future__ import annotations

import inspect
import itertools
import math
import os
import random
import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.host.wasi.conftest import READ_WRITE

from wasmpool_host._errors import GuestExit
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import filestat
from wasmpool_host._wasi.preview1 import FUNCTIONS, MODULE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.host.wasi.conftest import FakeGuest

WILD = [
    -1,
    -8,
    -(2**31),
    2**31 - 1,
    2**32 - 1,
    0,
    1,
    3,  # a directory, as a descriptor
    4,
    5,
    1000,
    2**20 - 4,  # the memory's last bytes
    2**20,
    2**16,
    2**16 + 1,  # what a u16 or a u8 would make 0 or 1
    2**32 + 3,
    -(2**63),
    2**63 - 1,
]


async def call(guest: FakeGuest, name: str, *args: int) -> None:
    """An error number or an exit; anything else is a failure. A long sleep is cut short."""
    with trio.move_on_after(60 if name == "poll_oneoff" else math.inf):
        try:
            await guest.acall(name, *args)
        except GuestExit:
            assert name == "proc_exit"


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_wild_values_get_an_answer(
    guest: FakeGuest, root: Path, name: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Every function, with every value as each argument and with many combinations."""
    dice = random.Random(name)
    places = len(FUNCTIONS[name].params)
    if places <= 2:
        calls = list(itertools.product(WILD, repeat=places))
    else:  # each value at each place, and as many combinations again
        calls = [
            (*dice.choices(WILD, k=place), value, *dice.choices(WILD, k=places - place - 1))
            for place in range(places)
            for value in WILD
        ]
        calls += [tuple(dice.choices(WILD, k=places)) for _ in calls]
    for args in calls:
        if guest.call("fd_fdstat_get", 4, 0x100) == Errno.BADF:
            guest.open("file", at=3)
        await call(guest, name, *args)
    assert sorted(path.name for path in root.parent.iterdir()) == ["root", "secret"]


async def test_random_calls_on_random_memory_get_an_answer(
    guest: FakeGuest, root: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A guest that calls anything for a while: structures are read from noise."""
    dice = random.Random(2)
    guest.memory.write(0, dice.randbytes(guest.memory.size))
    for position in range(0, 4096, 64):  # some of it plausible
        guest.memory.write(position, dice.choice([b"file", b"dir/", b"../x", b"\x04\0\0\0"]) * 4)
    names = [name for name in FUNCTIONS if name not in ("proc_exit", "fd_close", "fd_renumber")]
    small = [0, 1, 2, 3, 4, 5, 6, 8, 64, 100, 512, 4096]
    for _ in range(5000):
        name = dice.choice(names)
        args = [dice.choice(small) for _ in FUNCTIONS[name].params]
        await call(guest, name, *args)
    assert sorted(path.name for path in root.parent.iterdir()) == ["root", "secret"]


@pytest.mark.parametrize("name", ["fd_read", "fd_write", "fd_pread", "fd_pwrite"])
@pytest.mark.parametrize("count", [1025, 1_000_000, 2**31, 2**32 - 1])
def test_a_million_buffers_are_refused_unread(
    guest: FakeGuest, name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number is checked before any of them is read."""
    offset = (0,) if name.startswith("fd_p") else ()
    fd = guest.opened("file", 0x42)
    monkeypatch.setattr(guest.memory, "read", None)
    assert guest.call(name, fd, 0, count, *offset, 0x100) == Errno.INVAL


@pytest.mark.parametrize("size", [4097, 2**31, 2**32 - 1])
def test_an_endless_path_is_refused_unread(
    guest: FakeGuest, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The length is checked before the path is read."""
    monkeypatch.setattr(guest.memory, "read", None)
    assert guest.call("path_unlink_file", 3, 0, size) == Errno.NAMETOOLONG


def test_overlapping_buffers_are_no_harm(guest: FakeGuest) -> None:
    """The later one wins, as if they were written one after the other; even over the vectors."""
    fd = guest.opened("file")
    ptr = guest.put(bytes(16))
    vectors = guest.vectors((ptr, 4), (ptr + 2, 4), (ptr, 1))
    assert guest.call("fd_read", fd, *vectors, 0x100) == Errno.SUCCESS
    assert guest.memory.read(ptr, 6) == b"814567"
    guest.seek(fd, 0)
    at, count = guest.vectors((0, 0), (0, 0))
    guest.memory.write(at, at.to_bytes(4, "little") + (16).to_bytes(4, "little"))
    assert guest.call("fd_read", fd, at, count, at) == Errno.SUCCESS
    assert guest.u32(at) == 10


def test_unaligned_pointers_are_no_harm(guest: FakeGuest) -> None:
    """Memory is bytes."""
    at, count = guest.vectors((guest.put(b"unaligned") + 1, 8))
    guest.memory.write(0x2001, guest.memory.read(at, 8))
    assert guest.call("fd_write", guest.opened("file", 0x40), 0x2001, count, 0x103) == 0
    assert guest.u32(0x103) == 8


def test_a_refused_open_leaves_no_descriptor(guest: FakeGuest, root: Path) -> None:
    """The address of the result is checked before a file is opened or created."""
    path = guest.text("new")
    assert guest.call("path_open", 3, 0, *path, 1, 0x42, 0, 0, -2) == Errno.FAULT
    assert not (root / "new").exists()
    assert guest.opened("file") == 4


def test_a_guest_without_memory_gets_an_answer(open_guest: Callable[..., FakeGuest]) -> None:
    """It exports none, so every pointer is FAULT."""
    guest = open_guest(size=0)
    assert guest.call("fd_write", 1, 0, 0, 0) == Errno.FAULT
    assert guest.call("clock_res_get", 0, 0) == Errno.FAULT
    assert guest.call("args_sizes_get", 0, 0) == Errno.FAULT


def test_every_function_of_the_contract_is_there() -> None:
    """All 46 (45 of preview 1's first edition, and sock_accept), each with its own type."""
    assert len(FUNCTIONS) == 46
    assert MODULE == "wasi_snapshot_preview1"
    for signature in FUNCTIONS.values():
        parameters = inspect.signature(signature.function).parameters
        assert len(parameters) == len(signature.params) + 2  # process and memory


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("path_open", (3, 0x10001, 0x1000, 4, 0, 2, 0, 0, 0x100)),
        ("path_open", (3, 1, 0x1000, 4, 0x10001, 2, 0, 0, 0x100)),
        ("path_open", (3, 1, 0x1000, 4, 0x10, 2, 0, 0, 0x100)),
        ("path_filestat_get", (3, 2, 0x1000, 4, 0x100)),
        ("path_filestat_set_times", (3, 0, 0x1000, 4, 0, 0, 0x10001)),
        ("path_filestat_set_times", (3, 0, 0x1000, 4, 2**63, 0, 1)),
        ("path_filestat_set_times", (3, 0, 0x1000, 4, 0, 2**64 - 1, 4)),
        ("path_link", (3, 2, 0x1000, 4, 3, 0x1000, 3)),
        ("fd_filestat_set_times", (4, 2**64 - 1, 0, 1)),
        ("fd_filestat_set_times", (4, 0, 2**63, 4)),
        ("fd_seek", (4, 0, 0x100, 0x100)),
        ("fd_seek", (4, -1, 0, 0x100)),
        ("fd_advise", (4, 0, 0, 0x100)),
        ("fd_pread", (4, 0, 0, 2**63, 0x100)),
        ("fd_pwrite", (4, 0, 0, 2**64 - 1, 0x100)),
        ("clock_time_get", (2**32 - 1, 0, 0x100)),
    ],
)
def test_no_value_is_cut_to_one_that_fits(
    guest: FakeGuest, root: Path, name: str, args: tuple[int, ...]
) -> None:
    """Unknown flags, and offsets and times beyond the system's range: INVAL, and no effect."""
    assert guest.opened("file", READ_WRITE) == 4
    guest.memory.write(0x1000, b"file")
    before = (root / "file").stat()
    assert guest.call(name, *args) == Errno.INVAL
    assert (root / "file").stat() == before


@pytest.mark.parametrize("flags", [0x20, 0x10001, 2**31, 2**32 - 1])
def test_unknown_flags_of_descriptors_are_refused(guest: FakeGuest, flags: int) -> None:
    """Like flags that are not supported; they are not truncated to 16 bits."""
    fd = guest.opened("file", READ_WRITE)
    assert guest.call("fd_fdstat_set_flags", fd, flags) == Errno.NOTSUP
    answer = guest.call("path_open", 3, 1, *guest.text("file"), 0, 2, 0, flags, 0x100)
    assert answer == Errno.NOTSUP


@pytest.mark.parametrize("fd", [2**31, 2**31 + 3, 2**32 - 1, 2**16 + 4, 257])
def test_a_number_that_is_no_descriptor_is_none(guest: FakeGuest, fd: int) -> None:
    """Large numbers are not truncated to those of open descriptors."""
    assert guest.opened("file", READ_WRITE) == 4
    for name in ("fd_close", "fd_filestat_get", "fd_tell"):
        args = (0x100,) * (len(FUNCTIONS[name].params) - 1)
        assert guest.call(name, fd, *args) == Errno.BADF
    assert guest.call("fd_renumber", 4, fd) == Errno.BADF
    assert guest.call("fd_renumber", fd, 4) == Errno.BADF


def test_sizes_and_offsets_beyond_all_bounds_are_refused(guest: FakeGuest, root: Path) -> None:
    """An operation that would make a file too long is FBIG, also if the sum would wrap around."""
    fd = guest.opened("file", READ_WRITE)
    text = guest.vectors((guest.put(b"x"), 1))
    assert guest.call("fd_filestat_set_size", fd, 2**64 - 1) == Errno.FBIG
    assert guest.call("fd_pwrite", fd, *text, 2**63 - 1, 0x100) == Errno.FBIG
    assert guest.seek(fd, 2**63 - 1)[0] in (Errno.SUCCESS, Errno.INVAL)
    assert guest.seek(fd, 2**63 - 1, os.SEEK_END)[0] in (Errno.INVAL, Errno.OVERFLOW)
    assert guest.seek(fd, 2**40)[0] == Errno.SUCCESS
    assert guest.write(fd, b"x")[0] == Errno.FBIG
    assert (root / "file").stat().st_size == 10


@pytest.mark.parametrize("seconds", [-1, 2**34, 2**36])
def test_a_file_of_an_odd_time_is_a_file(guest: FakeGuest, root: Path, seconds: int) -> None:
    """The guest gets the nearest time to what the file system stores that can be represented."""
    os.utime(root / "file", (seconds, seconds))
    kept = (root / "file").stat().st_mtime_ns
    errno, status = guest.stat("file")
    assert errno == Errno.SUCCESS
    assert status.mtim == min(max(kept, 0), 2**64 - 1)


def test_a_time_that_no_record_holds_is_the_last_one() -> None:
    """For file systems that store 64 bits of seconds."""
    names = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")
    times: dict[str, Any] = dict.fromkeys(names, 10**23)
    status = os.stat_result((0o100644, 1, 1, 1, 0, 0, 0, 0, 0, 0), times)
    assert struct.unpack("<QQB7xQQQQQ", filestat(status))[6] == 2**64 - 1
