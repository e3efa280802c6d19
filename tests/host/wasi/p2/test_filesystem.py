"""Files and directories of preview 2; what is common with preview 1 is tested there."""

# ruff: noqa: PTH116, PTH211  # what the system does is said in its own words

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.host.wasi.preview2 import STREAMS, TYPES

from wasmpool_host import Preopen
from wasmpool_host._wasi.descriptors import MAX_OPEN
from wasmpool_host._wasi_p2.filesystem import Datetime
from wasmpool_host._wit_values import Ok, Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.host.wasi.preview2 import FakeComponent

NO_CHANGE = Variant("no-change")


def listed(component: FakeComponent, directory: Any) -> list[tuple[str, str] | str]:
    """All entries of a directory: type and name, or an error."""
    stream = component.at(directory, "read-directory")
    found: list[tuple[str, str] | str] = []
    while True:
        name = "[method]directory-entry-stream.read-directory-entry"
        answer = component.call(TYPES, name, stream)
        if answer == Ok(None):
            component.drop(stream)
            return found
        entry = answer.value
        found.append((entry.type, entry.name) if isinstance(answer, Ok) else entry)


def test_a_file_is_read_at_any_offset(component: FakeComponent) -> None:
    """Up to the length that was asked for; an empty read says that the end was reached."""
    (root,) = component.roots()
    file = component.open(root, "file")
    assert component.at(file, "read", 4, 2) == (b"2345", False)
    assert component.at(file, "read", 100, 8) == (b"89", False)
    assert component.at(file, "read", 100, 10) == (b"", True)
    assert component.at(file, "read", 2**64 - 1, 0)[0] == b"0123456789"
    assert component.at(file, "read", 1, 2**64 - 1) == "invalid"
    assert component.at(file, "write", b"x", 0) == "bad-descriptor"


def test_a_file_is_created_written_and_cut(component: FakeComponent, root: Path) -> None:
    """As the system does it; the descriptor says what it is open for."""
    (directory,) = component.roots()
    new = component.open(directory, "new", flags=["read", "write"], how=["create", "exclusive"])
    assert component.at(new, "get-flags") == {"read", "write"}
    assert component.at(new, "write", b"hello", 3) == 5
    assert (root / "new").read_bytes() == b"\0\0\0hello"
    assert component.at(new, "set-size", 4) is None
    assert (root / "new").read_bytes() == b"\0\0\0h"
    assert component.open(directory, "new", how=["create", "exclusive"]) == "exist"


def test_streams_of_one_file_have_their_own_offsets(component: FakeComponent, root: Path) -> None:
    """Readers, writers and appenders do not move each other, and outlive the descriptor."""
    (directory,) = component.roots()
    file = component.open(directory, "file", flags=["read", "write"])
    early = component.at(file, "read-via-stream", 0)
    late = component.at(file, "read-via-stream", 8)
    writer = component.at(file, "write-via-stream", 1)
    appender = component.at(file, "append-via-stream")
    component.drop(file)
    assert component.read(early, 3) == b"012"
    assert component.write(writer, b"ab") is None
    assert component.write(appender, b"!") is None
    assert component.write(writer, b"c") is None
    assert component.read(late) == b"89!"
    assert component.read(early) == b"c456789!"
    assert component.read(early) == Variant("closed")
    assert (root / "file").read_bytes() == b"0abc456789!"


def test_a_stream_needs_a_file_that_is_open_for_it(component: FakeComponent) -> None:
    """Neither a directory, nor a file that is open for the other direction."""
    (directory,) = component.roots()
    reader = component.open(directory, "file")
    writer = component.open(directory, "file", flags=["write"])
    assert component.at(reader, "write-via-stream", 0) == "bad-descriptor"
    assert component.at(reader, "append-via-stream") == "bad-descriptor"
    assert component.at(writer, "read-via-stream", 0) == "bad-descriptor"
    assert component.at(directory, "read-via-stream", 0) == "bad-descriptor"


