"""Files whose operations may block: on a server that does not answer, or a slow disk."""

# ruff: noqa: PTH115, PTH208  # what the system does is said in its own words

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from tests.host.wasi.conftest import SCRATCH

from wasmpool_host import Module, Preopen, Wasi
from wasmpool_host._wasi import device_calls, mounts
from wasmpool_host._wasi import process as process_module
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.files import DiskDirectory, DiskFile
from wasmpool_host._wasi.layout import OFlag
from wasmpool_host._wasi.rights import Right

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.host.wasi.conftest import FakeGuest

BOTH = Right.FD_READ | Right.FD_WRITE


class Server:
    """A file system's server, which does not answer until ``answers`` is set."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked = 0
        self._lock = threading.Lock()

    def silence(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        """Make a function wait for the server first."""
        function = getattr(owner, name)

        def wait(*args: object, **kwargs: object) -> object:
            with self._lock:
                self.asked += 1
            assert self.answers.wait(60)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, wait)

    async def was_asked(self, times: int) -> None:
        while self.asked < times:
            await trio.lowlevel.checkpoint()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, with fresh devices, so that no other test's calls count."""
    monkeypatch.setattr(device_calls, "_calls", {})
    server = Server()
    yield server
    server.answers.set()


def remote(path: Path) -> Preopen:
    """A directory as if it were on a file system that may wait."""
    preopen = Preopen(path, writable=True)
    object.__setattr__(preopen, "may_wait", True)
    return preopen


@pytest.fixture
def far(open_guest: Callable[..., FakeGuest], root: Path) -> FakeGuest:
    """With `root` as descriptor 3, on a file system that may wait."""
    return open_guest(preopens={"/": remote(root)})


async def opened(guest: FakeGuest, path: str, rights: Right = BOTH, oflags: int = 0) -> int:
    errno = await guest.acall("path_open", 3, 0, *guest.text(path), oflags, rights, 0, 0, SCRATCH)
    assert errno == Errno.SUCCESS
    return guest.u32()


async def settled(server: Server) -> None:
    """Let the server answer, and wait until no abandoned call is left."""
    server.answers.set()
    while any(calls.abandoned for calls in device_calls._calls.values()):
        await trio.lowlevel.checkpoint()


def descriptors_of(path: Path) -> int:
    """The number of this process's descriptors of files beneath a directory."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{number}").startswith(str(path))
        except FileNotFoundError:  # that of the listing
            continue
    return found


async def all_closed(path: Path) -> None:
    while descriptors_of(path):
        await trio.lowlevel.checkpoint()


async def test_files_that_may_wait_work_as_others_do(far: FakeGuest, root: Path) -> None:
    """Create, write, read, list, rename, stat, synchronize, remove and close."""
    fd = await opened(far, "new", oflags=OFlag.CREAT)
    text = far.vectors((far.put(b"hello"), 5))
    assert await far.acall("fd_write", fd, *text, SCRATCH) == Errno.SUCCESS
    assert far.u32() == 5
    assert await far.acall("fd_seek", fd, 0, 0, SCRATCH) == Errno.SUCCESS
    room = far.put(bytes(8))
    assert await far.acall("fd_read", fd, *far.vectors((room, 8)), SCRATCH) == Errno.SUCCESS
    assert far.memory.read(room, far.u32()) == b"hello"
    assert await far.acall("fd_sync", fd) == Errno.SUCCESS
    assert await far.acall("fd_close", fd) == Errno.SUCCESS
    names = far.text("new") + far.text("newer")
    assert await far.acall("path_rename", 3, *names[:2], 3, *names[2:]) == Errno.SUCCESS
    entries = far.put(bytes(4096))
    assert await far.acall("fd_readdir", 3, entries, 4096, 0, SCRATCH) == Errno.SUCCESS
    assert b"newer" in far.memory.read(entries, far.u32())
    assert await far.acall("path_unlink_file", 3, *far.text("newer")) == Errno.SUCCESS
    assert await far.acall("fd_filestat_get", 3, SCRATCH) == Errno.SUCCESS
    assert far.filestat().ino == root.stat().st_ino
    assert await far.acall("fd_close", 99) == Errno.BADF
    assert await far.acall("path_unlink_file", 3, *far.text("../secret")) == Errno.NOTCAPABLE
    assert await far.acall("fd_read", 3, 2**32 - 8, 1, SCRATCH) == Errno.FAULT
    far.close()
    await all_closed(root)


async def test_functions_without_files_need_no_thread(
    far: FakeGuest, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output, clocks and random bytes use no thread, except in the first call."""
    assert await far.acall("fd_prestat_get", 3, SCRATCH) == Errno.SUCCESS
    monkeypatch.setattr(trio.to_thread, "run_sync", None)
    text = far.vectors((far.put(b"hello\n"), 6))
    assert await far.acall("fd_write", 1, *text, SCRATCH) == Errno.SUCCESS
    assert await far.acall("clock_time_get", 1, 0, SCRATCH) == Errno.SUCCESS
    assert await far.acall("random_get", SCRATCH, 8) == Errno.SUCCESS
    assert await far.acall("fd_write", 99, *text, SCRATCH) == Errno.BADF
    far.close()
    await all_closed(root)


