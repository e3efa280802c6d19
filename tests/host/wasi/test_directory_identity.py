# ruff: noqa: PTH104, PTH116, PTH211  # what the system does is said in its own words

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import attrs
import pytest

from wasmpool_host import Module, Preopen, Wasi
from wasmpool_host._wasi import directory_identity
from wasmpool_host._wasi.errno import Errno

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.host.wasi.conftest import FakeGuest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A writable directory, another beneath it, and one beside it that no guest may reach."""
    (tmp_path / "work" / "cache").mkdir(parents=True)
    (tmp_path / "work" / "own").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    return tmp_path


@pytest.fixture
def nested(open_guest: Callable[..., FakeGuest], tree: Path) -> Callable[[], FakeGuest]:
    """Create guests of one module, with a directory (4) beneath a writable one (3)."""
    preopens = {
        "/work": Preopen(tree / "work", writable=True),
        "/work/cache": Preopen(tree / "work" / "cache"),
    }
    return lambda: open_guest(preopens=preopens)


def refused(guest: FakeGuest, path: Path) -> None:
    """Its first call raises, and names the directory."""
    with pytest.raises(OSError, match="make a new Preopen") as caught:
        guest.call("fd_prestat_get", 4, 0x100)
    assert caught.value.errno == errno.ESTALE
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("target", ["../secret", "own", "../work/own", "../work/moved"])
def test_a_link_in_the_place_of_a_preopen_is_refused(
    nested: Callable[[], FakeGuest], tree: Path, target: str
) -> None:
    """Wherever it leads: outside, to a directory inside, even to the preopened one."""
    first = nested()
    assert first.rename("cache", "moved") == Errno.SUCCESS
    assert first.symlink(target, "cache") == Errno.SUCCESS
    refused(nested(), tree / "work" / "cache")


def test_a_directory_in_the_place_of_a_preopen_is_refused(
    nested: Callable[[], FakeGuest], tree: Path
) -> None:
    """A directory with the same name is another one."""
    first = nested()
    assert first.rename("own", "cache") == Errno.SUCCESS  # over the empty one
    refused(nested(), tree / "work" / "cache")


def test_a_file_in_the_place_of_a_preopen_is_refused(
    nested: Callable[[], FakeGuest], tree: Path
) -> None:
    """Other files are refused with the same message."""
    first = nested()
    assert first.path("path_remove_directory", "cache") == Errno.SUCCESS
    (tree / "work" / "cache").write_text("")
    refused(nested(), tree / "work" / "cache")


def test_a_preopen_that_was_removed_is_not_made_again(
    nested: Callable[[], FakeGuest], tree: Path
) -> None:
    """It is missing: the error is FileNotFoundError, and names the directory."""
    assert nested().path("path_remove_directory", "cache") == Errno.SUCCESS
    with pytest.raises(FileNotFoundError, match=str(tree / "work" / "cache")):
        nested().call("fd_close", 4)


def test_a_link_on_the_way_to_a_preopen_is_refused(
    open_guest: Callable[..., FakeGuest], tree: Path
) -> None:
    """Not only as the last component: a directory above became a link to a similar tree."""
    inner = tree / "work" / "a" / "b"
    inner.mkdir(parents=True)
    (tree / "secret" / "b").mkdir()
    preopen = Preopen(inner)
    os.rename(tree / "work" / "a", tree / "work" / "c")
    os.symlink("../secret", tree / "work" / "a")
    with pytest.raises(OSError, match="make a new Preopen"):
        open_guest(preopens={"/b": preopen}).call("fd_close", 3)


def test_an_inode_that_is_used_again_does_not_help_a_link(
    open_guest: Callable[..., FakeGuest], tree: Path
) -> None:
    """A directory outside with the inode of the removed one is not reached through a link."""
    preopen = Preopen(tree / "work" / "cache")
    status = os.stat(tree / "secret")
    again = directory_identity.DirectoryIdentity(
        preopen.identity.real_path, status.st_dev, status.st_ino
    )
    object.__setattr__(preopen, "identity", again)  # as if the number had been used again
    shutil.rmtree(tree / "work" / "cache")
    os.symlink("../secret", tree / "work" / "cache")
    with pytest.raises(OSError, match="make a new Preopen"):
        open_guest(preopens={"/cache": preopen}).call("fd_close", 3)


def test_a_swap_between_the_walk_and_the_use_changes_nothing(
    open_guest: Callable[..., FakeGuest], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that was compared is opened: the path is not resolved a second time."""
    cache = tree / "work" / "cache"
    (cache / "file").write_text("ours")
    guest = open_guest(preopens={"/cache": Preopen(cache)})
    walk = directory_identity._walk

    def walk_and_swap(real: str) -> int:
        descriptor = walk(real)
        os.rename(cache, tree / "moved")
        os.symlink("../secret", cache)
        return descriptor

    monkeypatch.setattr(directory_identity, "_walk", walk_and_swap)
    assert guest.read(guest.opened("file")) == (Errno.SUCCESS, b"ours")
    assert guest.open("key")[0] == Errno.NOENT


