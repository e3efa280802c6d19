# ruff: noqa: PTH116, PTH208, PTH211  # what the system does is said in its own words

from __future__ import annotations

import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from wasmpool_host._wasi import Preopen
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import FdFlag, FileType, FstFlag, OFlag
from wasmpool_host._wasi.rights import Right

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.host.wasi.conftest import FakeGuest

READ = Right.FD_READ
WRITE = Right.FD_WRITE
BOTH = READ | WRITE


def test_a_file_is_read_and_sought(reader: FakeGuest) -> None:
    """From the offset, at an offset, from the end; at the end it is empty."""
    fd = reader.opened("file")
    assert reader.read(fd, 4) == (Errno.SUCCESS, b"0123")
    assert reader.seek(fd, 1, os.SEEK_CUR) == (Errno.SUCCESS, 5)
    assert reader.read(fd) == (Errno.SUCCESS, b"56789")
    assert reader.read(fd) == (Errno.SUCCESS, b"")
    assert reader.seek(fd, -2, os.SEEK_END) == (Errno.SUCCESS, 8)
    ptr = reader.put(bytes(3))
    assert reader.call("fd_pread", fd, *reader.vectors((ptr, 3)), 2, 0x100) == Errno.SUCCESS
    assert reader.memory.read(ptr, 3) == b"234"
    assert reader.call("fd_tell", fd, 0x100) == Errno.SUCCESS
    assert reader.u64() == 8


@pytest.mark.parametrize(
    ("offset", "whence"), [(-1, 0), (-11, 2), (2**63 - 1, 2), (-(2**63), 1), (0, 3), (0, 255)]
)
def test_a_seek_to_nowhere_is_refused(reader: FakeGuest, offset: int, whence: int) -> None:
    """Before the start, beyond the largest offset, or with an unknown origin."""
    assert reader.seek(reader.opened("file"), offset, whence)[0] in (Errno.INVAL, Errno.OVERFLOW)


def test_a_file_is_made_written_and_cut(guest: FakeGuest, root: Path) -> None:
    """With a writable directory the guest can write."""
    fd = guest.opened("new", BOTH, OFlag.CREAT | OFlag.EXCL)
    assert guest.write(fd, b"hello world") == (Errno.SUCCESS, 11)
    assert guest.call("fd_pwrite", fd, *guest.vectors((guest.put(b"J"), 1)), 0, 0x100) == 0
    assert guest.call("fd_filestat_set_size", fd, 5) == Errno.SUCCESS
    assert (root / "new").read_bytes() == b"Jello"
    assert guest.open("new", BOTH, OFlag.CREAT | OFlag.EXCL)[0] == Errno.EXIST
    guest.opened("new", WRITE, OFlag.TRUNC)
    assert (root / "new").read_bytes() == b""


def test_rights_say_what_a_file_is_opened_for(guest: FakeGuest) -> None:
    """Reading needs the right to read, writing the right to write; the rights are reported."""
    for rights in (Right(0), READ, WRITE, BOTH):
        fd = guest.opened("file", rights)
        assert (guest.read(fd)[0] == Errno.SUCCESS) == bool(rights & READ)
        assert (guest.write(fd, b"0")[0] == Errno.SUCCESS) == bool(rights & WRITE)
        guest.call("fd_fdstat_get", fd, 0x100)
        filetype, _, base, _ = struct.unpack("<BxHxxxxQQ", guest.memory.read(0x100, 24))
        assert filetype == FileType.REGULAR_FILE
        assert base & BOTH == rights
        assert guest.call("fd_fdstat_set_rights", fd, 0, 0) == Errno.NOTSUP


def test_appending_goes_to_the_end(guest: FakeGuest, root: Path) -> None:
    """Wherever the offset is, and from the moment the flag is set."""
    fd = guest.opened("file", BOTH, flags=FdFlag.APPEND)
    guest.write(fd, b"a")
    assert guest.call("fd_fdstat_set_flags", fd, 0) == Errno.SUCCESS
    guest.seek(fd, 0)
    guest.write(fd, b"X")
    assert guest.call("fd_fdstat_set_flags", fd, FdFlag.APPEND) == Errno.SUCCESS
    guest.seek(fd, 0)
    guest.write(fd, b"b")
    assert (root / "file").read_bytes() == b"X123456789ab"


