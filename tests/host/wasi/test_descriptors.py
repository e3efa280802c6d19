# ruff: noqa: PTH110, PTH208  # what the system does is said in its own words

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wasmpool_host._wasi import Preopen
from wasmpool_host._wasi import descriptors as descriptors_module
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import OFlag
from wasmpool_host._wasi.rights import Right

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from tests.host.wasi.conftest import FakeGuest


def test_preopened_directories_are_found_from_3_on(
    open_guest: Callable[..., FakeGuest], root: Path
) -> None:
    """As C libraries look for them: one after the other, up to the first BADF."""
    guest = open_guest(preopens={"/a": root, "/längst": Preopen(root / "dir")})
    names = []
    fd = 3
    while guest.call("fd_prestat_get", fd, 0x100) == Errno.SUCCESS:
        assert guest.u32(0x100) == 0
        size = guest.u32(0x104)
        assert guest.call("fd_prestat_dir_name", fd, 0x200, size) == Errno.SUCCESS
        names.append(guest.memory.read(0x200, size).decode())
        fd += 1
    assert names == ["/a", "/längst"]
    assert guest.call("fd_prestat_get", fd, 0x100) == Errno.BADF


def test_the_name_of_a_preopened_directory_needs_its_room(reader: FakeGuest) -> None:
    """A buffer that is too small is refused, a larger one is not."""
    assert reader.call("fd_prestat_dir_name", 3, 0x200, 0) == Errno.NAMETOOLONG
    assert reader.call("fd_prestat_dir_name", 3, 0x200, 9) == Errno.SUCCESS
    assert reader.memory.read(0x200, 2) == b"/\0"


def test_without_preopens_there_is_no_directory(open_guest: Callable[..., FakeGuest]) -> None:
    """By default there is no directory in which a guest could open files."""
    guest = open_guest()
    assert guest.call("fd_prestat_get", 3, 0x100) == Errno.BADF
    for at in (0, 1, 2, 3, 4, -1, 2**31):
        assert guest.open("file", at=at)[0] in (Errno.BADF, Errno.NOTDIR)


def test_the_number_of_open_descriptors_is_bounded(guest: FakeGuest, root: Path) -> None:
    """MFILE before a file is created; closing one descriptor makes room for one."""
    errno, fds = Errno.SUCCESS, []
    while errno == Errno.SUCCESS:
        guest._top = 0x1000
        errno, fd = guest.open("file")
        fds.append(fd)
    assert errno == Errno.MFILE
    assert len(fds) + 3 == descriptors_module.MAX_OPEN
    assert guest.open("new", Right.FD_WRITE, OFlag.CREAT)[0] == Errno.MFILE
    assert not (root / "new").exists()
    assert guest.call("fd_close", fds[7]) == Errno.SUCCESS
    assert guest.open("file") == (Errno.SUCCESS, fds[7])


def test_numbers_are_low_and_used_again(guest: FakeGuest) -> None:
    """The lowest free one, but never a standard stream's."""
    assert guest.call("fd_close", 1) == Errno.SUCCESS
    assert [guest.opened("file") for _ in range(3)] == [4, 5, 6]
    guest.call("fd_close", 4)
    assert guest.opened("file") == 4


def test_a_closed_descriptor_is_gone(guest: FakeGuest) -> None:
    """In every function, also if it is closed twice."""
    fd = guest.opened("file")
    assert guest.call("fd_close", fd) == Errno.SUCCESS
    assert guest.call("fd_close", fd) == Errno.BADF
    assert guest.read(fd)[0] == Errno.BADF
    for stream in (0, 1, 2, 3):
        assert guest.call("fd_close", stream) == Errno.SUCCESS
        assert guest.call("fd_fdstat_get", stream, 0x100) == Errno.BADF


def test_closing_the_log_shows_its_last_line(
    open_guest: Callable[..., FakeGuest], caplog: pytest.LogCaptureFixture
) -> None:
    """A stream that the guest closes is flushed at once."""
    guest = open_guest()
    guest.write(2, b"last words")
    guest.call("fd_close", 2)
    assert caplog.messages == ["last words"]


def test_renumbering_closes_the_replaced_descriptor(guest: FakeGuest) -> None:
    """It moves the descriptor; it does not copy it."""
    fd, other = guest.opened("file"), guest.opened("dir/nested")
    assert guest.call("fd_renumber", fd, other) == Errno.SUCCESS
    assert guest.call("fd_close", fd) == Errno.BADF
    assert guest.read(other) == (Errno.SUCCESS, b"0123456789")


def test_renumbering_to_itself_changes_nothing(guest: FakeGuest) -> None:
    """In particular nothing is closed."""
    fd = guest.opened("file")
    assert guest.call("fd_renumber", fd, fd) == Errno.SUCCESS
    assert guest.read(fd)[0] == Errno.SUCCESS


def test_renumbering_needs_two_open_descriptors(guest: FakeGuest) -> None:
    """A guest cannot choose a number, so the table stays small."""
    fd = guest.opened("file")
    for to in (fd + 1, 2**31 - 1, 2**32 - 1):
        assert guest.call("fd_renumber", fd, to) == Errno.BADF
        assert guest.call("fd_renumber", to, fd) == Errno.BADF
    assert guest.read(fd)[0] == Errno.SUCCESS


def test_renumbering_streams_and_directories(guest: FakeGuest, root: Path) -> None:
    """Stdout can become a file, and a preopened directory another one, with all its properties."""
    fd = guest.opened("new", Right.FD_WRITE, OFlag.CREAT)
    assert guest.call("fd_renumber", fd, 1) == Errno.SUCCESS
    guest.write(1, b"to the file")
    assert (root / "new").read_bytes() == b"to the file"
    sub = guest.opened("dir", oflags=OFlag.DIRECTORY)
    assert guest.call("fd_renumber", sub, 3) == Errno.SUCCESS
    assert guest.call("fd_prestat_get", 3, 0x100) == Errno.BADF
    assert guest.stat("nested")[0] == Errno.SUCCESS
    assert guest.open("../file")[0] == Errno.NOTCAPABLE


def test_closing_the_instance_closes_everything(guest: FakeGuest) -> None:
    """Whatever was opened, renumbered or is half listed (the fixture counts)."""
    fds = [guest.opened("file") for _ in range(10)]
    guest.call("fd_renumber", fds[0], fds[1])
    guest.list(3, 30)
    guest.close()
    guest.close()


def test_files_are_not_inherited_by_child_processes(guest: FakeGuest) -> None:
    """Each of the system's descriptors closes on exec."""
    before = set(os.listdir("/proc/self/fd"))
    guest.opened("file")
    guest.opened("dir")
    new = {int(fd) for fd in set(os.listdir("/proc/self/fd")) - before}
    alive = {fd for fd in new if os.path.exists(f"/proc/self/fd/{fd}")}
    assert len(alive) >= 2
    assert not any(os.get_inheritable(fd) for fd in alive)