def test_a_preopen_through_a_link_is_the_first_target_of_the_link(
    open_guest: Callable[..., FakeGuest], tree: Path
) -> None:
    """The link may change afterwards; instances keep using its first target."""
    link = tree / "current"
    link.symlink_to("work")
    wasi = {"/data": Preopen(link)}
    link.unlink()
    link.symlink_to("secret")
    guest = open_guest(preopens=wasi)
    assert guest.stat(".")[1].ino == os.stat(tree / "work").st_ino
    assert guest.open("key")[0] == Errno.NOENT


def test_a_relative_path_is_that_of_the_moment(
    open_guest: Callable[..., FakeGuest], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a Preopen and for a plain path, with .. inside: the process may change its directory."""
    monkeypatch.chdir(tree / "work")
    wasi = Wasi(preopens={"/a": Preopen("../secret"), "/b": "../secret"})
    monkeypatch.chdir("/")
    guest = open_guest(preopens=wasi.preopens)
    inode = os.stat(tree / "secret").st_ino
    assert [guest.stat(".", at=fd)[1].ino for fd in (3, 4)] == [inode, inode]


def test_a_preopen_may_be_the_whole_system_or_in_proc(
    open_guest: Callable[..., FakeGuest], tree: Path
) -> None:
    """``/`` has no components; a link in /proc means its target, not its text."""
    descriptor = os.open(tree / "secret", os.O_RDONLY)
    try:
        by_number = Preopen(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    guest = open_guest(preopens={"/": "/", "/secret": by_number})
    assert guest.stat(".", at=3)[1].ino == os.stat("/").st_ino
    assert guest.read(guest.opened("key", at=4)) == (Errno.SUCCESS, b"secret")


@pytest.mark.parametrize("path", ["missing", "file", "loop", "dangling", "nul\0"])
def test_only_a_directory_can_be_preopened(tmp_path: Path, path: str) -> None:
    """It is refused when the Preopen is created, and the message names it."""
    (tmp_path / "file").write_text("")
    os.symlink("loop", tmp_path / "loop")
    os.symlink("nowhere", tmp_path / "dangling")
    with pytest.raises(ValueError, match="is no directory that can be opened"):
        Preopen(f"{tmp_path}/{path}")


def test_a_directory_that_was_replaced_makes_another_preopen(tree: Path) -> None:
    """Equal Preopens are the same directory, so a reload with the new one has an effect."""
    old = Preopen(tree / "work" / "cache")
    assert old == Preopen(tree / "work" / "cache")
    assert attrs.evolve(old, writable=True) != old
    os.rename(tree / "work" / "own", tree / "work" / "cache")
    assert old != Preopen(tree / "work" / "cache")


async def test_modules_that_share_a_preopen_share_its_identity(tree: Path) -> None:
    """A guest of one module replaces the directory; no instance of the other opens the new one."""
    cache = Preopen(tree / "work" / "cache")
    look = """(module
      (import "wasi_snapshot_preview1" "fd_prestat_get" (func $get (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "look") (result i32) (call $get (i32.const 3) (i32.const 0))))"""
    first = await Module.compile(look, wasi=Wasi(preopens={"/cache": cache}))
    second = await Module.compile(look, wasi=Wasi(preopens={"/other": cache}))
    before, after = await first.instantiate(), await second.instantiate()
    try:
        assert await before.call("look") == 0
        os.rename(tree / "work" / "cache", tree / "work" / "moved")
        os.symlink("../secret", tree / "work" / "cache")
        assert await before.call("look") == 0  # it holds the one that it opened
        with pytest.raises(OSError, match="make a new Preopen"):
            await after.call("look")
    finally:
        await before.aclose()
        await after.aclose()
