"""Known escapes from preopened directories in other hosts; each is tried here."""

# ruff: noqa: PTH104, PTH116, PTH208, PTH211  # what the system does is said in its own words

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest
from tests.host.wasi.preview2 import Preview2

from wasmpool_host import Preopen
from wasmpool_host._wasi import resolve
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.layout import OFlag
from wasmpool_host._wasi.rights import Right

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.host.wasi.conftest import FakeGuest
    from tests.host.wasi.preview2 import FakeComponent

    AnyGuest: TypeAlias = "FakeGuest | Preview2"

BOTH: Final = Right.FD_READ | Right.FD_WRITE


def every(guest: AnyGuest, path: str | bytes) -> Iterator[Errno]:
    """The result of each function that takes a path, for this path."""
    yield guest.open(path)[0]
    yield guest.open(path, BOTH, OFlag.CREAT)[0]
    yield guest.stat(path)[0]
    yield guest.stat(path, follow=True)[0]
    yield guest.set_times(path)
    yield guest.read_link(path)
    for name in ("path_create_directory", "path_unlink_file", "path_remove_directory"):
        yield guest.path(name, path)
    yield guest.rename(path, "new")
    yield guest.rename("file", path)
    yield guest.link(path, "new")
    yield guest.link("file", path)
    yield guest.symlink("file", path)


@pytest.fixture(params=["preview 1", "preview 2"], name="open_guest")
def _open_guest(request: pytest.FixtureRequest) -> Callable[..., AnyGuest]:
    """Create guests of each preview: they do the same in their own words."""
    if request.param == "preview 1":
        open_guest: Callable[..., FakeGuest] = request.getfixturevalue("open_guest")
        return open_guest
    open_component: Callable[..., FakeComponent] = request.getfixturevalue("open_component")
    return lambda **options: Preview2(open_component(**options))


@pytest.fixture
def swapping(root: Path) -> Iterator[None]:
    """In another thread, a directory and a link out of the tree are swapped repeatedly."""
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "name").write_text("secret")
    (root / "swap").mkdir()
    (root / "swap" / "name").write_text("inside")
    os.symlink("../outside", root / "link")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for old, new in (
                ("swap", "aside"),
                ("link", "swap"),
                ("swap", "link"),
                ("aside", "swap"),
            ):
                os.rename(root / old, root / new)

    thread = threading.Thread(target=swap)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_swap_at_any_moment_leads_nowhere(guest: AnyGuest, root: Path, swapping: None) -> None:
    """Only entries inside are opened, read, created, linked, moved or removed."""
    outside = root.parent / "outside"
    before = os.stat(outside / "name")
    listed = os.listdir(outside)
    for number in range(300):
        guest.forget()
        errno, fd = guest.open("swap/name")
        if errno == Errno.SUCCESS:
            assert guest.read(fd)[1] == b"inside"
            guest.close_file(fd)
        errno, fd = guest.open("swap/new", BOTH, OFlag.CREAT)
        if errno == Errno.SUCCESS:
            guest.close_file(fd)
        guest.path("path_create_directory", f"swap/d{number}")
        guest.path("path_remove_directory", f"swap/d{number}")
        guest.path("path_unlink_file", "swap/new")
        guest.link("swap/name", f"got{number}")
        guest.rename("swap/name", "swap/moved")
        guest.rename("swap/moved", "swap/name")
        guest.symlink("name", "swap/s")
        guest.path("path_unlink_file", "swap/s")
        guest.set_times("swap/name")
        errno, status = guest.stat("swap/name", follow=True)
        assert errno != Errno.SUCCESS or status.mtim != before.st_mtime_ns
    assert os.listdir(outside) == listed
    assert os.stat(outside / "name") == before
    assert all(entry.read_text() == "inside" for entry in root.glob("got*"))


