# ruff: noqa: PTH104, PTH115, PTH116, PTH208, PTH211  # what the system does is said in its own words

from __future__ import annotations

import os
import random
import stat
from typing import TYPE_CHECKING

import pytest

from wasmpool_host._wasi import Preopen
from wasmpool_host._wasi import resolve as resolve_module
from wasmpool_host._wasi.errno import Errno
from wasmpool_host._wasi.files import DiskEntry
from wasmpool_host._wasi.layout import FdFlag, OFlag
from wasmpool_host._wasi.path_operations import _status
from wasmpool_host._wasi.resolve import resolve
from wasmpool_host._wasi.rights import Right

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.host.wasi.conftest import FakeGuest

BOTH = Right.FD_READ | Right.FD_WRITE


def outcomes(guest: FakeGuest, path: str, at: int = 3) -> Iterator[Errno]:
    """The result of a path in every function that takes one."""
    for follow in (False, True):
        yield guest.open(path, follow=follow, at=at)[0]
        yield guest.open(path, BOTH, OFlag.CREAT, follow=follow, at=at)[0]
        yield guest.open(path, oflags=OFlag.DIRECTORY, follow=follow, at=at)[0]
        yield guest.stat(path, follow=follow, at=at)[0]
        yield guest.call("path_filestat_set_times", at, int(follow), *guest.text(path), 0, 0, 5)
    yield guest.call("path_readlink", at, *guest.text(path), 0x200, 64, 0x100)
    yield guest.path("path_create_directory", path, at)
    yield guest.path("path_unlink_file", path, at)
    yield guest.path("path_remove_directory", path, at)
    yield guest.rename(path, "taken", at, at)
    yield guest.rename("file", path, at, at)
    yield guest.link(path, "taken", at, at)
    yield guest.link("file", path, at, at)
    yield guest.symlink("file", path, at)


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../secret",
        "../root/file",
        "dir/../../secret",
        "dir/../..",
        "./.././secret",
        "dir/nope/../../../secret",
        "/",
        "/etc/passwd",
        "//secret",
    ],
)
def test_no_path_leads_out(guest: FakeGuest, root: Path, path: str) -> None:
    """In no function that takes a path; and nothing outside is changed."""
    assert set(outcomes(guest, path)) <= {Errno.NOTCAPABLE, Errno.NOENT}
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]
    assert (root / "file").exists()


@pytest.mark.parametrize(
    "target",
    ["..", "../secret", "../root/../secret", "/", "{root}/../secret", "dir/../../secret", "out2"],
)
def test_no_link_leads_out(guest: FakeGuest, root: Path, target: str) -> None:
    """A link that was created outside and leads outside is refused, at the end and on the way."""
    os.symlink(target.format(root=root), root / "out")
    os.symlink("../secret", root / "out2")
    for path in ("out", "out/", "dir/../out"):
        assert guest.open(path)[0] == Errno.NOTCAPABLE
        assert guest.open(path, BOTH, OFlag.CREAT)[0] == Errno.NOTCAPABLE
        assert guest.stat(path, follow=True)[0] == Errno.NOTCAPABLE
        times = guest.call("path_filestat_set_times", 3, 1, *guest.text(path), 0, 0, 5)
        assert times == Errno.NOTCAPABLE
    assert set(outcomes(guest, "out/secret")) == {Errno.NOTCAPABLE}
    assert guest.open("out", follow=False)[0] == Errno.LOOP
    assert (root.parent / "secret").read_text() == "secret"
    assert os.stat(root.parent / "secret").st_mtime > 0


def test_a_link_out_is_still_a_link(guest: FakeGuest, root: Path) -> None:
    """It can be read, renamed and removed: these act on the link itself."""
    os.symlink("../secret", root / "out")
    assert guest.call("path_readlink", 3, *guest.text("out"), 0x200, 64, 0x100) == Errno.SUCCESS
    assert guest.memory.read(0x200, guest.u32()) == b"../secret"
    assert guest.rename("out", "renamed") == Errno.SUCCESS
    assert guest.link("renamed", "hard") == Errno.SUCCESS
    assert os.readlink(root / "hard") == "../secret"
    assert guest.path("path_unlink_file", "renamed") == Errno.SUCCESS
    assert (root.parent / "secret").exists()