@pytest.mark.parametrize(
    ("owner", "name", "function", "args"),
    [
        (DiskFile, "read", "fd_read", (4, 0, 0, SCRATCH)),
        (DiskFile, "write", "fd_write", (4, 0, 0, SCRATCH)),
        (DiskFile, "pread", "fd_pread", (4, 0, 0, 0, SCRATCH)),
        (DiskFile, "pwrite", "fd_pwrite", (4, 0, 0, 0, SCRATCH)),
        (DiskFile, "seek", "fd_seek", (4, 0, 2, SCRATCH)),
        (DiskFile, "set_size", "fd_filestat_set_size", (4, 1)),
        (DiskFile, "set_times", "fd_filestat_set_times", (4, 0, 0, 5)),
        (DiskFile, "status", "fd_filestat_get", (4, SCRATCH)),
        (DiskFile, "sync", "fd_sync", (4,)),
        (DiskFile, "sync", "fd_datasync", (4,)),
        (DiskFile, "close", "fd_close", (4,)),
        (DiskDirectory, "list", "fd_readdir", (3, 0x2000, 512, 0, SCRATCH)),
    ],
)
async def test_a_silent_server_delays_no_other_task(  # noqa: PLR0917 - fixtures
    far: FakeGuest,
    root: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    function: str,
    args: tuple[int, ...],
) -> None:
    """The loop keeps running, a cancel returns at once, and all files are closed in the end."""
    assert await opened(far, "file") == 4
    server.silence(monkeypatch, owner, name)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(far.acall, function, *args)
        await server.was_asked(1)
        nursery.cancel_scope.cancel()
    (calls,) = device_calls._calls.values()
    assert calls.abandoned == 1
    far.close()
    assert descriptors_of(root)  # the thread's: their numbers are not used again
    await settled(server)
    await all_closed(root)