def test_a_file_that_is_too_large_fails_its_stream(
    open_component: Callable[..., FakeComponent], root: Path
) -> None:
    """The error has the code; afterwards the stream is closed."""
    component = open_component(preopens={"/": Preopen(root, writable=True, max_file_size=12)})
    (directory,) = component.roots()
    file = component.open(directory, "file", flags=["write"])
    for stream in (
        component.at(file, "write-via-stream", 10),
        component.at(file, "append-via-stream"),
    ):
        failed = component.write(stream, b"abc")
        assert failed.case == "last-operation-failed"
        assert component.call(TYPES, "filesystem-error-code", failed.value) == "file-too-large"
        text = component.call("wasi:io/error", "[method]error.to-debug-string", failed.value)
        assert text == "file-too-large"
        assert component.write(stream, b"") == Variant("closed")
        check = component.call(STREAMS, "[method]output-stream.check-write", stream)
        assert check.value == Variant("closed")
    assert (root / "file").stat().st_size == 12


def test_a_directory_is_listed_entry_by_entry(component: FakeComponent, root: Path) -> None:
    """Without the directory itself and its parent; two listings do not disturb each other."""
    os.symlink("file", root / "link")
    (directory,) = component.roots()
    want = {("regular-file", "file"), ("directory", "dir"), ("symbolic-link", "link")}
    one = component.at(directory, "read-directory")
    assert set(listed(component, directory)) == want
    component.drop(one)
    inner = component.open(directory, "dir")
    assert listed(component, inner) == [("regular-file", "nested")]
    assert component.at(component.open(directory, "file"), "read-directory") == "not-directory"


def test_a_name_that_is_no_utf_8_is_an_error_of_its_own(
    component: FakeComponent, root: Path
) -> None:
    """What follows it is listed."""
    (directory,) = component.roots()
    (root / "dir" / "nested").unlink()
    for name in (b"a\xff", b"b"):
        (root / "dir" / os.fsdecode(name)).touch()
    found = listed(component, component.open(directory, "dir"))
    assert sorted(map(str, found)) == sorted(
        map(str, ["illegal-byte-sequence", ("regular-file", "b")])
    )


def test_what_a_file_is(component: FakeComponent, root: Path) -> None:
    """Type, size, links and times, of a descriptor and of a path."""
    os.utime(root / "file", ns=(1_000_000_007, 2_000_000_009))
    os.link(root / "file", root / "other")
    os.symlink("file", root / "link")
    (directory,) = component.roots()
    stat = component.at(component.open(directory, "file"), "stat")
    assert (stat.type, stat.size, stat.link_count) == ("regular-file", 10, 2)
    assert stat.data_access_timestamp == Datetime(1, 7)
    assert stat.data_modification_timestamp == Datetime(2, 9)
    assert component.at(directory, "stat-at", {"symlink-follow"}, "link") == stat
    link = component.at(directory, "stat-at", set(), "link")
    assert (link.type, link.size) == ("symbolic-link", 4)
    assert component.at(directory, "get-type") == "directory"
    assert component.at(directory, "get-flags") == {"read", "mutate-directory"}


def test_times_are_set(component: FakeComponent, root: Path) -> None:
    """To a time, to now, or not at all; one that does not exist is invalid."""
    (directory,) = component.roots()
    file = component.open(directory, "file", flags=["write"])
    then = Variant("timestamp", Datetime(5, 6))
    assert component.at(file, "set-times", then, NO_CHANGE) is None
    before = os.stat(root / "file")
    assert before.st_atime_ns == 5_000_000_006
    assert component.at(directory, "set-times-at", set(), "file", NO_CHANGE, then) is None
    assert os.stat(root / "file").st_mtime_ns == 5_000_000_006
    assert component.at(file, "set-times", Variant("now"), Variant("now")) is None
    assert os.stat(root / "file").st_mtime_ns > 10**18
    for wrong in (Datetime(0, 10**9), Datetime(2**64 - 1, 0)):
        assert component.at(file, "set-times", Variant("timestamp", wrong), NO_CHANGE) == "invalid"