def test_links_within_are_followed(guest: FakeGuest, root: Path) -> None:
    """Relative ones, chains of them, on the way and at the end, with .. inside."""
    os.symlink("dir", root / "to-dir")
    os.symlink("to-dir/../to-dir/nested", root / "to-nested")
    os.symlink("../file", root / "dir" / "up")
    for path in ("to-nested", "to-dir/nested", "./to-dir/../dir//nested"):
        assert guest.read(guest.opened(path)) == (Errno.SUCCESS, b"nested")
    assert guest.read(guest.opened("to-dir/up")) == (Errno.SUCCESS, b"0123456789")
    # But not above a directory that the guest opened itself: that is its root now.
    fd = guest.opened("dir", oflags=OFlag.DIRECTORY)
    assert guest.open("up", at=fd)[0] == Errno.NOTCAPABLE


def test_a_file_is_made_through_a_dangling_link(guest: FakeGuest, root: Path) -> None:
    """At the target of the link, if that is inside; not if the file must be new."""
    os.symlink("dir/made", root / "link")
    assert guest.open("link", BOTH, OFlag.CREAT | OFlag.EXCL)[0] == Errno.EXIST
    guest.opened("link", BOTH, OFlag.CREAT)
    assert (root / "dir" / "made").is_file()


def test_loops_of_links_end(guest: FakeGuest, root: Path) -> None:
    """At the end, on the way, and of any length."""
    os.symlink("loop", root / "loop")
    os.symlink("b/x", root / "a")
    os.symlink("a/x", root / "b")
    for path in ("loop", "loop/x", "a", "a/x"):
        assert guest.open(path)[0] == Errno.LOOP


def test_long_links_end(guest: FakeGuest, root: Path) -> None:
    """Few links, but each has a thousand steps, and the loop waits for all of them."""
    for level in range(30):
        last = f"l{level - 1}" if level else "file"
        os.symlink("dir/../" * 500 + last, root / f"l{level}")
    assert guest.open("l1")[0] == Errno.SUCCESS
    assert guest.open("l29")[0] == Errno.NAMETOOLONG


@pytest.mark.parametrize("target", ["/", "/file", "/etc/passwd"])
def test_an_absolute_link_cannot_be_made(guest: FakeGuest, root: Path, target: str) -> None:
    """For programs outside it would lead to what the guest must not choose."""
    assert guest.symlink(target, "link") == Errno.NOTCAPABLE
    assert not os.path.lexists(root / "link")


def test_a_link_made_by_the_guest_gains_nothing(guest: FakeGuest) -> None:
    """Any relative target is allowed; following it is checked separately."""
    assert guest.symlink("../secret", "link") == Errno.SUCCESS
    assert guest.open("link")[0] == Errno.NOTCAPABLE


def test_a_hard_link_does_not_follow(guest: FakeGuest, root: Path) -> None:
    """Neither with the flag, nor with a slash after the name."""
    os.symlink("../secret", root / "out")
    os.symlink("dir", root / "to-dir")
    assert guest.link("out", "hard", lookup=1) == Errno.INVAL
    assert guest.link("out/", "hard") == Errno.NOTDIR
    assert guest.link("to-dir/", "hard") == Errno.NOTDIR


def test_a_directory_moved_away_does_not_take_the_guest_along(guest: FakeGuest, root: Path) -> None:
    """``..`` of a directory that was moved out of the tree is not its new parent."""
    fd = guest.opened("dir", oflags=OFlag.DIRECTORY)
    os.rename(root / "dir", root.parent / "away")
    assert guest.open("../secret", at=fd)[0] == Errno.NOTCAPABLE
    assert guest.read(guest.opened("nested", at=fd)) == (Errno.SUCCESS, b"nested")


