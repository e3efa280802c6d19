from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.guest_memory import MAX_TRANSFER
from wasmpool_host._wasi.layout import FdFlag, FileType

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.wasi.conftest import FakeGuest


def test_stdin_is_read_to_its_end(open_guest: Callable[..., FakeGuest]) -> None:
    """In parts as large as the guest requests, then it is empty."""
    guest = open_guest(stdin=b"hello world")
    assert guest.read(0, 5) == (Errno.SUCCESS, b"hello")
    a, b = guest.put(bytes(3)), guest.put(bytes(100))
    assert guest.call("fd_read", 0, *guest.vectors((a, 3), (b, 100)), 0x100) == Errno.SUCCESS
    assert guest.u32() == 6
    assert guest.memory.read(a, 3) + guest.memory.read(b, 4) == b" world\0"
    assert guest.read(0) == (Errno.SUCCESS, b"")


def test_stdin_is_empty_by_default(open_guest: Callable[..., FakeGuest]) -> None:
    """It is at its end from the start."""
    assert open_guest().read(0) == (Errno.SUCCESS, b"")


def test_each_instance_reads_stdin_from_the_start(open_guest: Callable[..., FakeGuest]) -> None:
    """The position belongs to the instance."""
    assert open_guest(stdin=b"a").read(0) == (Errno.SUCCESS, b"a")
    assert open_guest(stdin=b"a").read(0) == (Errno.SUCCESS, b"a")


def test_streams_go_one_way(open_guest: Callable[..., FakeGuest]) -> None:
    """Stdin cannot be written, stdout and stderr cannot be read."""
    guest = open_guest()
    assert guest.write(0, b"x")[0] == Errno.BADF
    assert guest.read(1)[0] == Errno.BADF
    assert guest.read(2)[0] == Errno.BADF


@pytest.mark.parametrize("fd", [0, 1, 2])
def test_streams_have_no_place(open_guest: Callable[..., FakeGuest], fd: int) -> None:
    """Operations that need an offset or a file are refused."""
    guest = open_guest()
    empty = guest.vectors()
    assert guest.seek(fd, 0)[0] == Errno.SPIPE
    assert guest.call("fd_tell", fd, 0x100) == Errno.SPIPE
    assert guest.call("fd_pread", fd, *empty, 0, 0x100) == Errno.SPIPE
    assert guest.call("fd_pwrite", fd, *empty, 0, 0x100) == Errno.SPIPE
    assert guest.call("fd_advise", fd, 0, 0, 0) == Errno.SPIPE
    assert guest.call("fd_allocate", fd, 0, 1) == Errno.SPIPE
    assert guest.call("fd_filestat_set_size", fd, 0) == Errno.INVAL
    assert guest.call("fd_filestat_set_times", fd, 0, 0, 0) == Errno.NOTSUP
    assert guest.call("fd_readdir", fd, 0, 0, 0, 0x100) == Errno.NOTDIR
    assert guest.call("fd_prestat_get", fd, 0x100) == Errno.BADF
    assert guest.open("x", at=fd)[0] == Errno.NOTDIR


async def test_streams_cannot_be_synchronized(open_guest: Callable[..., FakeGuest]) -> None:
    """Like a pipe."""
    assert await open_guest().acall("fd_sync", 1) == Errno.INVAL


def test_output_looks_like_a_terminal(open_guest: Callable[..., FakeGuest]) -> None:
    """A character device without the right to seek: C libraries write each line when it ends."""
    guest = open_guest()
    assert guest.call("fd_fdstat_get", 1, 0x100) == Errno.SUCCESS
    filetype, flags, base, _ = struct.unpack("<BxHxxxxQQ", guest.memory.read(0x100, 24))
    assert (filetype, flags) == (FileType.CHARACTER_DEVICE, 0)
    assert base & 0x24 == 0  # fd_seek, fd_tell
    assert base & 0x40  # fd_write
    assert guest.call("fd_filestat_get", 1, 0x100) == Errno.SUCCESS
    assert guest.filestat()[:6] == (0, 0, FileType.CHARACTER_DEVICE, 1, 0, 0)


def test_non_blocking_is_remembered_and_changes_nothing(
    open_guest: Callable[..., FakeGuest],
) -> None:
    """Nothing blocks; other flags are not supported for a stream."""
    guest = open_guest()
    assert guest.call("fd_fdstat_set_flags", 1, FdFlag.NONBLOCK) == Errno.SUCCESS
    guest.call("fd_fdstat_get", 1, 0x100)
    assert guest.memory.read(0x102, 1) == b"\x04"
    assert guest.call("fd_fdstat_set_flags", 1, FdFlag.APPEND) == Errno.NOTSUP


def test_one_write_takes_a_megabyte_at_most(open_guest: Callable[..., FakeGuest]) -> None:
    """Overlapping buffers can cover far more bytes than the memory has: it is a short write."""
    out: list[bytes] = []
    guest = open_guest(stdout=out.append)
    vectors = guest.vectors(*[(0, 2**20)] * 1024)
    assert guest.call("fd_write", 1, *vectors, 0x100) == Errno.SUCCESS
    assert guest.u32() == MAX_TRANSFER == len(out[0])


def test_one_read_gives_a_megabyte_at_most(open_guest: Callable[..., FakeGuest]) -> None:
    """Overlapping buffers can cover far more bytes than the memory has: it is a short read."""
    guest = open_guest(stdin=bytes(3 * 2**20), size=2**22)
    assert guest.call("fd_read", 0, *guest.vectors((2**20, 3 * 2**20)), 0x100) == Errno.SUCCESS
    assert guest.u32() == MAX_TRANSFER


def test_a_wild_buffer_moves_nothing(open_guest: Callable[..., FakeGuest]) -> None:
    """All buffers are checked before a byte is written or read."""
    out: list[bytes] = []
    guest = open_guest(stdin=b"input", stdout=out.append)
    good = guest.put(b"good")
    vectors = guest.vectors((good, 4), (0xFFFF_FFF0, 4))
    assert guest.call("fd_write", 1, *vectors, 0x100) == Errno.FAULT
    assert guest.call("fd_read", 0, *vectors, 0x100) == Errno.FAULT
    assert guest.call("fd_write", 1, *guest.vectors((good, 4)), -1) == Errno.FAULT
    assert guest.call("fd_read", 0, *guest.vectors((good, 4)), -1) == Errno.FAULT
    assert out == []
    assert guest.read(0) == (Errno.SUCCESS, b"input")


def test_sockets_are_not_to_be_had(open_guest: Callable[..., FakeGuest]) -> None:
    """A descriptor is no socket; a closed one is no descriptor."""
    guest = open_guest()
    for fd, errno in ((1, Errno.NOTSOCK), (9, Errno.BADF)):
        assert guest.call("sock_accept", fd, 0, 0x100) == errno
        assert guest.call("sock_recv", fd, 0, 0, 0, 0x100, 0x104) == errno
        assert guest.call("sock_send", fd, 0, 0, 0, 0x100) == errno
        assert guest.call("sock_shutdown", fd, 0) == errno