def test_two_handles_of_one_file_are_the_same_object(component: FakeComponent) -> None:
    """Their hashes agree too, until the file changes."""
    (directory,) = component.roots()
    one = component.open(directory, "file", flags=["write"])
    two = component.open(directory, "file")
    inner = component.open(directory, "dir")
    assert component.at(one, "is-same-object", two) is True
    assert component.at(one, "is-same-object", inner) is False
    before = component.at(one, "metadata-hash")
    assert component.at(two, "metadata-hash") == before
    assert component.at(directory, "metadata-hash-at", set(), "file") == before
    assert component.at(inner, "metadata-hash") != before
    component.at(one, "write", b"longer than before", 0)
    assert component.at(two, "metadata-hash") != before


def test_a_link_is_read_unless_it_is_absolute(component: FakeComponent, root: Path) -> None:
    """An absolute target says what the host's paths are."""
    os.symlink("dir/nested", root / "link")
    os.symlink("/etc/passwd", root / "absolute")
    os.symlink(b"\xff", os.fsencode(root / "odd"))
    (directory,) = component.roots()
    assert component.at(directory, "readlink-at", "link") == "dir/nested"
    assert component.at(directory, "readlink-at", "absolute") == "not-permitted"
    assert component.at(directory, "readlink-at", "odd") == "illegal-byte-sequence"
    assert component.at(directory, "symlink-at", "/etc", "new") == "not-permitted"


def test_a_read_only_directory_refuses_every_change(
    open_component: Callable[..., FakeComponent], root: Path
) -> None:
    """In all that is beneath it, too."""
    component = open_component(preopens={"/": root})
    (directory,) = component.roots()
    inner = component.open(directory, "dir")
    for where in (directory, inner):
        assert component.at(where, "get-flags") == {"read"}
        for how in (["create"], ["truncate"]):
            assert component.open(where, "file", how=how) == "read-only"
        assert component.open(where, "nested", flags=["write"]) == "read-only"
        assert component.open(where, ".", flags=["mutate-directory"]) == "read-only"
        for name in ("create-directory-at", "unlink-file-at", "remove-directory-at"):
            assert component.at(where, name, "x") == "read-only"
        assert component.at(where, "symlink-at", "a", "b") == "read-only"
        assert component.at(where, "rename-at", "a", where, "b") == "read-only"
        assert component.at(where, "link-at", set(), "a", where, "b") == "read-only"
        assert component.at(where, "set-times", NO_CHANGE, NO_CHANGE) == "read-only"


def test_what_waits_for_the_disk_is_refused(component: FakeComponent) -> None:
    """Synchronous writes would hold up the loop."""
    (directory,) = component.roots()
    for flag in ("file-integrity-sync", "data-integrity-sync", "requested-write-sync"):
        assert component.open(directory, "file", flags=["write", flag]) == "unsupported"


async def test_the_disk_is_synchronized_in_a_thread(component: FakeComponent) -> None:
    """The data, or the metadata, too."""
    (directory,) = component.roots()
    file = component.open(directory, "file", flags=["write"])
    for name in ("sync", "sync-data"):
        assert await component.acall(TYPES, f"[method]descriptor.{name}", file) == Ok()


def test_open_files_are_bounded(component: FakeComponent) -> None:
    """Descriptors, streams and listings together; one that is dropped makes room."""
    (directory,) = component.roots()
    opened = []
    while not isinstance(found := component.open(directory, "file"), str):
        opened.append(found)
    assert found == "insufficient-memory"
    assert len(opened) == MAX_OPEN - 4
    assert component.at(directory, "read-directory") == "insufficient-memory"
    component.drop(opened.pop())
    assert not isinstance(component.at(directory, "read-directory"), str)


def test_a_handle_that_is_dropped_after_its_instance_closes_nothing(
    component: FakeComponent,
) -> None:
    """The process has closed it, and its number may be another's by now."""
    (directory,) = component.roots()
    file = component.open(directory, "file")
    listing = component.at(directory, "read-directory")
    for value in component.state.values():
        value.close()
    component.drop(file)
    component.drop(listing)


@pytest.mark.parametrize("path", ["", "/", "/file", "..", "dir/../..", "a\0b", "x" * 5000])
def test_a_path_that_leads_out_or_nowhere_is_an_error(component: FakeComponent, path: str) -> None:
    """By its own code."""
    (directory,) = component.roots()
    want = {"": "no-entry", "a\0b": "invalid", "x" * 5000: "name-too-long"}
    assert component.open(directory, path) == want.get(path, "not-permitted")