def test_a_directory_moved_away_while_walking_leads_back_to_the_tree(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a walk: ``..`` returns to the previous directory, not to the new parent."""
    descriptor = os.open(root, os.O_RDONLY)
    step_down = resolve_module._DiskWalk._down

    def moving(walk: resolve_module._DiskWalk, name: bytes) -> bytes | None:
        result = step_down(walk, name)
        os.rename(root / "dir", root.parent / "away")
        return result

    monkeypatch.setattr(resolve_module._DiskWalk, "_down", moving)
    try:
        with resolve(descriptor, b"dir/../file", follow=True) as resolved:
            found = os.stat(resolved.name, dir_fd=resolved.directory)
            assert found.st_ino == os.stat(root / "file").st_ino
        with pytest.raises(FileNotFoundError), resolve(descriptor, b"dir/../../x", follow=True):
            pass
    finally:
        os.close(descriptor)


def test_an_entry_swapped_for_a_link_is_not_followed(root: Path) -> None:
    """Between the walk and the operation, the entry became a link: it is not followed."""
    preopen = Preopen(root, writable=True)
    descriptor = os.open(root, os.O_RDONLY)
    try:
        with resolve(descriptor, b"file", follow=True) as resolved:
            entry = DiskEntry(resolved, preopen)
            (root / "file").unlink()
            os.symlink("../secret", root / "file")
            for access in (Right.FD_READ, BOTH):
                with pytest.raises(OSError, match="symbolic links"):
                    entry.open(OFlag(0), access, FdFlag.NONE)
            assert stat.S_ISLNK(_status(entry).st_mode)
    finally:
        os.close(descriptor)


def test_a_directory_swapped_for_a_link_at_random_never_leads_out(
    guest: FakeGuest, root: Path
) -> None:
    """A directory and a link out are swapped repeatedly: only files inside are ever read."""
    (root / "swap").mkdir()
    (root / "swap" / "secret").write_text("inside")
    os.symlink("..", root / "bad")
    seen = set()
    for _ in range(200):
        errno, fd = guest.open("swap/secret")
        if errno == Errno.SUCCESS:
            seen.add(guest.read(fd)[1])
            guest.call("fd_close", fd)
        else:
            seen.add(bytes([errno]))
        guest.rename("bad", "t")
        guest.rename("swap", "bad")
        guest.rename("t", "swap")
        guest._top = 0x1000
    assert seen == {b"inside", bytes([Errno.NOTCAPABLE])}


@pytest.mark.parametrize(
    ("path", "errno"),
    [
        (b"", Errno.NOENT),
        (b"file\0", Errno.INVAL),
        (b"\0", Errno.INVAL),
        (b"a" * 256, Errno.NAMETOOLONG),
        (b"a/" * 2049, Errno.NAMETOOLONG),
        (b"file/nested", Errno.NOTDIR),
        (b"file/.", Errno.NOTDIR),
        (b"file/..", Errno.NOTDIR),
        (b"file/", Errno.NOTDIR),
        (b"missing/..", Errno.NOENT),
        (b"\xff\xfe", Errno.NOENT),
    ],
)
def test_odd_paths_are_refused(reader: FakeGuest, path: bytes, errno: Errno) -> None:
    """As in the system."""
    assert reader.open(path)[0] == errno
    assert reader.stat(path)[0] == errno


def test_a_name_need_not_be_utf_8(guest: FakeGuest, root: Path) -> None:
    """Names on Linux are bytes, and are passed unchanged."""
    guest.opened(b"\xff\xfe", BOTH, OFlag.CREAT)
    assert b"\xff\xfe" in os.listdir(bytes(root))


def test_depth_is_bounded_and_nothing_stays_open(guest: FakeGuest) -> None:
    """Each directory on the way is a descriptor during the walk (the fixture counts the rest)."""
    path = ""
    for _ in range(resolve_module._MAX_DEPTH):
        path += "d/"
        guest._top = 0x1000
        assert guest.path("path_create_directory", path) == Errno.SUCCESS
    assert guest.stat(path + ".")[0] == Errno.SUCCESS
    guest.path("path_create_directory", path + "d")
    assert guest.stat(path + "d/.")[0] == Errno.NAMETOOLONG


def test_slashes_at_the_end_mean_a_directory(guest: FakeGuest, root: Path) -> None:
    """For existing entries, and for those that are created or moved."""
    os.symlink("dir", root / "to-dir")
    assert guest.stat("dir//")[0] == Errno.SUCCESS
    assert guest.stat("to-dir/")[1].filetype == 3
    assert guest.stat("file/")[0] == Errno.NOTDIR
    assert guest.open("new/", BOTH, OFlag.CREAT)[0] in (Errno.INVAL, Errno.ISDIR)
    assert guest.path("path_create_directory", "new//") == Errno.SUCCESS
    assert guest.path("path_unlink_file", "file/") == Errno.NOTDIR
    assert guest.path("path_unlink_file", "dir/") == Errno.ISDIR
    assert guest.path("path_remove_directory", "to-dir/") == Errno.NOTDIR
    assert guest.rename("file/", "x") == Errno.NOTDIR
    assert guest.rename("new/", "newer/") == Errno.SUCCESS
    assert guest.symlink("x", "gone/") == Errno.NOENT
    assert guest.path("path_remove_directory", "newer/") == Errno.SUCCESS


def test_the_directory_itself_stays(guest: FakeGuest, root: Path) -> None:
    """``.`` can be inspected and opened, not created, moved or removed."""
    assert guest.stat(".")[1].ino == root.stat().st_ino
    assert guest.open(".", oflags=OFlag.DIRECTORY)[0] == Errno.SUCCESS
    for path in (".", "./", "dir/.."):
        assert guest.path("path_create_directory", path) == Errno.EXIST
        assert guest.path("path_remove_directory", path) in (Errno.INVAL, Errno.NOTEMPTY)
        assert guest.path("path_unlink_file", path) == Errno.ISDIR
        assert guest.rename(path, "x") == Errno.BUSY
        assert guest.rename("dir", path) in (Errno.BUSY, Errno.NOTEMPTY, Errno.EXIST)
    assert (root / "dir" / "nested").exists()


def test_random_paths_never_lead_out(guest: FakeGuest, root: Path) -> None:
    """Whatever the components of a path, the opened file is beneath the root."""
    for name, target in (("l1", ".."), ("l2", "dir/.."), ("l3", "../root"), ("l4", "dir/l5")):
        os.symlink(target, root / name)
    os.symlink("../..", root / "dir" / "l5")
    dice = random.Random(1)
    inside = {
        root.stat().st_ino,
        *(entry.stat().st_ino for entry in root.rglob("*") if entry.exists()),
    }
    inside.discard(root.parent.stat().st_ino)
    parts = ["..", ".", "dir", "file", "nested", "l1", "l2", "l3", "l4", "l5", "", "secret"]
    opened = 0
    for _ in range(2000):
        path = "/".join(dice.choices(parts, k=dice.randint(1, 6)))
        errno, status = guest.stat(path, follow=dice.random() < 0.5)
        if errno == Errno.SUCCESS and status.filetype != 7:
            opened += 1
            assert status.ino in inside, path
        guest._top = 0x1000
    assert opened > 20


def test_a_preopen_that_is_gone_is_the_embedders_error(
    open_guest: Callable[..., FakeGuest], tmp_path: Path
) -> None:
    """This is no error for the guest: its first WASI call raises, and names the directory."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    guest = open_guest(preopens={"/a": tmp_path / "a", "/b": Preopen(tmp_path / "b")})
    (tmp_path / "b").rmdir()
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "b")):
        guest.call("fd_close", 3)
