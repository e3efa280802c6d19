# ruff: noqa: PTH211  # what the system does is said in its own words

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest

from wasmpool_host._wasi import listing
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import FileType, OFlag

if TYPE_CHECKING:
    from pathlib import Path

    from tests.host.wasi.conftest import FakeGuest


class Entry(NamedTuple):
    cookie: int
    ino: int
    name: bytes
    filetype: int


def parse(packed: bytes) -> list[Entry]:
    """Parse the complete entries, as a guest does."""
    entries = []
    while len(packed) >= 24:
        cookie, ino, size, filetype = struct.unpack_from("<QQIB", packed)
        if len(packed) < 24 + size:
            break
        entries.append(Entry(cookie, ino, packed[24 : 24 + size], filetype))
        packed = packed[24 + size :]
    return entries


def list_all(guest: FakeGuest, fd: int, size: int) -> list[Entry]:
    """Read a directory as a C library does: on from the last complete entry, with more room."""
    entries: list[Entry] = []
    while True:
        errno, packed = guest.list(fd, size, entries[-1].cookie if entries else 0)
        assert errno == Errno.SUCCESS
        assert len(packed) <= size
        more = parse(packed)
        entries += more
        if len(packed) < size:
            return entries
        if not more:
            size *= 2


@pytest.mark.parametrize("size", [1, 23, 24, 25, 30, 64, 333, 4096, 65536])
def test_every_entry_comes_once(reader: FakeGuest, root: Path, size: int) -> None:
    """Whatever the buffer's size."""
    names = {f"{number:0{number}}".encode() for number in range(1, 60)}
    for name in names:
        (root / "dir" / os.fsdecode(name)).touch()
    entries = list_all(reader, reader.opened("dir"), size)
    assert sorted(entry.name for entry in entries) == sorted({*names, b"nested", b".", b".."})
    assert [entry.cookie for entry in entries] == list(range(1, len(entries) + 1))


def test_entries_have_their_type_and_inode(reader: FakeGuest, root: Path) -> None:
    """Type and inode; the parent has the directory's own inode, as nothing outside is revealed."""
    os.symlink("../secret", root / "link")
    os.mkfifo(root / "pipe")
    entries = {entry.name: entry for entry in list_all(reader, 3, 4096)}
    assert {name: entry.filetype for name, entry in entries.items()} == {
        b".": FileType.DIRECTORY,
        b"..": FileType.DIRECTORY,
        b"dir": FileType.DIRECTORY,
        b"file": FileType.REGULAR_FILE,
        b"link": FileType.SYMBOLIC_LINK,
        b"pipe": FileType.UNKNOWN,
    }
    assert entries[b"file"].ino == (root / "file").stat().st_ino
    assert entries[b".."].ino == entries[b"."].ino == root.stat().st_ino


def test_any_recent_cookie_goes_on_from_there(reader: FakeGuest, root: Path) -> None:
    """Forward, backward, and again."""
    for number in range(20):
        (root / f"f{number}").touch()
    fd = reader.opened(".")
    entries = list_all(reader, fd, 100)
    for cookie in (5, 20, 0, 7, 7, len(entries)):
        assert parse(reader.list(fd, 4096, cookie)[1]) == entries[cookie:]


@pytest.mark.parametrize("cookie", [5, 1000, 2**32, 2**63, 2**64 - 1])
def test_a_cookie_that_was_never_given_is_refused(reader: FakeGuest, cookie: int) -> None:
    """It is not searched for in a directory of any length."""
    fd = reader.opened("dir")
    assert reader.list(fd, 4096, cookie)[0] == Errno.INVAL
    assert reader.list(fd)[0] == Errno.SUCCESS
    assert reader.list(fd, 4096, cookie)[0] == Errno.INVAL


def test_a_forgotten_cookie_is_refused(
    reader: FakeGuest, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, however long the directory is; it can be read again from the start."""
    monkeypatch.setattr(listing, "_KEPT", 8)
    for number in range(40):
        (root / f"f{number}").touch()
    fd = reader.opened(".")
    entries = list_all(reader, fd, 128)
    assert len(entries) == 44
    assert parse(reader.list(fd, 4096, 36)[1]) == entries[36:]
    assert reader.list(fd, 4096, 35)[0] == Errno.INVAL
    assert parse(reader.list(fd)[1]) == entries


def test_a_restarted_listing_has_new_entries(guest: FakeGuest, root: Path) -> None:
    """Cookie 0 starts again; a descriptor can be listed while it is used."""
    fd = guest.opened(".")
    before = {entry.name for entry in list_all(guest, fd, 30)}
    guest.opened("new", oflags=OFlag.CREAT, at=fd)
    assert {entry.name for entry in list_all(guest, fd, 30)} == {*before, b"new"}


def test_an_unfinished_listing_leaves_nothing_open(reader: FakeGuest) -> None:
    """Closed with its descriptor, or with the instance (the fixture counts)."""
    reader.list(3, 30)
    fd = reader.opened(".")
    reader.list(fd, 30)
    assert reader.call("fd_close", fd) == Errno.SUCCESS


async def test_a_huge_buffer_is_refused(reader: FakeGuest) -> None:
    """To fill it would delay every other task."""
    room = reader.put(bytes(listing.MAX_BUFFER))
    full = (3, room, listing.MAX_BUFFER, 0, 0x100)
    assert await reader.acall("fd_readdir", *full) == Errno.SUCCESS
    assert reader.list(3, listing.MAX_BUFFER + 1)[0] == Errno.INVAL


def test_a_wild_buffer_is_refused(reader: FakeGuest) -> None:
    """Before anything is read."""
    assert reader.call("fd_readdir", 3, -64, 128, 0, 0x100) == Errno.FAULT
    assert reader.call("fd_readdir", 3, 0x1000, 128, 0, -2) == Errno.FAULT


def test_a_file_cannot_be_listed(reader: FakeGuest) -> None:
    """It is no directory."""
    assert reader.list(reader.opened("file"))[0] == Errno.NOTDIR