@pytest.mark.parametrize("flag", [FdFlag.DSYNC, FdFlag.RSYNC, FdFlag.SYNC, 0x8000])
def test_synchronous_writes_are_not_to_be_had(guest: FakeGuest, flag: FdFlag) -> None:
    """They would block the loop until the disk is done."""
    assert guest.open("file", WRITE, flags=flag)[0] == Errno.NOTSUP
    assert guest.call("fd_fdstat_set_flags", guest.opened("file"), flag) == Errno.NOTSUP


def test_read_only_is_read_only(reader: FakeGuest, root: Path) -> None:
    """Every operation that would change something fails with ROFS, and nothing changes."""
    before = sorted(os.walk(root))
    status = os.stat(root / "file")
    fd = reader.opened("file")
    for rights, oflags in (
        (WRITE, OFlag(0)),
        (BOTH, OFlag(0)),
        (READ, OFlag.TRUNC),
        (READ, OFlag.CREAT),
        (Right(0), OFlag.CREAT | OFlag.EXCL),
    ):
        assert reader.open("file", rights, oflags)[0] == Errno.ROFS
        assert reader.open("new", rights, oflags)[0] == Errno.ROFS
    assert reader.path("path_create_directory", "new") == Errno.ROFS
    assert reader.path("path_remove_directory", "dir") == Errno.ROFS
    assert reader.path("path_unlink_file", "file") == Errno.ROFS
    assert reader.rename("file", "new") == Errno.ROFS
    assert reader.link("file", "new") == Errno.ROFS
    assert reader.symlink("file", "new") == Errno.ROFS
    assert reader.call("fd_filestat_set_times", fd, 0, 0, FstFlag.MTIM) == Errno.ROFS
    assert reader.call("fd_filestat_set_times", 3, 0, 0, FstFlag.MTIM) == Errno.ROFS
    path = reader.text("file")
    assert reader.call("path_filestat_set_times", 3, 0, *path, 0, 0, FstFlag.MTIM) == Errno.ROFS
    assert reader.write(fd, b"x")[0] == Errno.BADF
    assert reader.call("fd_filestat_set_size", fd, 0) == Errno.BADF
    assert reader.call("fd_allocate", fd, 0, 1) == Errno.NOTSUP
    assert sorted(os.walk(root)) == before
    assert os.stat(root / "file") == status


def test_a_directory_beneath_a_read_only_one_is_read_only(reader: FakeGuest) -> None:
    """Permissions apply to everything beneath it."""
    fd = reader.opened("dir", oflags=OFlag.DIRECTORY)
    assert reader.open("nested", WRITE, at=fd)[0] == Errno.ROFS
    assert reader.path("path_create_directory", "x", at=fd) == Errno.ROFS


def test_a_read_only_directory_still_reports_the_right_to_write(reader: FakeGuest) -> None:
    """A C library requests no more than is reported, and its guest would see ROFS too late."""
    reader.call("fd_fdstat_get", 3, 0x100)
    filetype, _, base, inheriting = struct.unpack("<BxHxxxxQQ", reader.memory.read(0x100, 24))
    assert filetype == FileType.DIRECTORY
    assert inheriting & BOTH == BOTH
    assert base & (Right.FD_SEEK | Right.FD_FILESTAT_SET_SIZE) == 0


def test_between_directories_both_must_be_writable(
    open_guest: Callable[..., FakeGuest], root: Path, tmp_path: Path
) -> None:
    """Neither a rename nor a hard link moves a file between read-only and writable."""
    (tmp_path / "rw").mkdir()
    (tmp_path / "rw" / "own").write_text("own")
    guest = open_guest(preopens={"/ro": root, "/rw": Preopen(tmp_path / "rw", writable=True)})
    for old, new, at, to in (("file", "x", 3, 4), ("own", "x", 4, 3)):
        assert guest.rename(old, new, at, to) == Errno.ROFS
        assert guest.link(old, new, at, to) == Errno.ROFS
    assert sorted(os.listdir(root)) == ["dir", "file"]
    assert os.listdir(tmp_path / "rw") == ["own"]