async def test_a_late_answer_touches_neither_memory_nor_files(
    far: FakeGuest, root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the guest is gone, its memory is not written, and nothing is removed or created."""
    fd = await opened(far, "file")
    room = far.put(bytes(8))
    pairs = far.vectors((room, 8))
    server.silence(monkeypatch, DiskFile, "read")
    server.silence(monkeypatch, process_module.Process, "check_open")
    texts = far.text("dir/nested"), far.text("new")
    calls = [
        ("fd_read", (fd, *pairs, SCRATCH)),
        ("path_unlink_file", (3, *texts[0])),
        ("path_open", (3, 0, *texts[1], OFlag.CREAT, BOTH, 0, 0, SCRATCH)),
    ]
    for number, (name, args) in enumerate(calls, 1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(far.acall, name, *args))
            await server.was_asked(number)
            nursery.cancel_scope.cancel()
    far.close()
    await settled(server)
    await all_closed(root)
    assert far.memory.read(room, 8) == bytes(8)
    assert (root / "dir" / "nested").exists()
    assert not (root / "new").exists()


async def test_over_the_cap_a_guest_gets_eagain_and_it_is_logged(
    open_guest: Callable[..., FakeGuest],
    root: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """EAGAIN at once, for open files and for a guest's first call; other devices still work."""
    guests = [open_guest(preopens={"/": remote(root)}) for _ in range(33)]
    for guest in guests:
        assert await opened(guest, "file") == 4
    server.silence(monkeypatch, DiskFile, "set_size")
    with caplog.at_level(logging.WARNING, logger="wasmpool.blocking"):
        async with trio.open_nursery() as nursery:
            for guest in guests[:32]:
                nursery.start_soon(guest.acall, "fd_filestat_set_size", 4, 1)
            await server.was_asked(32)
            nursery.cancel_scope.cancel()
        assert await guests[32].acall("fd_filestat_set_size", 4, 1) == Errno.AGAIN
        newcomer = open_guest(preopens={"/": remote(root)})
        assert await newcomer.acall("fd_prestat_get", 3, SCRATCH) == Errno.AGAIN
    (record,) = caplog.records
    assert "32 file operations on device" in record.getMessage()
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    here = open_guest(preopens={"/": root})
    assert here.stat("file")[0] == Errno.SUCCESS
    await settled(server)
    assert await guests[32].acall("fd_filestat_set_size", 4, 1) == Errno.SUCCESS
    for guest in (*guests, newcomer, here):
        guest.close()
    await all_closed(root)


async def test_a_guest_that_opens_its_directories_can_be_cancelled(
    far: FakeGuest, root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that comes too late is closed."""
    server.silence(monkeypatch, process_module, "_open")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(far.acall, "fd_prestat_get", 3, SCRATCH)
        await server.was_asked(1)
        nursery.cancel_scope.cancel()
    await settled(server)
    await all_closed(root)
    assert await far.acall("fd_prestat_get", 3, SCRATCH) == Errno.SUCCESS
    far.close()
    await all_closed(root)


READS = """(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "file")
  (func (export "read") (result i32)
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 32) (i32.const 64)) (i32.store (i32.const 36) (i32.const 16))
    (drop (call $read (i32.load (i32.const 16)) (i32.const 32) (i32.const 1) (i32.const 40)))
    (i32.load (i32.const 40))))"""


async def test_an_instance_closed_while_it_waits_is_free_at_once(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real guest: its store is freed while the thread waits; the thread then touches nothing."""
    module = await Module.compile(READS, wasi=Wasi(preopens={"/": remote(root)}))
    instance = await module.instantiate()
    assert await instance.call("read") == 10
    server.silence(monkeypatch, DiskFile, "read")
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(Exception, match="closed during the call"):
                await instance.call("read")

        nursery.start_soon(read)
        await server.was_asked(1)
        await instance.aclose()
    await settled(server)
    await all_closed(root)


@pytest.mark.parametrize(
    ("real", "waits"),
    [
        ("/", True),  # a network's file system lies beneath
        ("/home", False),
        ("/homes", False),
        ("/mnt", True),
        ("/mnt/net", True),
        ("/mnt/net/deep/down", True),
        ("/mnt/network", False),
        ("/mnt/with space", True),
        ("/mnt/with space/sub", True),
        ("/mnt/twice", False),
        ("/mnt/odd", True),
    ],
)
def test_the_table_of_mounts_decides_what_may_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: str, waits: bool
) -> None:
    """The file system of a directory, and those beneath; of two at one point the later one."""
    table = tmp_path / "mountinfo"
    table.write_text(
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "28 27 0:21 / /home rw shared:1 master:2 - tmpfs tmpfs rw\n"
        "29 27 0:22 / /mnt/net rw - nfs4 server:/x rw\n"
        "30 27 0:23 / /mnt/with\\040space rw - fuse.sshfs sshfs rw\n"
        "31 27 0:24 / /mnt/twice rw - nfs4 server:/y rw\n"
        "32 31 0:25 / /mnt/twice rw - xfs /dev/vdb rw\n"
        "33 27 0:26 / /mnt/odd rw - never_heard_of none rw\n"
    )
    monkeypatch.setattr(mounts, "_TABLE", str(table))
    assert mounts.may_wait(real) == waits


def test_without_a_table_everything_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow calls are better than a blocked loop."""
    monkeypatch.setattr(mounts, "_TABLE", "/nowhere")
    assert mounts.may_wait("/")


@pytest.mark.parametrize(("real", "waits"), [("/", False), ("/proc", True)])
def test_a_table_without_the_root_is_that_of_a_chroot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: str, waits: bool
) -> None:
    """Then a directory on a block device is local; of any other it is unknown."""
    table = tmp_path / "mountinfo"
    table.write_text("")
    monkeypatch.setattr(mounts, "_TABLE", str(table))
    major = 0 if waits else 254
    status = os.stat_result((0o40755, 1, os.makedev(major, 1), 2, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(os, "stat", {real: status}.__getitem__)
    assert mounts.may_wait(real) == waits