def test_going_up_from_a_directory_that_was_moved_out_stays_within(
    guest: AnyGuest, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the system's ``..`` each of these would lead beside the secret, or above it."""
    (root / "a" / "b").mkdir(parents=True)
    down = resolve._DiskWalk._down

    def moving(walk: resolve._DiskWalk, name: bytes) -> bytes | None:
        result = down(walk, name)
        if name == b"b":
            os.rename(root / "a" / "b", root.parent / "b")
        return result

    monkeypatch.setattr(resolve._DiskWalk, "_down", moving)
    for path in ("a/b/../secret", "a/b/../../secret", "a/b/../../../secret"):
        if not (root / "a" / "b").exists():
            os.rename(root.parent / "b", root / "a" / "b")
        assert guest.open(path)[0] in (Errno.NOENT, Errno.NOTCAPABLE)


@pytest.mark.parametrize(
    "path",
    [
        "self/root/etc/passwd", "self/cwd", "self/fd/{fd}", "self/fd/{fd}/secret",
        "thread-self/root", "self/exe", "self/task/../root", "{pid}/root", "self/ns/mnt",
    ],
)  # fmt: skip
def test_links_of_proc_are_read_not_followed(
    open_guest: Callable[..., AnyGuest], root: Path, path: str
) -> None:
    """The kernel would follow them out of the directory, whatever their text is."""
    guest = open_guest(preopens={"/proc": "/proc"})
    descriptor = os.open(root.parent, os.O_RDONLY)
    try:
        name = path.format(fd=descriptor, pid=os.getpid())
        assert guest.open(name)[0] in (Errno.NOTCAPABLE, Errno.NOENT)
        assert guest.stat(name, follow=True)[0] in (Errno.NOTCAPABLE, Errno.NOENT)
    finally:
        os.close(descriptor)


def test_a_preopened_root_has_no_way_up_and_no_absolute_paths(
    open_guest: Callable[..., AnyGuest], root: Path
) -> None:
    """With ``/`` preopened, paths are still relative, and links in /dev lead nowhere."""
    guest = open_guest(preopens={"/": "/"})
    assert guest.read(guest.opened(str(root / "file")[1:]))[1] == b"0123456789"
    assert guest.open(str(root / "file"))[0] == Errno.NOTCAPABLE
    for path in (
        "..",
        "../etc",
        "etc/../../etc",
        "dev/fd",
        "dev/fd/0",
        "dev/stdin",
        "proc/self/fd/0",
    ):
        assert guest.open(path)[0] in (Errno.NOTCAPABLE, Errno.NOTSUP, Errno.NOENT)
    for device in ("dev/null", "dev/zero", "dev/tty", "dev/ptmx"):
        assert guest.open(device)[0] in (Errno.NOTSUP, Errno.NOENT)


def test_a_hard_link_is_one_more_name_and_no_more(
    open_guest: Callable[..., AnyGuest], root: Path
) -> None:
    """A file cannot be linked from a read-only directory to a writable one."""
    (root / "read").mkdir()
    (root / "read" / "file").write_text("")
    (root / "write").mkdir()
    guest = open_guest(preopens={"/r": root / "read", "/w": Preopen(root / "write", writable=True)})
    assert guest.link("file", "got", 3, 4) == Errno.ROFS
    assert guest.rename("file", "got", 3, 4) == Errno.ROFS
    assert os.listdir(root / "write") == []


@pytest.mark.parametrize(
    "path",
    [
        b"n" * 256, b"n" * 300, b"dir/" + b"n" * 300 + b"/x", b"a/" * 5_000, b"x" * 10_000,
        b"\0", b"file\0/../../secret", b"dir\0", b"", b"/", b"//", b"/.", b"\0/etc/passwd",
    ],
)  # fmt: skip
def test_paths_that_no_file_has_are_errors_everywhere(
    guest: AnyGuest, root: Path, path: bytes
) -> None:
    """Too long, with a NUL, empty or absolute: each function returns an error and has no effect."""
    before = sorted(os.listdir(root))
    assert Errno.SUCCESS not in set(every(guest, path))
    assert sorted(os.listdir(root)) == before
    assert (root / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("path", ["loop", "loop/x", "dangling/x", "there/loop", "there/loop/"])
def test_loops_and_links_to_nowhere_end(guest: AnyGuest, root: Path, path: str) -> None:
    """In every function, at the end and on the way: an error, or it acts on the link itself."""
    os.symlink("loop", root / "loop")
    os.symlink("nowhere", root / "dangling")
    os.symlink(".", root / "there")
    answers = set(every(guest, path))
    assert answers <= {
        Errno.LOOP, Errno.NOENT, Errno.NOTDIR, Errno.EXIST, Errno.SUCCESS, Errno.INVAL, Errno.BUSY
    }  # fmt: skip
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]


def test_slashes_and_dots_are_nothing(guest: AnyGuest) -> None:
    """Empty components and dots have no effect, however many there are."""
    assert guest.read(guest.opened("./" * 1000 + "dir//" + "/" * 1000 + "nested"))[1] == b"nested"
    assert guest.open("dir/nested//")[0] == Errno.NOTDIR


def test_nothing_is_made_by_a_name_with_a_slash(guest: AnyGuest, root: Path) -> None:
    """Some kernels create the file and then report that it is no directory."""
    for path in ("new/", "dir/", "file/"):
        for oflags in (OFlag.CREAT, OFlag.CREAT | OFlag.EXCL, OFlag.CREAT | OFlag.TRUNC):
            assert guest.open(path, BOTH, oflags)[0] == Errno.ISDIR
    assert not (root / "new").exists()
    assert (root / "file").read_bytes() == b"0123456789"