def test_renames_work_between_writable_directories(
    open_guest: Callable[..., FakeGuest], root: Path, tmp_path: Path
) -> None:
    """From one preopened directory to another."""
    (tmp_path / "other").mkdir()
    guest = open_guest(
        preopens={
            "/a": Preopen(root, writable=True),
            "/b": Preopen(tmp_path / "other", writable=True),
        }
    )
    assert guest.rename("file", "moved", 3, 4) == Errno.SUCCESS
    assert guest.link("moved", "dir/again", 4, 3) == Errno.SUCCESS
    assert (root / "dir" / "again").read_bytes() == b"0123456789"
    assert not (root / "file").exists()


def test_a_file_grows_no_further_than_allowed(
    open_guest: Callable[..., FakeGuest], root: Path
) -> None:
    """Neither by writing, by writing far away, nor by its size; the part that fits is written."""
    guest = open_guest(preopens={"/": Preopen(root, writable=True, max_file_size=12)})
    fd = guest.opened("file", BOTH)
    assert guest.call("fd_filestat_set_size", fd, 13) == Errno.FBIG
    assert guest.call("fd_filestat_set_size", fd, 2**64 - 1) == Errno.FBIG
    one = guest.vectors((guest.put(b"x"), 1))
    for offset in (12, 2**40, 2**63 - 1):
        assert guest.call("fd_pwrite", fd, *one, offset, 0x100) == Errno.FBIG
    assert guest.call("fd_pwrite", fd, *one, 2**63, 0x100) == Errno.INVAL
    guest.seek(fd, 10)
    assert guest.write(fd, b"abcd") == (Errno.SUCCESS, 2)
    assert guest.write(fd, b"c")[0] == Errno.FBIG
    assert guest.write(fd, b"") == (Errno.SUCCESS, 0)
    guest.call("fd_fdstat_set_flags", fd, FdFlag.APPEND)
    guest.seek(fd, 0)
    assert guest.write(fd, b"c")[0] == Errno.FBIG
    assert guest.call("fd_pwrite", fd, *one, 0, 0x100) == Errno.FBIG  # it would be appended
    assert (root / "file").read_bytes() == b"0123456789ab"


def test_disk_space_cannot_be_set_aside(guest: FakeGuest) -> None:
    """One call could fill the disk."""
    assert guest.call("fd_allocate", guest.opened("file", BOTH), 0, 2**40) == Errno.NOTSUP
    assert guest.call("fd_allocate", 3, 0, 1) == Errno.BADF


def test_times_are_set_one_by_one(guest: FakeGuest, root: Path) -> None:
    """A time without a flag stays; contradictory flags are refused."""
    os.utime(root / "file", ns=(111, 222))
    fd = guest.opened("file")
    assert guest.call("fd_filestat_set_times", fd, 1, 5, FstFlag.MTIM) == Errno.SUCCESS
    status = os.stat(root / "file")
    assert (status.st_atime_ns, status.st_mtime_ns) == (111, 5)
    path = guest.text("file")
    assert guest.call("path_filestat_set_times", 3, 0, *path, 7, 0, FstFlag.ATIM) == 0
    status = os.stat(root / "file")
    assert (status.st_atime_ns, status.st_mtime_ns) == (7, 5)
    assert guest.call("fd_filestat_set_times", fd, 0, 0, FstFlag.ATIM_NOW) == Errno.SUCCESS
    assert os.stat(root / "file").st_atime > 1e9
    for flags in (3, 12, 16, 0xFFFF):
        assert guest.call("fd_filestat_set_times", fd, 0, 0, flags) == Errno.INVAL
    assert guest.call("fd_filestat_set_times", fd, 2**63 - 1, 2**63 - 1, 5) == Errno.SUCCESS
    assert guest.call("fd_filestat_set_times", fd, 2**63, 0, 1) == Errno.INVAL


def test_a_status_has_the_values_of_the_system(guest: FakeGuest, root: Path) -> None:
    """By path and by descriptor, followed or not."""
    os.symlink("file", root / "link")
    os.utime(root / "file", ns=(-1, 2_000_000_001))  # before 1970 cannot be said
    status = os.stat(root / "file")
    want = (status.st_dev, status.st_ino, FileType.REGULAR_FILE, 1, 10, 0, 2_000_000_001)
    assert guest.stat("file")[1][:7] == want
    assert guest.stat("link", follow=True)[1][:7] == want
    assert guest.call("fd_filestat_get", guest.opened("file"), 0x100) == Errno.SUCCESS
    assert guest.filestat()[:7] == want
    assert guest.stat("link")[1].filetype == FileType.SYMBOLIC_LINK
    assert guest.stat(".")[1].filetype == FileType.DIRECTORY
    assert guest.stat("missing")[0] == Errno.NOENT


def test_advice_is_heard(guest: FakeGuest) -> None:
    """All kinds of advice; unknown ones are refused."""
    fd = guest.opened("file")
    for advice in range(6):
        assert guest.call("fd_advise", fd, 0, 2**64 - 1, advice) == Errno.SUCCESS
    assert guest.call("fd_advise", fd, 0, 0, 6) == Errno.INVAL
    assert guest.call("fd_advise", 3, 0, 0, 0) == Errno.BADF


def test_a_directory_is_no_file(guest: FakeGuest) -> None:
    """It is neither read nor written, and has no offset."""
    empty = guest.vectors()
    assert guest.read(3)[0] == Errno.BADF
    assert guest.write(3, b"x")[0] == Errno.BADF
    assert guest.call("fd_pread", 3, *empty, 0, 0x100) == Errno.BADF
    assert guest.call("fd_pwrite", 3, *empty, 0, 0x100) == Errno.BADF
    assert guest.seek(3, 0)[0] == Errno.BADF
    assert guest.call("fd_filestat_set_size", 3, 0) == Errno.BADF
    assert guest.open("dir", WRITE)[0] == Errno.ISDIR
    assert guest.open("dir", READ, OFlag.CREAT | OFlag.DIRECTORY)[0] == Errno.INVAL
    assert guest.open("file", READ, OFlag.DIRECTORY)[0] == Errno.NOTDIR


@pytest.mark.parametrize("rights", [READ, WRITE, BOTH])
def test_pipes_and_sockets_are_not_opened(guest: FakeGuest, root: Path, rights: Right) -> None:
    """Nothing that could block, or that has an effect when it is opened; and at once."""
    os.mkfifo(root / "pipe")
    assert guest.open("pipe", rights)[0] == Errno.NOTSUP
    assert guest.open("pipe", rights, OFlag.CREAT)[0] == Errno.NOTSUP


def test_an_entry_that_becomes_a_pipe_is_not_opened(
    guest: FakeGuest, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first check is not enough: the opened file is checked again, without blocking."""
    os.mkfifo(root / "pipe")
    monkeypatch.setattr("wasmpool_host._wasi.files.DiskEntry._check_kind_before", lambda _: None)
    assert guest.open("pipe", READ)[0] == Errno.NOTSUP
    assert guest.open("pipe", BOTH)[0] == Errno.NOTSUP
    assert guest.open("pipe", WRITE)[0] == Errno.NXIO


async def test_synchronizing_waits_for_the_disk_in_a_thread(
    guest: FakeGuest, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop keeps running, and the thread has its own descriptor."""
    fd = guest.opened("file", BOTH)
    begun, go = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    synchronized: list[int] = []

    def fsync(system_fd: int) -> None:
        token.run_sync_soon(begun.set)
        go.wait(10)
        synchronized.append(os.fstat(system_fd).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.acall, "fd_sync", fd)
        await begun.wait()
        guest.close()  # as a revoked lease does it
        go.set()
    assert synchronized == [(root / "file").stat().st_ino]


async def test_synchronizing_works(guest: FakeGuest) -> None:
    """Files and directories, data alone or all of it."""
    for fd in (guest.opened("file", BOTH), 3):
        assert await guest.acall("fd_sync", fd) == Errno.SUCCESS
        assert await guest.acall("fd_datasync", fd) == Errno.SUCCESS


async def test_a_cancelled_synchronization_leaves_nothing_open(guest: FakeGuest) -> None:
    """The descriptor for the thread is closed even if there was no thread (the fixture counts)."""
    fd = guest.opened("file", BOTH)
    with trio.CancelScope() as scope:
        scope.cancel()
        await guest.acall("fd_sync", fd)
    assert scope.cancelled_caught


async def test_a_reader_does_not_synchronize(
    reader: FakeGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that wrote nothing must not make the disk work."""
    monkeypatch.setattr(os, "fsync", None)
    assert await reader.acall("fd_sync", reader.opened("file")) == Errno.SUCCESS
